#pragma once

#include <cstddef>

namespace mgw::upstream {

/// Something under way that can be ended: whatever has `cancel() noexcept`. Null: nothing. Does not own it.
class cancellable {
public:
  cancellable() = default;
  cancellable(std::nullptr_t) noexcept {}
  template <class T>
  cancellable(T* t) noexcept : what_(t), end_([](void* p) noexcept { static_cast<T*>(p)->cancel(); }) {}

  explicit operator bool() const noexcept { return what_ != nullptr; }
  void cancel() const noexcept {
    if (what_ != nullptr) end_(what_);
  }

private:
  void* what_ = nullptr;
  void (*end_)(void*) noexcept = nullptr;
};

/// By this somebody ends a connecting under way, whatever that waits for just now. Lives as long as the connecting.
/// Thread rule: that of the pool.
class give_up {
public:
  void cancel() noexcept {
    given_ = true;
    waits_for_.cancel();
  }
  bool given() const noexcept { return given_; }

  /// While there is one, this is what the connecting waits for. `g` may be null.
  class during {
  public:
    during(give_up* g, cancellable what) noexcept : g_(g) {
      if (g_ == nullptr) return;
      g_->waits_for_ = what;
      if (g_->given_) what.cancel();
    }
    during(during const&) = delete;
    during& operator=(during const&) = delete;
    ~during() {
      if (g_ != nullptr) g_->waits_for_ = nullptr;
    }

  private:
    give_up* g_;
  };

private:
  bool given_ = false;
  cancellable waits_for_;
};

}  // namespace mgw::upstream
