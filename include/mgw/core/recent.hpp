#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw {

/// What was worked out for a text lately, for who brings the same text again.
///
/// For results that are true for ever: nothing ages. So many are kept at most, each in the one place that its text can
/// have, where a newer one displaces it; texts longer than `max_text` bytes are not kept. Any thread.
template <class T>
class recent {
public:
  explicit recent(std::size_t places = 256, std::size_t max_text = 2048) : places_(places), max_text_(max_text) {}

  /// Null: it is not known (any more).
  std::shared_ptr<T const> find(std::string_view text) const {
    std::lock_guard const hold(mutex_);
    place const& p = places_[index(text)];
    return p.result && p.text == text ? p.result : nullptr;
  }
  void keep(std::string_view text, std::shared_ptr<T const> result) {
    if (text.size() > max_text_) return;
    std::lock_guard const hold(mutex_);
    place& p = places_[index(text)];
    p.text = text;
    p.result = std::move(result);
  }

private:
  struct place {
    std::string text;
    std::shared_ptr<T const> result;
  };
  std::size_t index(std::string_view text) const noexcept {
    return std::hash<std::string_view>()(text) % places_.size();
  }

  std::vector<place> places_;
  std::size_t max_text_;
  mutable std::mutex mutex_;
};

}  // namespace mgw
