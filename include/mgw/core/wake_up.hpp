#pragma once

#include <utility>

namespace mgw {

/// What is called once when something has come, and owns what it is called with. One that is never called frees that.
///
/// Of the size of two pointers, and never allocates: for who waits beside thousands of others.
/// Thread rule: that of who calls it.
class wake_up {
public:
  /// `act(owner, call)` frees `owner`, and before that does what is to be done if `call`.
  wake_up(void (*act)(void* owner, bool call), void* owner) noexcept : act_(act), owner_(owner) {}
  wake_up(wake_up&& o) noexcept : act_(o.act_), owner_(std::exchange(o.owner_, nullptr)) {}
  wake_up& operator=(wake_up&&) = delete;
  ~wake_up() {
    if (owner_ != nullptr) act_(owner_, false);
  }
  /// `ready` is not passed on: who is called looks for itself.
  void operator()(bool) && { act_(std::exchange(owner_, nullptr), true); }

private:
  void (*act_)(void*, bool);
  void* owner_;
};

}  // namespace mgw
