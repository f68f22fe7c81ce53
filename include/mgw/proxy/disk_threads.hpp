#pragma once

#include <mgw/core/blocking_pool.hpp>
#include <mgw/core/hang_watch.hpp>
#include <mgw/core/log.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace mgw::proxy {

/// The threads that work for a store and its ledger, and whether the disk answers them. **What happens when a disk
/// hangs is decided here:** an operation that has not got on for `deadline` is late, and while one is late the store
/// counts as failed: nobody asks it for anything more, clients go past it (pass_through). When the last late one has
/// come back, it is used again.
///
/// - Who only asks (look-ups, reads, pins of links) does not wait for what is late: `ask`. The operation owns all that
/// it
///   uses, since it goes on without the one who asked.
/// - A fill waits for its own operations, however long (fill_disk), since they use its part.
///
/// Thread rule: any worker's coroutines. Lifetime: that of blocking_pool.
class disk_threads {
public:
  using duration = blocking_pool::duration;

  /// `back` is called on the ledger's thread when the disk answers again. It may block.
  explicit disk_threads(duration deadline, log_sink log = {}, std::function<void()> back = {})
      : deadline_(deadline), log_(std::move(log)), back_(std::move(back)) {}

  duration deadline() const noexcept { return deadline_; }
  bool hung() const noexcept { return watch_.hung(); }
  /// What `f()` returned on this pool; nothing: the store counts as failed. Precondition: that of run_for.
  template <class F>
  asio::awaitable<std::optional<std::invoke_result_t<F&>>> ask(blocking_pool& pool, F f) {
    if (hung()) co_return std::nullopt;
    auto answer = co_await pool.run_for(deadline_, std::move(f));
    co_return answer;
  }

  /// Waits for what was started. After the workers' threads have ended, before their contexts go.
  void join() {
    for (auto* pool : {&io, &sync, &ledger}) pool->join();
  }
  /// The same, for so long at most. False: see blocking_pool::join_for.
  bool join_for(duration limit) {
    auto const until = std::chrono::steady_clock::now() + limit;
    bool all = true;
    for (auto* pool : {&io, &sync, &ledger}) {
      auto const left = std::chrono::ceil<duration>(until - std::chrono::steady_clock::now());
      all = pool->join_for(std::max(left, duration(0))) && all;
    }
    return all;
  }

private:
  void changed(bool hung) {
    if (log_)
      log_(log_level::warn, hung ? "the cache's disk has not answered for " + std::to_string(deadline_.count()) +
                                       " ms: clients go past it until it does"
                                 : std::string("the cache's disk answers again"));
    if (!hung && back_) ledger.post([this] { back_(); });
  }

  duration const deadline_;
  log_sink const log_;
  std::function<void()> const back_;
  hang_watch watch_{[this](bool hung) { changed(hung); }};

public:
  blocking_pool io{2, &watch_};
  blocking_pool sync{1, &watch_};    // fsync has a thread of its own: reads never wait behind it
  blocking_pool ledger{1, &watch_};  // nor first bytes, which wait for the pins of their links
};

}  // namespace mgw::proxy
