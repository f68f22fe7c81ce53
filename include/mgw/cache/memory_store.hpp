#pragma once

#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/memory_part.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/store.hpp>
#include <mgw/core/result.hpp>

#include <sys/mman.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// Immutable bodies in memory, least recently used first out: for a gateway without a disk, or in front of a fleet
/// whose artifacts are small. Everything is gone with the process.
///
/// Bodies are anonymous files (memfd_create(2)), so that all that serves a disk_store's serves these. They count as the
/// process's memory, or its control group's: leave room for the connections. Every body holds a descriptor.
///
/// Thread rule: any thread. Nothing waits for a disk, but `append` copies and freeing a large body takes a while: for a
/// pool, like disk_store's. `contains`, `list` and `used` only take a short lock.
class memory_store {
public:
  using part_type = memory_part;
  struct options {
    std::uint64_t max_size = 0;     ///< bytes of all bodies; required
    std::size_t max_objects = 256;  ///< objects and parts, each of which holds a descriptor
    std::uint64_t max_object = 0;   ///< bytes of one body; 0: `max_size`
  };
  struct usage {
    std::uint64_t bytes = 0;  ///< objects, parts with what they reserved, removed objects that are still read
    std::uint64_t objects = 0;
    std::uint64_t max_size = 0;
  };
  /// A complete object: what is known of it, and its bytes.
  struct object {
    cache::meta meta;
    std::shared_ptr<file const> body;  ///< readable even if the object is evicted or replaced meanwhile
  };

  /// Throws std::invalid_argument where a limit is 0.
  explicit memory_store(options const& o) : core_(std::make_shared<memory_detail::core>()) {
    if (o.max_size == 0 || o.max_objects == 0) throw std::invalid_argument("a store in memory needs its limits");
    core_->max_size = o.max_size;
    core_->max_objects = o.max_objects;
    core_->max_object = o.max_object == 0 ? o.max_size : o.max_object;
  }

  /// Errors: std::errc::no_such_file_or_directory.
  result<object> open(key const& k);
  bool contains(key const& k) const {
    std::lock_guard const hold(core_->mutex);
    return core_->objects.contains(k);
  }
  /// A new part, with `m.length` reserved for it; an older suspended part of this key is deleted.
  /// Errors: error::not_enough_space, error::being_filled, error::value_too_long, what the system says where it has no
  /// memory or descriptor.
  result<memory_part> create(meta const& m);
  /// A suspended part, whole. Errors: std::errc::no_such_file_or_directory, error::being_filled,
  /// error::not_enough_space; the part is kept in the last two cases.
  result<memory_part> resume(key const& k);
  /// Removes an object and a suspended part; readers go on. Errors: std::errc::no_such_file_or_directory.
  std::error_code remove(key const& k);
  /// All complete objects, the least recently used first.
  std::vector<meta> list() const;
  usage used() const;

private:
  std::shared_ptr<memory_detail::core> core_;
};

inline result<memory_store::object> memory_store::open(key const& k) {
  std::lock_guard const hold(core_->mutex);
  auto const found = core_->objects.find(k);
  if (found == core_->objects.end()) return std::make_error_code(std::errc::no_such_file_or_directory);
  core_->kept.splice(core_->kept.end(), core_->kept, found->second);
  return object{found->second->meta, found->second->shared()};
}

inline result<memory_part> memory_store::create(meta const& m) {
  if (auto const text = write_meta(m); !text) return text.error();  // what can be stored is the same everywhere
  memory_detail::core::order older;
  memory_part p(nullptr);
  p.e_.meta = m;
  if (!m.length_known) p.e_.meta.length = 0;
  p.e_.meta.sha256.clear();
  p.e_.meta.pinned = false;
  p.e_.meta.stored_at = static_cast<std::int64_t>(std::time(nullptr));
  {
    std::lock_guard const hold(core_->mutex);
    if (!core_->filling.insert(m.key).second) return error::being_filled;
    p.core_ = core_;  // from here on, leaving drops it
    auto const found = core_->parts.find(m.key);
    if (found != core_->parts.end()) memory_detail::core::take(*core_, found->second, older);
  }
  older.clear();
  int const fd = ::memfd_create("mgw-object", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd == -1) return std::error_code(errno, std::generic_category());
  p.e_.body = std::make_shared<memory_detail::body>(core_->used, fd);
  if (auto const ec = core_->reserve(*p.e_.body, p.e_.meta.length, 1)) return ec;
  return p;
}

inline result<memory_part> memory_store::resume(key const& k) {
  memory_detail::core::order taken;
  memory_part p(nullptr);
  {
    std::lock_guard const hold(core_->mutex);
    if (core_->filling.contains(k)) return error::being_filled;
    auto const found = core_->parts.find(k);
    if (found == core_->parts.end()) return std::make_error_code(std::errc::no_such_file_or_directory);
    core_->filling.insert(k);
    memory_detail::core::take(*core_, found->second, taken);
    p.core_ = core_;
    p.e_ = std::move(taken.back());
  }
  std::uint64_t const more = p.e_.meta.length_known ? p.e_.meta.length - p.e_.size : 0;
  if (auto const ec = core_->reserve(*p.e_.body, more, 0)) {
    p.suspend();
    return ec;
  }
  return p;
}

inline std::error_code memory_store::remove(key const& k) {
  memory_detail::core::order taken;
  std::lock_guard const hold(core_->mutex);
  for (auto* const where : {&core_->objects, &core_->parts}) {
    auto const found = where->find(k);
    if (found != where->end()) memory_detail::core::take(*core_, found->second, taken);
  }
  return taken.empty() ? std::make_error_code(std::errc::no_such_file_or_directory) : std::error_code{};
}

inline std::vector<meta> memory_store::list() const {
  std::lock_guard const hold(core_->mutex);
  std::vector<meta> out;
  for (auto const& e : core_->kept)
    if (e.complete) out.push_back(e.meta);
  return out;
}

inline memory_store::usage memory_store::used() const {
  std::lock_guard const hold(core_->mutex);
  return {*core_->used, core_->objects.size(), core_->max_size};
}

static_assert(CacheStore<memory_store>);

}  // namespace mgw::cache
