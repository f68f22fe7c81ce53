#pragma once

#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/disk_layout.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// What a disk store and its parts share: the index, the files behind it, and the space. It lives, and holds the
/// directory's lock, until the store and its last part are gone.
///
/// Thread rule: every member from any thread. `index_mutex_` is never held across I/O; `names_mutex_` serializes what
/// gives names to bodies or takes them away (commit, removal, eviction), so that a body never disappears between its
/// own naming and its metadata's. Order: names, then index.
class disk_core {
public:
  using part_ptr = std::shared_ptr<disk_index::part>;

  struct limits {
    std::uint64_t max_size = 0;  ///< 0: 90 % of the file system
    std::uint64_t min_free = 0;  ///< 0: 5 % of the file system
  };

  /// Throws like disk_layout::lock and load.
  disk_core(std::string path, limits l, log_sink log, file_ops& ops);
  disk_core(disk_core const&) = delete;
  disk_core& operator=(disk_core const&) = delete;
  ~disk_core();

  file_ops& ops() const noexcept { return ops_; }
  disk_layout const& layout() const noexcept { return layout_; }
  limits const& bounds() const noexcept { return limits_; }

  /// Runs `f(index)` under the index's lock. `f` does no I/O.
  template <class F>
  auto with_index(F f) {
    std::lock_guard const hold(index_mutex_);
    return f(index_);
  }

  /// The metadata and the shared descriptor of a complete object.
  result<std::pair<cache::meta, std::shared_ptr<file const>>> open(key const& k);
  std::error_code remove(key const& k);
  /// Errors: no_such_file_or_directory, I/O.
  std::error_code pin(key const& k, bool on);
  /// Reads an object whole. False: it was damaged and is dropped. Errors: no_such_file_or_directory, I/O.
  result<bool> verify(key const& k);

  /// After an error of `no_such_file_or_directory`: makes the directory again where it was removed under its owner, and
  /// reads it anew where it is another one, which may be the old one come back. False: that cannot be done.
  bool restore();

  /// Claims the key for a new part; what was kept of an older one is deleted. Errors: error::being_filled, I/O.
  result<part_ptr> begin_part(key const& k);
  /// Claims a suspended part. Errors: no_such_file_or_directory, error::being_filled.
  result<part_ptr> claim_part(key const& k);
  /// Lets an active part grow by `bytes` more, evicting what is least recently used.
  /// Errors: error::not_enough_space, I/O.
  std::error_code reserve(disk_index::part& p, std::uint64_t bytes);
  /// Ends a part that is to be resumed later.
  void keep_part(disk_index::part& p);
  /// Ends a part and deletes its files. `body`, if given, counts as used space until its last reader closes it.
  void discard_part(disk_index::part& p, std::shared_ptr<file const> const& body);
  /// Makes an object of a part whose body has been flushed. `m`: length and sha256 are set; the time is set here.
  ///
  /// The rename of the metadata is the only commit point. An error before it leaves the part as it was, or sets `lost`.
  /// An error after it, of the last flush of a directory, is returned with `committed` set: the object is complete and
  /// is served, but a power cut may take it.
  struct commit_state {
    bool lost = false, committed = false;
  };
  std::error_code commit(disk_index::part& p, cache::meta& m, std::shared_ptr<file const> const& body,
                         commit_state& state);

private:
  void take_in(disk_layout::contents found);
  result<std::shared_ptr<file const>> open_body(disk_index::body const& b, bool verify);
  std::error_code check_digest(int fd, disk_index::body const& b);
  static bool is_damage(std::error_code ec) noexcept {
    return ec == std::errc::no_such_file_or_directory || ec == error::length_mismatch || ec == error::checksum_mismatch;
  }
  bool drop_damaged(key const& k, std::shared_ptr<disk_index::body> const& b);
  std::error_code remove_object(key const& k);
  std::error_code remove_part_files(key const& k);
  void take_back_body(disk_index::part const& p, std::string const& sha256, commit_state& state);
  void record_use(key const& k);

