#pragma once

#include <mgw/net/worker_pool.hpp>

#include <asio/post.hpp>

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

namespace gateway {

/// Whether the workers really run: each is asked in its own loop, and answers when its turn comes. What waits for a
/// disk does so on other threads, and is not asked.
///
/// Thread rule: one thread, as long as there are the workers.
class worker_pulse {
public:
  explicit worker_pulse(mgw::net::worker_pool& workers)
      : workers_(workers), open_(std::make_shared<questions>(workers.size())) {}

  /// Whether all have answered what they were asked the last time; asks them again. The first time: true.
  bool beat() {
    bool all = true;
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      if ((*open_)[i].exchange(true)) {  // one question at a time
        all = false;
        continue;
      }
      asio::post(workers_.worker(i).io, [open = open_, i] { (*open)[i] = false; });
    }
    return all;
  }

private:
  using questions = std::vector<std::atomic<bool>>;
  mgw::net::worker_pool& workers_;
  std::shared_ptr<questions> open_;
};

}  // namespace gateway
