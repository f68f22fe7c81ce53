#pragma once

#include <cassert>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

namespace mgw {

/// A value or a std::error_code. Returned by parsers; never thrown.
///
/// Precondition of `*r` and `r->`: `r` is true (asserted). `r.error()` is a zero code on success.
template <class T>
class [[nodiscard]] result {
  std::variant<T, std::error_code> v_;

public:
  result(T value) : v_(std::in_place_index<0>, std::move(value)) {}
  result(std::error_code ec) : v_(std::in_place_index<1>, ec) { assert(ec && "result: success needs a value"); }
  template <class E>
    requires std::is_error_code_enum_v<E>
  result(E e) : result(make_error_code(e)) {}

  explicit operator bool() const noexcept { return v_.index() == 0; }
  std::error_code error() const noexcept { return v_.index() == 1 ? *std::get_if<1>(&v_) : std::error_code{}; }

  T& operator*() & noexcept {
    assert(*this);
    return *std::get_if<0>(&v_);
  }
  T const& operator*() const& noexcept {
    assert(*this);
    return *std::get_if<0>(&v_);
  }
  T&& operator*() && noexcept {
    assert(*this);
    return std::move(*std::get_if<0>(&v_));
  }
  T* operator->() noexcept { return &**this; }
  T const* operator->() const noexcept { return &**this; }
};

}  // namespace mgw
