#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace gateway {

/// Calls a function again and again, with a pause before each time, on a thread of its own: for work that may block.
/// Destroyed, it waits for a call that is under way. What the function throws is ignored.
class periodic {
public:
  periodic(std::chrono::milliseconds pause, std::function<void()> f)
      : pause_(pause), f_(std::move(f)), thread_([this] { run(); }) {}
  periodic(periodic const&) = delete;
  periodic& operator=(periodic const&) = delete;
  ~periodic() {
    (void)stop_for(std::chrono::milliseconds(0));
    thread_.join();
  }
  /// The next call comes now, or after the one that runs. Any thread.
  void wake() {
    std::lock_guard const lock(mutex_);
    woken_ = true;
    end_.notify_all();
  }
  /// Ends it; waits for a call that runs, for so long at most. False: it still runs.
  bool stop_for(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    ended_ = true;
    end_.notify_all();
    return end_.wait_for(lock, limit, [this] { return !running_; });
  }

private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      end_.wait_for(lock, pause_, [this] { return ended_ || woken_; });
      if (ended_) return;
      woken_ = false;
      running_ = true;
      lock.unlock();
      try {
        f_();
      } catch (std::exception const&) {  // the next time is another chance
      }
      lock.lock();
      running_ = false;
      end_.notify_all();
    }
  }

  std::chrono::milliseconds pause_;
  std::function<void()> f_;
  std::mutex mutex_;
  std::condition_variable end_;
  bool ended_ = false, running_ = false, woken_ = false;
  std::thread thread_;  // the last: it uses all the others
};

}  // namespace gateway
