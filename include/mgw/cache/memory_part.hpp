#pragma once

#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/sha256.hpp>

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace mgw::cache {

class memory_store;

namespace memory_detail {

/// A body in memory. What it is charged counts until the last who holds it lets go.
struct body {
  body(std::shared_ptr<std::atomic<std::uint64_t>> used, int fd) : bytes(fd), used_(std::move(used)) {}
  body(body const&) = delete;
  body& operator=(body const&) = delete;
  ~body() { charge(0); }
  /// Under the store's lock, or by its last owner.
  void charge(std::uint64_t n) noexcept {
    *used_ += n - charged;  // modulo 2^64: also a smaller one
    charged = n;
  }
  cache::file const bytes;
  std::uint64_t charged = 0;

private:
  std::shared_ptr<std::atomic<std::uint64_t>> used_;
};
using body_ptr = std::shared_ptr<body>;

/// What is kept of one object, complete or not.
struct entry {
  cache::meta meta;
  body_ptr body;
  sha256 digest;
  std::uint64_t size = 0;
  bool complete = false;

  std::shared_ptr<file const> shared() const { return {body, body ? &body->bytes : nullptr}; }
};

/// What the store and its parts share.
struct core {
  using order = std::list<entry>;
  std::mutex mutex;
  std::uint64_t max_size = 0;
  std::uint64_t max_object = 0;
  std::size_t max_objects = 0;
  std::shared_ptr<std::atomic<std::uint64_t>> used = std::make_shared<std::atomic<std::uint64_t>>(0);
  order kept;  // objects and suspended parts, the least recently used first
  std::unordered_map<key, order::iterator> objects, parts;
  std::unordered_set<key> filling;

  /// Takes an entry out of the order and its map; who gets it frees it, after the lock.
  static void take(core& c, order::iterator e, order& into) {
    (e->complete ? c.objects : c.parts).erase(e->meta.key);
    into.splice(into.end(), c.kept, e);
  }
  std::error_code reserve(body& b, std::uint64_t bytes, std::size_t objects_more);
};

/// Lets a body that is being written grow by `bytes`, and the number of objects by one where it is a new one. What is
/// least recently used makes room, if all of that is enough: nothing is evicted in vain.
inline std::error_code core::reserve(body& b, std::uint64_t bytes, std::size_t objects_more) {
  order evicted;  // freed when the lock is gone
  std::lock_guard const hold(mutex);
  if (bytes > max_size || bytes > max_object) return error::not_enough_space;
  std::uint64_t const now = *used, room = max_size - std::min(max_size, now);
  std::uint64_t over = bytes - std::min(bytes, room);
  std::size_t const count = kept.size() + filling.size();  // the new one is in `filling` already
  std::size_t too_many = objects_more != 0 && count > max_objects ? count - max_objects : 0;
  std::vector<order::iterator> victims;
  for (auto i = kept.begin(); i != kept.end() && (over != 0 || too_many != 0); ++i) {
    if (i->body.use_count() != 1) continue;  // read by somebody; it gets new readers only under this lock
    victims.push_back(i);
    over -= std::min(over, i->body->charged);
    too_many -= std::min<std::size_t>(too_many, 1);
  }
  if (over != 0 || too_many != 0) return error::not_enough_space;
  for (auto const& v : victims) {
    v->body->charge(0);
    take(*this, v, evicted);
  }
  b.charge(b.charged + bytes);
  return {};
}

}  // namespace memory_detail

/// A body being written into memory. Destroyed without commit or suspend, it is dropped. May outlive its store.
///
/// Thread rule: one writer at a time. Readers take `body()` from the writer and know from it how far they may read.
class memory_part {
public:
  memory_part(memory_part&&) noexcept = default;
  memory_part& operator=(memory_part&& other) noexcept {
    if (this != &other) {
      drop();
      core_ = std::move(other.core_);
      e_ = std::move(other.e_);
    }
    return *this;
  }
  ~memory_part() { drop(); }

  /// The file to `pread` from; it stays readable after commit, eviction and drop. Null once moved from.
  std::shared_ptr<file const> body() const { return e_.shared(); }
  std::uint64_t size() const noexcept { return e_.size; }
  cache::meta const& meta() const noexcept { return e_.meta; }

  /// Sets the object's labels, in place of those it was created with. Errors: those of check_labels;
  /// error::part_closed.
  std::error_code set_labels(std::vector<std::pair<std::string, std::string>> labels) {
    if (!open()) return error::part_closed;
    if (auto const ec = check_labels(labels)) return ec;
    e_.meta.labels = std::move(labels);
    return {};
  }
  /// Adds to the end, all of it or an error; after one the size is as before.
  /// Errors: error::length_mismatch beyond the announced length, error::not_enough_space for an unknown length that
  /// outgrows the store or its limit, error::part_closed, what the system says where it has no memory.
  std::error_code append(std::string_view bytes);
  /// Nothing in memory survives a power cut. Errors: error::part_closed.
  std::error_code checkpoint() noexcept { return open() ? std::error_code{} : make_error_code(error::part_closed); }
  /// Makes the complete object of it, sealed; `meta()` then has its SHA-256. Errors: error::length_mismatch if
  /// `total_length` is not `size()` or not what was announced; error::part_closed.
  std::error_code commit(std::uint64_t total_length);
  /// Keeps it for `resume`, as long as nothing else needs the room. One with nothing in it is dropped.
  void suspend() noexcept;
  /// Deletes it. No effect after commit or suspend.
  void drop() noexcept;

private:
  friend class memory_store;
  /// An object of unknown length reserves so much at a time.
  static constexpr std::uint64_t reserve_step = std::uint64_t{1} << 20;

  explicit memory_part(std::shared_ptr<memory_detail::core> c) : core_(std::move(c)) {}
  bool open() const noexcept { return core_ != nullptr; }
  /// Puts a copy of the entry where the store finds it.
  void keep(std::unordered_map<key, memory_detail::core::order::iterator>& where);

  std::shared_ptr<memory_detail::core> core_;  // null: closed
  memory_detail::entry e_;
};

inline std::error_code memory_part::append(std::string_view bytes) {
  if (!open()) return error::part_closed;
  if (e_.meta.length_known && bytes.size() > e_.meta.length - e_.size) return error::length_mismatch;
  if (bytes.size() > core_->max_object - std::min(e_.size, core_->max_object)) return error::not_enough_space;
  std::uint64_t const reserved = e_.body->charged;  // only this part changes it while it is open
  if (bytes.size() > reserved - e_.size) {
    std::uint64_t const need = bytes.size() - (reserved - e_.size);
    auto ec = core_->reserve(*e_.body, std::max(need, reserve_step), 0);
    if (ec && need < reserve_step) ec = core_->reserve(*e_.body, need, 0);
    if (ec) return ec;
  }
  if (auto const ec = posix_file_ops().write_all(e_.body->bytes.fd(), bytes, e_.size)) return ec;
  if (auto const ec = e_.digest.update(bytes)) return ec;
  e_.size += bytes.size();
  return {};
}

inline void memory_part::keep(std::unordered_map<key, memory_detail::core::order::iterator>& where) {
  memory_detail::core::order one, replaced;  // freed when the lock is gone
  one.emplace_back();
  one.back().meta = e_.meta;
  one.back().body = e_.body;
  one.back().size = e_.size;
  std::lock_guard const hold(core_->mutex);
  auto const [at, added] = where.try_emplace(e_.meta.key, one.begin());
  if (!added) {
    replaced.splice(replaced.end(), core_->kept, at->second);
    at->second = one.begin();
  }
  one.back().complete = &where == &core_->objects;
  if (!one.back().complete) one.back().digest = std::move(e_.digest);
  core_->kept.splice(core_->kept.end(), one);
  core_->filling.erase(e_.meta.key);
  e_.body->charge(e_.size);
}

inline std::error_code memory_part::commit(std::uint64_t total_length) {
  if (!open()) return error::part_closed;
  if (total_length != e_.size || (e_.meta.length_known && total_length != e_.meta.length))
    return error::length_mismatch;
  sha256_digest d{};
  if (auto const ec = e_.digest.digest(d)) return ec;
  // What a failed append may have left behind the end.
  if (auto const ec = posix_file_ops().truncate(e_.body->bytes.fd(), e_.size)) return ec;
  // A guard against mistakes of ours: where the system has no seals, the bytes are as good without.
  // (Not F_SEAL_WRITE, which waits for readers that have some of it on its way.)
  (void)::fcntl(e_.body->bytes.fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL);
  e_.meta.length = total_length;
  e_.meta.length_known = true;
  e_.meta.sha256 = to_hex(d);
  e_.meta.stored_at = static_cast<std::int64_t>(std::time(nullptr));
  keep(core_->objects);
  core_.reset();
  return {};
}

inline void memory_part::suspend() noexcept {
  if (!open() || e_.size == 0) return drop();
  try {
    keep(core_->parts);
    core_.reset();
  } catch (...) {  // no memory
    drop();
  }
}

inline void memory_part::drop() noexcept {
  if (!open()) return;
  {
    std::lock_guard const hold(core_->mutex);
    core_->filling.erase(e_.meta.key);
    if (e_.body) e_.body->charge(e_.size);  // for as long as it is read
  }
  core_.reset();
}

}  // namespace mgw::cache
