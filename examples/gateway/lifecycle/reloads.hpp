#pragma once

#include "lifecycle/watched_files.hpp"
#include "periodic.hpp"

#include <mgw/core/log.hpp>
#include <mgw/net/worker_pool.hpp>

#include <asio/signal_set.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

/// What is read anew while the gateway runs: all of it at a SIGHUP, and what comes from files also when these change,
/// which is looked for once a second. The one place that takes SIGHUP.
///
/// Reading may block, so that it is done on a thread of its own. Thread rule: what adds something, before `watch`.
class reloads {
public:
  explicit reloads(mgw::log_sink log, std::chrono::milliseconds pause = std::chrono::seconds(1))
      : log_(std::move(log)), pause_(pause) {}
  reloads(reloads const&) = delete;
  reloads& operator=(reloads const&) = delete;

  /// `read` is called when these files have changed, and at a SIGHUP; it says itself what has come of it.
  void add(watched_files files, std::function<void()> read) {
    items_.push_back(item{std::move(files), std::move(read)});
  }
  /// At a SIGHUP alone.
  void add(std::function<void()> read) { add(watched_files(), std::move(read)); }
  /// Called at every look.
  void at_each_look(std::function<void()> f) { looks_.push_back(std::move(f)); }
  /// Called before and after what a SIGHUP asks for.
  void announce(std::function<void()> begin, std::function<void()> end) {
    begin_ = std::move(begin);
    end_ = std::move(end);
  }

  /// From here on signals and changes count. Before the workers run.
  void watch(mgw::net::worker_pool& workers) {
    signals_ = std::make_unique<asio::signal_set>(workers.worker(0).io, SIGHUP);
    watch_ = std::make_unique<periodic>(pause_, [this] { look(); });
    wait_for_signal();
  }
  /// As a SIGHUP does. Any thread, after `watch`.
  void ask() {
    asked_ = true;
    watch_->wake();
  }

  /// After the workers' threads have ended, before their contexts go. False: the disk does not answer for so long, and
  /// nothing may be destroyed.
  bool close_for(std::chrono::milliseconds limit) {
    if (signals_) {
      signals_.reset();
      std::signal(SIGHUP, SIG_IGN);  // a late one must not end the process in place of its own end
    }
    return !watch_ || watch_->stop_for(limit);
  }

private:
  struct item {
    watched_files files;
    std::function<void()> read;
  };

  void wait_for_signal() {
    signals_->async_wait([this](std::error_code ec, int) {
      if (ec) return;
      ask();
      wait_for_signal();
    });
  }
  void look() {
    bool const asked = asked_.exchange(false);
    if (asked && begin_) begin_();
    for (item& i : items_) {
      if (asked)
        i.files.accept();
      else if (!i.files.changed())
        continue;
      try {
        i.read();
      } catch (std::exception const& e) {
        if (log_) log_(mgw::log_level::error, std::string("not read anew: ") + e.what());
      }
    }
    if (asked && end_) end_();
    for (auto const& f : looks_) f();
  }

  mgw::log_sink log_;
  std::chrono::milliseconds const pause_;
  std::vector<item> items_;
  std::vector<std::function<void()>> looks_;
  std::function<void()> begin_, end_;
  std::atomic<bool> asked_{false};
  std::unique_ptr<asio::signal_set> signals_;
  std::unique_ptr<periodic> watch_;  // the last: it uses all the others
};

}  // namespace gateway
