#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/core/blocking_pool.hpp>
#include <mgw/core/hang_watch.hpp>
#include <mgw/core/log.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
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
/// - What reads whole objects after a restart has a thread of its own: begun bodies and fills never wait behind that.
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

  /// The same file, for network threads: whoever has it last closes it on the pool. To close one that was deleted
  /// meanwhile is to free its bytes, which may block. Precondition: none is left when this is destroyed.
  std::shared_ptr<cache::file const> closed_on_pool(std::shared_ptr<cache::file const> body) {
    auto const* const same = body.get();
    auto close = [this, body = std::move(body)](cache::file const*) mutable {
      if (body.use_count() != 1) return body.reset();
      io.post([last = std::move(body)]() mutable { last.reset(); });
    };
    return {same, std::move(close)};
  }

  /// Nobody waits any more for what reads whole objects. Any thread.
  void end_long_reads() noexcept { long_reads.end_soon(); }
  /// Waits for what was started. After the workers' threads have ended, before their contexts go.
  void join() {
    for (auto* pool : {&long_reads, &io, &sync, &ledger}) pool->join();
  }
  /// The same, for so long at most. False: see blocking_pool::join_for.
  bool join_for(duration limit) {
    auto const until = std::chrono::steady_clock::now() + limit;
    for (auto* pool : {&long_reads, &io, &sync, &ledger}) {  // the ledger's last: what comes back to the others may use it
      auto const left = std::chrono::ceil<duration>(until - std::chrono::steady_clock::now());
      if (!pool->join_for(std::max(left, duration(0)))) return false;
    }
    return true;
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
  blocking_pool ledger{1, &watch_};  // first bytes wait for the pins of their links
  blocking_pool sync{1, &watch_};    // fsync has a thread of its own: neither those nor reads ever wait behind it
  blocking_pool io{2, &watch_};
  blocking_pool long_reads{1, &watch_};  // one after the other: two would only move the disk's head to and fro
};

}  // namespace mgw::proxy