  file_ops& ops_;
  disk_layout layout_;
  limits limits_;
  std::shared_ptr<file const> lock_;
  std::mutex names_mutex_;
  std::mutex index_mutex_;
  disk_index index_;
};

inline disk_core::disk_core(std::string path, limits l, log_sink log, file_ops& ops)
    : ops_(ops), layout_(std::move(path), ops, std::move(log)), limits_(l), lock_(layout_.lock()) {
  auto const space = ops_.space(layout_.path());
  if (!space) throw std::system_error(space.error(), "cannot ask for the space of " + layout_.path());
  if (limits_.max_size == 0) limits_.max_size = space->total / 10 * 9;
  if (limits_.min_free == 0) limits_.min_free = space->total / 20;

  take_in(layout_.load());
}

/// Puts what was found on disk into the index.
inline void disk_core::take_in(disk_layout::contents found) {
  index_.add_foreign(found.foreign_bytes);
  struct item {
    std::int64_t used_ns;
    std::size_t n;
    bool is_part;
  };
  std::vector<item> order;
  for (std::size_t i = 0; i < found.objects.size(); ++i) order.push_back({found.objects[i].used_ns, i, false});
  for (std::size_t i = 0; i < found.parts.size(); ++i) order.push_back({found.parts[i].used_ns, i, true});
  std::sort(order.begin(), order.end(), [](item const& a, item const& b) { return a.used_ns < b.used_ns; });
  for (auto const& i : order) {
    if (i.is_part) {
      if (index_.find_part(found.parts[i.n].key)) continue;  // being filled: its files lie elsewhere
      auto const p = index_.add_part(found.parts[i.n].key);
      p->written = found.parts[i.n].size;
      index_.deactivate(*p);
    } else {
      index_.add(std::move(found.objects[i.n].meta), !found.clean, i.used_ns / 1'000'000'000, nullptr);
    }
  }
}

inline disk_core::~disk_core() {
  // Objects not read since an unclean stop still have to be.
  if (index_.has_unverified()) return;
  try {
    (void)ops_.write_file(layout_.clean_path(), "mgw-cache 1\n");
  } catch (...) {  // no memory: the next start reads the objects again
  }
}

inline result<std::pair<cache::meta, std::shared_ptr<file const>>> disk_core::open(key const& k) {
  std::pair<cache::meta, std::shared_ptr<file const>> out;
  std::shared_ptr<disk_index::body> b;
  bool verify = false;
  {
    std::lock_guard const hold(index_mutex_);
    auto* const o = index_.find(k);
    if (o == nullptr) return std::make_error_code(std::errc::no_such_file_or_directory);
    out.first = o->meta;
    b = o->body;
    out.second = b->open_as.lock();
    verify = b->unverified;
    ++b->opening;  // eviction keeps off from here on
  }
  std::error_code ec;
  if (out.second) {
    auto const size = ops_.size(out.second->fd());
    if (!size)
      ec = size.error();
    else if (*size != b->size)
      ec = error::length_mismatch;
  } else {
    auto f = open_body(*b, verify);
    if (f)
      out.second = *std::move(f);
    else
      ec = f.error();
  }
  {
    std::lock_guard const hold(index_mutex_);
    --b->opening;
    if (!ec) {
      b->unverified = false;
      if (auto other = b->open_as.lock()) {
        out.second = std::move(other);
      } else {
        b->open_as = out.second;
        if (b->keys == 0) index_.add_unlinked(out.second, b->size);  // removed meanwhile: whole for this reader
      }
    }
  }
  if (is_damage(ec)) {
    (void)drop_damaged(k, b);
    return std::make_error_code(std::errc::no_such_file_or_directory);
  }
  if (ec) return ec;
  record_use(k);
  return out;
}

/// Errors: no_such_file_or_directory, error::length_mismatch, error::checksum_mismatch for a body that is no longer
/// what was stored; any other is the system's.
inline result<std::shared_ptr<file const>> disk_core::open_body(disk_index::body const& b, bool verify) {
  auto f = ops_.open(layout_.object_path(b.sha256), O_RDONLY);
  if (!f) return f.error();
  auto const size = ops_.size((*f)->fd());
  if (!size) return size.error();
  if (*size != b.size) return error::length_mismatch;
  if (verify)
    if (auto const ec = check_digest((*f)->fd(), b)) return ec;
  return f;
}

inline std::error_code disk_core::check_digest(int fd, disk_index::body const& b) {
  sha256 digest;
  std::vector<char> buffer(std::size_t{256} << 10);
  for (std::uint64_t at = 0; at < b.size;) {
    auto const n = ops_.read_full(fd, buffer, at);
    if (!n) return n.error();
    if (*n == 0) return error::length_mismatch;
    if (auto const ec = digest.update({buffer.data(), *n})) return ec;
    at += *n;
  }
  sha256_digest d{};
  if (auto const ec = digest.digest(d)) return ec;
  return to_hex(d) == b.sha256 ? std::error_code{} : make_error_code(error::checksum_mismatch);
}

/// Forgets an object whose body is not what it was, if it still has that body: true.
inline bool disk_core::drop_damaged(key const& k, std::shared_ptr<disk_index::body> const& b) {
  std::lock_guard const names(names_mutex_);
  auto const taken = with_index([&](disk_index& index) {
    auto const* const o = index.find(k);
    return o != nullptr && o->body == b ? index.take(k) : std::nullopt;
  });
  if (!taken) return false;
  layout_.log(log_level::warn, "cache " + layout_.path() + ": dropped " + k.hex() + ": its body is gone or damaged");
  (void)ops_.unlink(layout_.meta_path(k));
  if (taken->body->keys == 0) (void)ops_.unlink(layout_.object_path(b->sha256));
  return true;
}

inline result<bool> disk_core::verify(key const& k) {
  auto const b = with_index([&](disk_index& index) {
    auto* const o = index.find(k);
    if (o != nullptr) ++o->body->opening;  // eviction keeps off
    return o != nullptr ? o->body : nullptr;
  });
  if (!b) return std::make_error_code(std::errc::no_such_file_or_directory);
  auto const f = open_body(*b, true);
  with_index([&](disk_index&) {
    --b->opening;
    if (f) b->unverified = false;
  });
  if (f) return true;
  if (!is_damage(f.error())) return f.error();
  if (drop_damaged(k, b)) return false;
  return std::make_error_code(std::errc::no_such_file_or_directory);  // removed or replaced meanwhile
}

inline std::error_code disk_core::pin(key const& k, bool on) {
  std::lock_guard const names(names_mutex_);
  auto m = with_index([&](disk_index& index) {
    auto const* const o = index.find(k);
    return o != nullptr ? std::optional(o->meta) : std::nullopt;
  });
  if (!m) return std::make_error_code(std::errc::no_such_file_or_directory);
  if (m->pinned == on) return {};
  m->pinned = on;
  auto const text = write_meta(*m);
  if (!text) return text.error();
  std::string const path = layout_.meta_path(k), temporary = path + ".tmp";
  auto ec = ops_.write_file(temporary, *text);
  if (!ec) ec = ops_.rename(temporary, path);
  if (ec) {
    (void)ops_.unlink(temporary);
    return ec;
  }
  std::int64_t const now = ops_.now();
  with_index([&](disk_index& index) {
    auto* const o = index.find(k);
    if (o == nullptr) return;
    index.set_pinned(*o, on);
    index.mark_used(*o);  // the file is new
    o->touched = now;
  });
  return ops_.fsync_directory(disk_layout::parent(path));
}

/// Notes on disk that an object was used, at most once a minute.
inline void disk_core::record_use(key const& k) {
  std::int64_t const now = ops_.now();
  bool const due = with_index([&](disk_index& index) {
    auto* const o = index.find(k);
    if (o == nullptr) return false;
    index.mark_used(*o);
    if (now - o->touched < 60 && now >= o->touched) return false;
    o->touched = now;
    return true;
  });
  if (due) (void)ops_.touch(layout_.meta_path(k));
}

inline std::error_code disk_core::remove(key const& k) {
  std::lock_guard const names(names_mutex_);
  auto const p = with_index([&](disk_index& index) {
    auto found = index.find_part(k);
    if (found && found->active) found.reset();
    if (found) index.activate(*found);
    return found;
  });
  if (p) discard_part(*p, nullptr);
  auto const ec = remove_object(k);
  return p && ec == std::errc::no_such_file_or_directory ? std::error_code{} : ec;
}

/// Precondition: the names are held.
inline std::error_code disk_core::remove_object(key const& k) {
  auto taken = with_index([&](disk_index& index) { return index.take(k); });
  if (!taken) return std::make_error_code(std::errc::no_such_file_or_directory);
  auto const ec = ops_.unlink(layout_.meta_path(k));
  if (ec && ec != std::errc::no_such_file_or_directory) {
    with_index([&](disk_index& index) { index.put_back(*std::move(taken)); });
    return ec;
  }
  if (taken->body->keys != 0) return {};
  auto const body_ec = ops_.unlink(layout_.object_path(taken->body->sha256));
  if (!body_ec || body_ec == std::errc::no_such_file_or_directory) return {};
  with_index([&](disk_index& index) { index.add_foreign(taken->body->size); });  // until the next start sweeps it
  return body_ec;
}

inline std::error_code disk_core::remove_part_files(key const& k) {
  auto const journal_ec = ops_.unlink(layout_.journal_path(k));
  auto const body_ec = ops_.unlink(layout_.part_path(k));
  if (body_ec && body_ec != std::errc::no_such_file_or_directory) return body_ec;
  return journal_ec == std::errc::no_such_file_or_directory ? std::error_code{} : journal_ec;
}

inline bool disk_core::restore() {
  std::lock_guard const names(names_mutex_);
  try {
    auto const ours = ops_.is_named(lock_->fd(), layout_.lock_path());
    if (ours && *ours) {
      layout_.make_trees();
      return true;
    }
    auto lock = layout_.lock();
    auto found = layout_.load();
    lock_ = std::move(lock);
    std::lock_guard const hold(index_mutex_);
    index_.forget();
    take_in(std::move(found));
  } catch (std::exception const&) {
    return false;  // whoever asked has the error
  }
  layout_.log(log_level::warn, "cache " + layout_.path() + ": the directory had been removed");
  return true;
}

inline result<disk_core::part_ptr> disk_core::begin_part(key const& k) {
  part_ptr p;
  bool existed = false;
  {
    std::lock_guard const names(names_mutex_);  // an eviction of the older part is over, files and all
    std::lock_guard const hold(index_mutex_);
    p = index_.find_part(k);
    existed = p != nullptr;
    if (existed && p->active) return error::being_filled;
    if (existed)
      index_.activate(*p);
    else
      p = index_.add_part(k);
  }
  auto const ec = remove_part_files(k);  // also of one whose deletion failed
  std::lock_guard const hold(index_mutex_);
  if (ec) {
    if (existed)
      index_.deactivate(*p);
    else
      index_.erase_part(*p);
    return ec;
  }
  p->written = 0;
  p->reserved = 0;
  return p;
}

inline result<disk_core::part_ptr> disk_core::claim_part(key const& k) {
  std::lock_guard const hold(index_mutex_);
  auto p = index_.find_part(k);
  if (!p) return std::make_error_code(std::errc::no_such_file_or_directory);
  if (p->active) return error::being_filled;
  index_.activate(*p);
  return p;
}

inline std::error_code disk_core::reserve(disk_index::part& p, std::uint64_t bytes) {
  std::lock_guard const names(names_mutex_);
  auto const space = ops_.space(layout_.path());
  if (!space) return space.error();
  // Some file systems free space late: what was deleted here is counted at once.
  std::uint64_t available = space->available;
  for (;;) {
    std::optional<disk_index::used_order_item> victim;
    std::uint64_t used_before = 0;
    {
      std::lock_guard const hold(index_mutex_);
      if (bytes > limits_.max_size) return error::not_enough_space;
      used_before = index_.used_bytes();
      std::uint64_t const room = limits_.max_size - std::min(limits_.max_size, used_before);
      std::uint64_t const above = available - std::min(available, limits_.min_free);
      std::uint64_t const free = above - std::min(above, index_.outstanding_bytes());
      std::uint64_t const over = std::max(bytes - std::min(bytes, room), bytes - std::min(bytes, free));
      if (over == 0) {
        p.reserved += bytes;
        return {};
      }
      if (index_.evictable_bytes() < over) return error::not_enough_space;
      victim = index_.victim();
      if (!victim) return error::not_enough_space;
      if (victim->is_part) index_.activate(*index_.find_part(victim->key));
    }
    if (victim->is_part) {
      auto const evicted = with_index([&](disk_index& index) { return index.find_part(victim->key); });
      std::uint64_t const size = evicted->written;
      if (auto const ec = remove_part_files(victim->key)) {
        keep_part(*evicted);
        return ec;
      }
      with_index([&](disk_index& index) { index.erase_part(*evicted); });
      available += size;
    } else {
      if (auto const ec = remove_object(victim->key)) return ec;
      std::uint64_t const used = with_index([](disk_index& index) { return index.used_bytes(); });
      available += used_before - std::min(used_before, used);
    }
    layout_.log(log_level::info, "cache " + layout_.path() + ": evicted " + victim->key.hex());
  }
}

inline void disk_core::keep_part(disk_index::part& p) {
  with_index([&](disk_index& index) { index.deactivate(p); });
}

inline void disk_core::discard_part(disk_index::part& p, std::shared_ptr<file const> const& body) {
  (void)remove_part_files(p.key);  // the key is free for others only afterwards
  with_index([&](disk_index& index) {
    index.add_unlinked(body, p.written);
    index.erase_part(p);
  });
}

inline std::error_code disk_core::commit(disk_index::part& p, cache::meta& m, std::shared_ptr<file const> const& body,
                                         commit_state& state) {
  std::lock_guard const names(names_mutex_);
  cache::meta done = m;
  done.stored_at = ops_.now();
  done.pinned = with_index([&](disk_index& index) {
    auto const* const o = index.find(p.key);
    return o != nullptr && o->meta.pinned;
  });
  auto const text = write_meta(done);
  if (!text) return text.error();
  std::string const object = layout_.object_path(done.sha256), path = layout_.meta_path(p.key);
  std::string const temporary = path + ".tmp";
  // All that needs space comes first: a full disk is found while the part is still a part.
  auto early = layout_.make_shard(object);
  if (!early) early = layout_.make_shard(path);
  if (!early) early = ops_.write_file(temporary, *text);
  if (!early) early = ops_.rename(layout_.part_path(p.key), object);
  if (early) {
    (void)ops_.unlink(temporary);
    return early;
  }
  auto late = ops_.fsync_directory(disk_layout::parent(object));
  state.lost = bool(late);
  if (!late) late = ops_.rename(temporary, path);
  if (late) {
    (void)ops_.unlink(temporary);
    take_back_body(p, done.sha256, state);
    return late;
  }
  auto const ec = ops_.fsync_directory(disk_layout::parent(path));
  state.committed = true;
  m = done;
  auto const replaced = with_index([&](disk_index& index) {
    auto old = index.take(p.key);
    index.erase_part(p);
    index.add(done, false, done.stored_at, body);
    if (old && index.has_body(old->meta.sha256)) old.reset();
    return old;
  });
  if (replaced) (void)ops_.unlink(layout_.object_path(replaced->meta.sha256));
  (void)ops_.unlink(layout_.journal_path(done.key));
  return ec;
}

/// Makes a part again of a body that was named but not committed; a lost one is deleted. Another object's body with
/// the same bytes stays.
inline void disk_core::take_back_body(disk_index::part const& p, std::string const& sha256, commit_state& state) {
  if (with_index([&](disk_index& index) { return index.has_body(sha256); })) {
    state.lost = true;
    return;
  }
  std::string const object = layout_.object_path(sha256);
  if (!state.lost && !ops_.rename(object, layout_.part_path(p.key))) return;
  state.lost = true;
  (void)ops_.unlink(object);
}

}  // namespace mgw::cache
