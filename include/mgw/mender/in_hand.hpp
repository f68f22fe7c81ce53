#pragma once

#include <mgw/mender/decisions.hpp>

#include <cstddef>
#include <mutex>
#include <set>

namespace mgw::mender {

/// Which devices are being authorized, each once: whoever asks again meanwhile needs no second one. So many at most go
/// on after their device has stopped waiting. Thread rule: any thread.
class in_hand {
public:
  explicit in_hand(std::size_t max_late) noexcept : max_late_(max_late) {}

  /// One device's place, as long as it lives.
  class place {
  public:
    place(in_hand& all, decisions::key const& k) : all_(&all), key_(k), held_(all.begin(k)) {}
    place(place const&) = delete;
    place& operator=(place const&) = delete;
    ~place() {
      if (held_) all_->end(key_, late_);
    }
    /// False: it is in hand already, or too many are late.
    explicit operator bool() const noexcept { return held_; }
    /// Nobody waits for it any more. Once, on the thread that made it.
    void set_late() {
      late_ = true;
      all_->one_late();
    }
    bool late() const noexcept { return late_; }

  private:
    in_hand* all_;
    decisions::key const key_;
    bool const held_;
    bool late_ = false;
  };

  bool crowded() const {
    std::lock_guard const hold(mutex_);
    return late_ >= max_late_;
  }

private:
  bool begin(decisions::key const& k) {
    std::lock_guard const hold(mutex_);
    return late_ < max_late_ && keys_.insert(k).second;
  }
  void one_late() {
    std::lock_guard const hold(mutex_);
    ++late_;
  }
  void end(decisions::key const& k, bool late) {
    std::lock_guard const hold(mutex_);
    keys_.erase(k);
    if (late) --late_;
  }

  std::size_t const max_late_;
  mutable std::mutex mutex_;
  std::set<decisions::key> keys_;
  std::size_t late_ = 0;
};

}  // namespace mgw::mender
