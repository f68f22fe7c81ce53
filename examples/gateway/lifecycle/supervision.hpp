#pragma once

#include "lifecycle/service_manager.hpp"
#include "lifecycle/worker_pulse.hpp"
#include "periodic.hpp"

#include <mgw/net/worker_pool.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace gateway {

/// Keeps the service manager informed: that the workers run (ready, then the watchdog's pings as long as each of them
/// answers), how things stand, and that we are about to stop. A Part of a running gateway.
///
/// On a thread of its own, which waits for no disk. Where there is no manager it does nothing. Thread rule: that of
/// Part.
class supervision {
public:
  /// `status`: one line, from any thread; whether a stop has begun. `drain`: how long a stop may take.
  supervision(service_manager& manager, mgw::net::worker_pool& workers, std::function<std::string(bool)> status,
              std::chrono::milliseconds drain)
      : manager_(manager), status_(std::move(status)), drain_(drain), pulse_(workers) {
    if (!manager_.there()) return;
    // Three pings may be late before the manager thinks that we hang.
    auto pause = std::chrono::milliseconds(std::chrono::seconds(5));
    auto const watchdog = std::chrono::duration_cast<std::chrono::milliseconds>(manager_.watchdog());
    if (watchdog.count() != 0) pause = std::clamp(watchdog / 4, std::chrono::milliseconds(1), pause);
    beats_ = std::make_unique<periodic>(pause, [this] { beat(); });
    auto const left = std::make_shared<std::atomic<std::size_t>>(workers.size());
    workers.post([this, left](mgw::net::worker&) {
      if (--*left != 0) return;
      run_ = true;
      beats_->wake();
    });
  }
  supervision(supervision const&) = delete;
  supervision& operator=(supervision const&) = delete;

  void drain() {
    draining_ = true;
    if (beats_) beats_->wake();
  }
  void stop() noexcept {}
  bool idle() const noexcept { return true; }
  /// The manager hears no more of us. After the workers' threads have ended, and while what `status` asks is there.
  void close() {
    if (!beats_) return;
    beats_.reset();
    tell_state();  // a stop with nothing to wait for may be faster than a beat
  }

private:
  void beat() {
    if (!run_) return;
    if (!ready_) {
      ready_ = true;
      manager_.ready();
    }
    tell_state();
    bool const all = pulse_.beat();
    if (all && manager_.watchdog().count() != 0) manager_.alive();
  }
  void tell_state() {
    bool const draining = draining_;
    if (draining && !stopping_) {
      stopping_ = true;
      manager_.stopping();
      manager_.more_time(drain_ + std::chrono::seconds(30));  // what ends after it is bounded, too
    }
    manager_.status(status_(draining));
  }

  service_manager& manager_;
  std::function<std::string(bool)> const status_;
  std::chrono::milliseconds const drain_;
  worker_pulse pulse_;
  std::atomic<bool> run_{false}, draining_{false};
  bool ready_ = false, stopping_ = false;  // of the beats' thread, as long as there is one
  std::unique_ptr<periodic> beats_;        // the last: it uses all the others
};

/// Asks the service manager for more time, again and again, while a start goes on; for a quarter of an hour at most.
class long_start {
public:
  explicit long_start(service_manager& manager) {
    if (!manager.there()) return;
    constexpr int most = 180;
    auto const ask = [&manager, n = 0]() mutable {
      if (n++ < most) manager.more_time(std::chrono::seconds(30));
    };
    more_ = std::make_unique<periodic>(std::chrono::seconds(5), ask);
  }

private:
  std::unique_ptr<periodic> more_;
};

}  // namespace gateway
