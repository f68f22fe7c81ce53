#pragma once

#include <systemd/sd-daemon.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// What a service manager is told (sd_notify(3)): nothing, where there is none.
///
/// Telling may wait for a manager that does not listen: not on a worker's thread. Thread rule: any other thread.
class service_manager {
public:
  using sender = std::function<void(std::string const&)>;

  /// The one of this process: NOTIFY_SOCKET, WATCHDOG_USEC.
  service_manager() {
    std::uint64_t usec = 0;
    if (::sd_watchdog_enabled(0, &usec) > 0) watchdog_ = std::chrono::microseconds(usec);
    if (char const* const to = std::getenv("NOTIFY_SOCKET"); to != nullptr && *to != '\0')
      send_ = [](std::string const& text) { (void)::sd_notify(0, text.c_str()); };
  }
  /// Stands in for it.
  service_manager(sender send, std::chrono::microseconds watchdog) : send_(std::move(send)), watchdog_(watchdog) {}
  service_manager(service_manager const&) = delete;
  service_manager& operator=(service_manager const&) = delete;

  bool there() const noexcept { return send_ != nullptr; }
  /// It ends us when it hears nothing for so long; 0: it does not.
  std::chrono::microseconds watchdog() const noexcept { return there() ? watchdog_ : std::chrono::microseconds(0); }

  void ready() { tell("READY=1"); }
  /// Until `ready` is told again.
  void reloading() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    auto const usec = std::uint64_t(now.tv_sec) * 1'000'000 + std::uint64_t(now.tv_nsec) / 1000;
    tell("RELOADING=1\nMONOTONIC_USEC=" + std::to_string(usec));
  }
  void stopping() { tell("STOPPING=1"); }
  /// What is being done takes so much longer, from now on.
  void more_time(std::chrono::microseconds how_much) {
    tell("EXTEND_TIMEOUT_USEC=" + std::to_string(how_much.count()));
  }
  void alive() { tell("WATCHDOG=1"); }
  /// One line for people; told when it is another one than before.
  void status(std::string const& line) {
    std::lock_guard const lock(mutex_);
    if (line == status_) return;
    status_ = line;
    tell("STATUS=" + line);
  }

private:
  void tell(std::string const& text) const {
    if (send_) send_(text);
  }

  sender send_;
  std::chrono::microseconds watchdog_{0};
  std::mutex mutex_;
  std::string status_;
};

}  // namespace gateway
