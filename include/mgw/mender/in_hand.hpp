#pragma once

#include <mgw/mender/decisions.hpp>

#include <cstddef>
#include <memory>
#include <mutex>
#include <set>

namespace mgw::mender {

/// Which devices are being authorized, each once: whoever asks again meanwhile needs no second one. So many at most go
/// on after their device has stopped waiting. Thread rule: any thread.
class in_hand {
  struct shared {
    std::size_t const max_late;
    std::mutex mutex;
    std::set<decisions::key> keys;
    std::size_t late = 0;
    explicit shared(std::size_t m) noexcept : max_late(m) {}
  };

public:
  explicit in_hand(std::size_t max_late) : shared_(std::make_shared<shared>(max_late)) {}

  /// One device's place, as long as it lives; that may be longer than all of them, where a program ends.
  class place {
  public:
    place(in_hand const& all, decisions::key const& k) : all_(all.shared_), key_(k) {
      std::lock_guard const hold(all_->mutex);
      held_ = all_->late < all_->max_late && all_->keys.insert(k).second;
    }
    place(place const&) = delete;
    place& operator=(place const&) = delete;
    ~place() {
      if (!held_) return;
      std::lock_guard const hold(all_->mutex);
      all_->keys.erase(key_);
      if (late_) --all_->late;
    }
    /// False: it is in hand already, or too many are late.
    explicit operator bool() const noexcept { return held_; }
    /// Nobody waits for it any more. Once, on the thread that made it.
    void set_late() {
      late_ = true;
      std::lock_guard const hold(all_->mutex);
      ++all_->late;
    }
    bool late() const noexcept { return late_; }

  private:
    std::shared_ptr<shared> const all_;
    decisions::key const key_;
    bool held_ = false;
    bool late_ = false;
  };

  bool crowded() const {
    std::lock_guard const hold(shared_->mutex);
    return shared_->late >= shared_->max_late;
  }

private:
  std::shared_ptr<shared> shared_;
};

}  // namespace mgw::mender
