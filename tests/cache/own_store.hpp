#pragma once

#include <mgw/cache/error.hpp>
#include <mgw/cache/store.hpp>

#include <fcntl.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace own {
using namespace mgw::cache;
using mgw::result;

constexpr int line_before = __LINE__;
/// A cache store of one's own: bodies in nameless files of a directory, none over `largest` bytes. It evicts nothing.
struct store {
  enum class state { filling, suspended, complete, dropped };
  struct object {
    mgw::cache::meta meta;
    std::shared_ptr<file const> body;
    std::uint64_t size = 0;
    state is = state::filling;  // left once, under the lock
  };
  struct part_type {  // must not outlive its store
    part_type(store* s, std::shared_ptr<object> o) : s_(s), o_(std::move(o)) {}
    part_type(part_type&&) = default;
    part_type& operator=(part_type p) noexcept { return std::swap(s_, p.s_), o_.swap(p.o_), *this; }
    ~part_type() { drop(); }
    std::shared_ptr<file const> body() const { return o_ ? o_->body : nullptr; }
    std::uint64_t size() const { return o_->size; }
    mgw::cache::meta const& meta() const { return o_->meta; }
    std::error_code append(std::string_view bytes) {
      auto ec = check(o_ ? o_->size + bytes.size() : 0);
      if (!ec) ec = posix_file_ops().write_all(o_->body->fd(), bytes, o_->size);
      if (!ec) o_->size += bytes.size();
      return ec;
    }
    std::error_code checkpoint() { return check(0); }
    std::error_code commit(std::uint64_t length) {
      if (auto const ec = check(length)) return ec;
      if (length != o_->size || (o_->meta.length_known && length != o_->meta.length)) return error::length_mismatch;
      o_->meta.length = length, o_->meta.length_known = true;
      return end(state::complete), std::error_code();
    }
    void suspend() noexcept { end(o_ && o_->size != 0 ? state::suspended : state::dropped); }
    void drop() noexcept { end(state::dropped); }
    std::error_code check(std::uint64_t length) const {
      if (!o_ || o_->is != state::filling) return error::part_closed;
      if (o_->meta.length_known && length > o_->meta.length) return error::length_mismatch;
      return length > s_->largest ? error::not_enough_space : std::error_code();
    }
    void end(state as) noexcept {
      if (!o_ || o_->is != state::filling) return;
      std::lock_guard const hold(s_->mutex);
      o_->is = as;
      if (as == state::dropped) s_->objects.erase(o_->meta.key);
    }
    store* s_;
    std::shared_ptr<object> o_;
  };
  store(std::string in, std::uint64_t most) : directory(std::move(in)), largest(most) {}
  result<object> open(key const& k) const {
    std::lock_guard const hold(mutex);
    auto const i = objects.find(k);
    if (i != objects.end() && i->second->is == state::complete) return *i->second;
    return std::make_error_code(std::errc::no_such_file_or_directory);
  }
  bool contains(key const& k) const { return bool(open(k)); }
  result<part_type> create(meta const& m) {
    auto const file = posix_file_ops().open(directory, O_TMPFILE | O_RDWR);
    if (!file) return file.error();
    if (m.length_known && m.length > largest) return error::not_enough_space;
    return add({m, *file});
  }
  result<part_type> resume(key const& k) {
    std::lock_guard const hold(mutex);
    auto const i = objects.find(k);
    if (i == objects.end() || i->second->is != state::suspended)
      return std::make_error_code(std::errc::no_such_file_or_directory);
    auto const o = i->second;
    return part_type(this, i->second = std::make_shared<object>(object{o->meta, o->body, o->size}));
  }
  result<part_type> add(object o) {
    std::lock_guard const hold(mutex);
    auto& place = objects[o.meta.key];
    if (place && place->is == state::filling) return error::being_filled;
    return part_type(this, place = std::make_shared<object>(std::move(o)));
  }
  std::string const directory;
  std::uint64_t const largest;
  mutable std::mutex mutex;
  std::map<key, std::shared_ptr<object>> objects;
};
static_assert(__LINE__ - line_before - 1 < 80);
static_assert(CacheStore<store>);

}  // namespace own
