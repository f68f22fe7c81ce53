#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

namespace mgw {

/// Counts the jobs of some blocking pools that are past their deadline. While there are any, what they all work on (a
/// disk) counts as hung; when the last of them has come back, it works again.
///
/// Thread rule: any thread. Precondition: outlives its pools.
class hang_watch {
public:
  /// Told of each change: true, it hangs. On any thread, one call at a time; does not block.
  using listener = std::function<void(bool hung)>;
  /// A job, as seen from here.
  class job {
    friend class hang_watch;
    enum class state : std::uint8_t { open, late, returned };
    std::atomic<state> state_{state::open};

  public:
    bool late() const noexcept { return state_.load() == state::late; }
  };

  explicit hang_watch(listener changed = {}) : changed_(std::move(changed)) {}
  hang_watch(hang_watch const&) = delete;
  hang_watch& operator=(hang_watch const&) = delete;

  bool hung() const noexcept { return late_.load() != 0; }
  /// The job is past its deadline. False: it has come back meanwhile.
  bool late(job& j) {
    std::lock_guard const hold(mutex_);
    auto open = job::state::open;
    if (!j.state_.compare_exchange_strong(open, job::state::late)) return false;
    if (late_.fetch_add(1) == 0 && changed_) changed_(true);
    return true;
  }
  /// The job has come back. True: late.
  bool returned(job& j) {
    if (j.state_.exchange(job::state::returned) != job::state::late) return false;
    std::lock_guard const hold(mutex_);  // what called it late has counted it
    if (late_.fetch_sub(1) == 1 && changed_) changed_(false);
    return true;
  }

private:
  listener const changed_;
  std::mutex mutex_;
  std::atomic<std::size_t> late_{0};
};

}  // namespace mgw
