#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace mgw {

/// A block of memory borrowed from the thread's free list, given back on destruction.
///
/// Every block has room for one whole TLS record with its overhead. Idle connections hold none; a busy one holds
/// as many as it has bytes in flight. Errors: std::bad_alloc. Thread rule: take and destroy on the same thread
/// (a block destroyed on another thread joins that thread's list, which is harmless).
class lent_buffer {
public:
  static constexpr std::size_t capacity = 18 * 1024;

  lent_buffer() noexcept = default;
  static lent_buffer take() {
    auto& list = free_list();
    lent_buffer b;
    if (list.empty()) {
      b.block_.reset(new block);  // not value-initialized: nobody reads what was not written
    } else {
      b.block_ = std::move(list.back());
      list.pop_back();
    }
    return b;
  }
  lent_buffer(lent_buffer&&) noexcept = default;
  lent_buffer& operator=(lent_buffer&& o) noexcept {
    if (this != &o) {
      give_back();
      block_ = std::move(o.block_);
    }
    return *this;
  }
  ~lent_buffer() { give_back(); }

  explicit operator bool() const noexcept { return block_ != nullptr; }
  char* data() noexcept { return block_->bytes; }
  char const* data() const noexcept { return block_->bytes; }
  /// Gives the block back now.
  void reset() noexcept { give_back(); }

private:
  struct block {
    char bytes[capacity];
  };
  static constexpr std::size_t max_kept = 64;  // blocks a thread keeps for reuse; more go back to the heap

  static std::vector<std::unique_ptr<block>>& free_list() {
    thread_local std::vector<std::unique_ptr<block>> list = [] {
      std::vector<std::unique_ptr<block>> v;
      v.reserve(max_kept);
      return v;
    }();
    return list;
  }
  void give_back() noexcept {
    if (!block_) return;
    auto& list = free_list();
    if (list.size() < max_kept)
      list.push_back(std::move(block_));
    else
      block_.reset();
  }
  std::unique_ptr<block> block_;
};

}  // namespace mgw
