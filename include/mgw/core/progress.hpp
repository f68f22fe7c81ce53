#pragma once

#include <atomic>
#include <chrono>

namespace mgw {

/// When something last got on. Any thread.
class progress_mark {
public:
  using clock = std::chrono::steady_clock;
  void set() noexcept { at_.store(clock::now().time_since_epoch().count(), std::memory_order_relaxed); }
  clock::time_point get() const noexcept {
    return clock::time_point(clock::duration(at_.load(std::memory_order_relaxed)));
  }

private:
  std::atomic<clock::rep> at_{0};
};

namespace progress_detail {

/// Of the job that runs on this thread, and of its pool.
struct marks {
  progress_mark* job = nullptr;
  progress_mark* pool = nullptr;
  std::atomic<bool> const* pool_ends = nullptr;
};
inline thread_local constinit marks current;

}  // namespace progress_detail

/// Long work on a blocking_pool tells from time to time that it gets on, between two system calls: its deadline begins
/// anew, and that of what waits behind it. Slow is not hung. No effect on other threads.
inline void note_progress() noexcept {
  auto const& m = progress_detail::current;
  if (m.job == nullptr) return;
  m.job->set();
  m.pool->set();
}

/// Whether the pool that this thread works for ends: long work that may be done another time gives up. Elsewhere false.
inline bool pool_ends() noexcept {
  auto const* const ends = progress_detail::current.pool_ends;
  return ends != nullptr && ends->load(std::memory_order_relaxed);
}

}  // namespace mgw
