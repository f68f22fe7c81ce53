#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/cache/fill.hpp>
#include <mgw/core/blocking_pool.hpp>
#include <mgw/proxy/disk_threads.hpp>
#include <mgw/proxy/fetch_job.hpp>
#include <mgw/proxy/slots.hpp>

#include <asio/awaitable.hpp>

#include <memory>
#include <type_traits>
#include <utility>

namespace mgw::proxy {

/// A fill's way to the disk. It waits for every operation until that comes back, since each uses the fill's part: so
/// there is nothing to be taken back, and one writer at a time. But past the deadline its readers go on by themselves
/// behind what they have, its turn goes to another fill, and when the operation has come back the fill has to end: what
/// it has stored is kept for the next one.
///
/// Thread rule: the job's worker. Precondition: all that is given outlives it.
class fill_disk {
public:
  fill_disk(fetch_job& job, disk_threads& threads, slots::place& turn) : job_(job), threads_(threads), turn_(turn) {}

  /// Whether an operation was late.
  bool late() const noexcept { return late_; }
  /// For all but what flushes.
  template <class F>
  asio::awaitable<std::invoke_result_t<F&>> io(F f) {
    return run(threads_.io, std::move(f));
  }
  /// The same; `much`: it reads a whole object or part first.
  template <class F>
  asio::awaitable<std::invoke_result_t<F&>> read(bool much, F f) {
    return run(much ? threads_.long_reads : threads_.io, std::move(f));
  }
  template <class F>
  asio::awaitable<std::invoke_result_t<F&>> sync(F f) {
    return run(threads_.sync, std::move(f));
  }
  /// The last flush of all: past the deadline `shown()` gives readers the rest, and the fill need not end for it.
  template <class F, class Shown>
  asio::awaitable<std::invoke_result_t<F&>> commit(F f, Shown shown) {
    return threads_.sync.run(threads_.deadline(), std::move(f), std::move(shown));
  }
  /// For readers.
  std::shared_ptr<cache::file const> shared(std::shared_ptr<cache::file const> body) {
    return threads_.closed_on_pool(std::move(body));
  }
  disk_threads& threads() noexcept { return threads_; }

private:
  template <class F>
  asio::awaitable<std::invoke_result_t<F&>> run(blocking_pool& pool, F f) {
    return pool.run(threads_.deadline(), std::move(f), [this] { pass_by(); });
  }
  void pass_by() {
    late_ = true;
    turn_.leave();
    auto const current = job_.current();
    auto const phase = current->view().phase;
    if (phase == cache::fill_phase::pending || phase == cache::fill_phase::growing) current->bypass();
  }

  fetch_job& job_;
  disk_threads& threads_;
  slots::place& turn_;
  bool late_ = false;
};

}  // namespace mgw::proxy
