#pragma once

#include <mgw/cache/disk_core.hpp>
#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/part.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/result.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// A complete object: what is known of it, and its bytes.
struct stored {
  cache::meta meta;
  std::shared_ptr<file const> body;  ///< readable even if the object is evicted or replaced meanwhile
};

/// Immutable bodies in a directory, least recently used first out. The format is in docs/cache-format.md.
///
/// One process owns the directory at a time. A body becomes an object in one step, the commit of its part; what a
/// crash leaves behind is either absent, or a part that can be resumed, or complete.
///
/// Thread rule: any thread; `open`, `create`, `resume`, `remove`, `pin`, `expire` and `verify` block on the disk and
/// are for a pool, not for a network thread. `contains`, `opens_as`, `opens_slowly`, `resumes_slowly`, `list`, `entries`
/// and `used` only take a short lock.
class disk_store {
public:
  using part_type = part;
  struct options {
    std::filesystem::path path;
    std::uint64_t max_size = 0;       ///< bytes of all bodies; 0: 90 % of the file system at start
    std::uint64_t min_free = 0;       ///< bytes left free on the file system; 0: 5 % of it
    std::chrono::seconds max_age{0};  ///< `expire` deletes what was not used for so long; 0: nothing
  };
  struct usage {
    std::uint64_t bytes = 0;  ///< objects, parts with what they reserved, removed objects that are still read
    std::uint64_t objects = 0;
    std::uint64_t max_size = 0;
    std::uint64_t min_free = 0;
    std::uint64_t pinned_bytes = 0;
    std::uint64_t parts = 0;  ///< being filled, or kept to be resumed
    std::uint64_t part_bytes = 0;
  };
  struct entry {
    cache::meta meta;
    std::int64_t last_used = 0;  ///< seconds since 1970, to the minute
    bool in_use = false;         ///< read at this moment
  };
  enum class verdict { good, damaged, missing };

  /// Makes the directory where needed, takes its lock, sweeps leftovers and reads the index. Relative paths count from
  /// the working directory of this moment. Precondition: `ops` outlives the store, its parts and their bodies.
  /// Throws std::system_error, std::runtime_error with a sentence: not accessible, or in use by another process.
  explicit disk_store(options const& o, log_sink log = {}, file_ops& ops = posix_file_ops())
      : core_(std::make_shared<disk_core>(absolute_path(o.path), core_limits(o), std::move(log), ops)) {
    (void)expire();
  }

  /// A complete object. That it is there and whole is checked before it is promised: one that is gone, has another
  /// size or, first read after an unclean stop, other bytes is dropped. Who wants one that is being read waits for that.
  /// Errors: std::errc::no_such_file_or_directory, I/O.
  result<stored> open(key const& k);
  bool contains(key const& k) const {
    return core_->with_index([&](disk_index& index) { return index.find(k) != nullptr; });
  }
  /// Whether `open(k)` would return these, which it returned before, of an object that is still the same; counts as a use.
  bool opens_as(key const& k, meta const& about, file const& body) const { return core_->opens_as(k, about, body); }
  /// Whether `open` and `resume` have much to read first: a pool of its own is good for these.
  bool opens_slowly(key const& k) const { return core_->opens_slowly(k); }
  bool resumes_slowly(key const& k) const {
    return core_->with_index([&](disk_index& index) { return index.find_part(k) != nullptr; });
  }
  /// A new part, with `m.length` reserved for it; an older suspended part of this key is deleted. Time and digest are
  /// set here. Errors: error::not_enough_space, error::being_filled, error::value_too_long, I/O. A directory that was
  /// removed meanwhile is made again.
  result<part> create(meta const& m) {
    auto p = part::create(core_, m);
    if (!p && p.error() == std::errc::no_such_file_or_directory && core_->restore()) p = part::create(core_, m);
    return p;
  }
  /// A part that was suspended or left by a crash, cut back to its last good checkpoint. Its bytes are read once.
  /// One whose files do not match is removed. Errors: std::errc::no_such_file_or_directory, error::being_filled,
  /// error::not_enough_space, error::newer_version, I/O; the part is kept in the last four cases.
  result<part> resume(key const& k) { return part::resume(core_, k); }
  /// Removes an object and a suspended part; readers go on. Errors: std::errc::no_such_file_or_directory; I/O, when
  /// the object is still there, or gone while its bytes could not be deleted before the next start.
  std::error_code remove(key const& k) { return core_->remove(k); }
  /// Pins an object, or lets go of it: as long as it is pinned it is never evicted, nor is the one that replaces it. A
  /// use of it. Once this returns without an error it survives a power cut.
  /// Errors: std::errc::no_such_file_or_directory; I/O, when it is as it was or, if only the last flush of a directory
  /// failed, changed until a power cut.
  std::error_code pin(key const& k, bool on) { return core_->pin(k, on); }
  /// Deletes objects and suspended parts that were not used for `max_age`, but none that is pinned, read or filled; how
  /// many. The constructor does so, too; later it is for its user to call, once in an hour or in a tenth of that age.
  /// As long as the clock says it is before 2020 nothing has an age, and uses of that time count from when it is set.
  std::size_t expire() { return core_->expire(); }
  /// Reads an object whole and compares it with its SHA-256. One that is damaged, or whose body is gone, is dropped and
  /// logged; its readers go on. Errors: I/O, when nothing was found out.
  result<verdict> verify(key const& k);
  /// What is remembered of a complete object; from memory.
  std::optional<meta> about(key const& k) const {
    return core_->with_index([&k](disk_index& index) {
      auto const* const o = index.find(k);
      return o != nullptr ? std::optional(o->meta) : std::nullopt;
    });
  }
  /// All complete objects, in no order.
  std::vector<meta> list() const;
  /// The same with who uses them.
  std::vector<entry> entries() const;
  usage used() const;

private:
  static std::string absolute_path(std::filesystem::path const& p) {
    std::string text = std::filesystem::absolute(p).lexically_normal().string();
    while (text.size() > 1 && text.back() == '/') text.pop_back();
    return text;
  }
  static disk_core::limits core_limits(options const& o) {
    disk_core::limits l;
    l.max_size = o.max_size;
    l.min_free = o.min_free;
    l.max_age = o.max_age.count();
    return l;
  }

  std::shared_ptr<disk_core> core_;
};

inline result<stored> disk_store::open(key const& k) {
  auto found = core_->open(k);
  if (!found) return found.error();
  stored s;
  s.meta = std::move(found->first);
  s.body = std::move(found->second);
  return s;
}

inline std::vector<meta> disk_store::list() const {
  return core_->with_index([](disk_index& index) {
    std::vector<meta> out;
    out.reserve(index.size());
    index.for_each([&out](disk_index::object const& o) { out.push_back(o.meta); });
    return out;
  });
}

inline std::vector<disk_store::entry> disk_store::entries() const {
  return core_->with_index([](disk_index& index) {
    std::vector<entry> out;
    out.reserve(index.size());
    index.for_each([&out](disk_index::object const& o) { out.push_back({o.meta, o.touched, o.body->in_use()}); });
    return out;
  });
}

inline result<disk_store::verdict> disk_store::verify(key const& k) {
  auto const good = core_->verify(k);
  if (good) return *good ? verdict::good : verdict::damaged;
  if (good.error() == std::errc::no_such_file_or_directory) return verdict::missing;
  return good.error();
}

inline disk_store::usage disk_store::used() const {
  return core_->with_index([this](disk_index& index) {
    usage u;
    u.bytes = index.used_bytes();
    u.objects = index.size();
    u.max_size = core_->bounds().max_size;
    u.min_free = core_->bounds().min_free;
    u.pinned_bytes = index.pinned_bytes();
    u.parts = index.parts();
    u.part_bytes = index.part_bytes();
    return u;
  });
}

}  // namespace mgw::cache
