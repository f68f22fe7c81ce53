#pragma once

#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/disk_layout.hpp>
#include <mgw/cache/disk_objects.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/progress.hpp>
#include <mgw/core/result.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// What a disk store and its parts share: the objects and their directory, the parts, and the space. It lives, and
/// holds the directory's lock, until the store and its last part are gone.
/// Thread rule: as disk_state.
class disk_core : public disk_objects {
public:
  using part_ptr = std::shared_ptr<disk_index::part>;
  using disk_objects::disk_objects;

  std::error_code remove(key const& k);

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
  /// Something that goes: out of the index, or active where it is a part; its names are busy until it is gone.
  struct victim {
    disk_index::used_order_item what;
    busy_names<key>::hold key_held;
    busy_names<std::string>::hold body_held;
    std::optional<disk_index::object> object;
    part_ptr part;
    std::uint64_t bytes = 0;  // what its going frees
  };

  std::error_code remove_part_files(key const& k);
  /// Empty if somebody works on it at this moment. Precondition: the index is locked.
  std::optional<victim> claim(disk_index::used_order_item const& what);
  void wait_for(key const& k);
  std::error_code evict(victim v);
  void take_back_body(disk_index::part const& p, std::string const& sha256, commit_state& state);

  std::mutex space_mutex_;  // from the question for space to the reservation; before the index's
};

inline std::error_code disk_core::remove(key const& k) {
  auto const held = hold_key(k);
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

inline result<disk_core::part_ptr> disk_core::begin_part(key const& k) {
  part_ptr p;
  bool existed = false;
  {
    auto const held = hold_key(k);  // an eviction of the older part is over, files and all
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
  auto const held = hold_key(k);
  std::lock_guard const hold(index_mutex_);
  auto p = index_.find_part(k);
  if (!p) return std::make_error_code(std::errc::no_such_file_or_directory);
  if (p->active) return error::being_filled;
  index_.activate(*p);
  return p;
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

inline std::error_code disk_core::remove_part_files(key const& k) {
  auto const journal_ec = ops_.unlink(layout_.journal_path(k));
  auto const body_ec = ops_.unlink(layout_.part_path(k));
  if (body_ec && body_ec != std::errc::no_such_file_or_directory) return body_ec;
  return journal_ec == std::errc::no_such_file_or_directory ? std::error_code{} : journal_ec;
}

inline std::optional<disk_core::victim> disk_core::claim(disk_index::used_order_item const& what) {
  victim v;
  v.what = what;
  v.key_held = keys_.try_take({what.key});
  if (!v.key_held) return std::nullopt;
  if (what.is_part) {
    v.part = index_.find_part(what.key);
    v.bytes = v.part->written;
    index_.activate(*v.part);
    return v;
  }
  v.body_held = bodies_.try_take({index_.find(what.key)->body->sha256});
  if (!v.body_held) return std::nullopt;
  v.object = index_.take(what.key);
  v.bytes = v.object->body->keys == 0 ? v.object->body->size : 0;
  return v;
}

/// Waits until nobody works on this object.
inline void disk_core::wait_for(key const& k) {
  auto const held = hold_key(k);
  auto const sha256 = with_index([&](disk_index& index) {
    auto const* const o = index.find(k);
    return o != nullptr ? o->body->sha256 : std::string();
  });
  if (!sha256.empty()) (void)hold_bodies({sha256});
}

inline std::error_code disk_core::evict(victim v) {
  if (v.object) return delete_object(*std::move(v.object));
  if (auto const ec = remove_part_files(v.what.key)) {
    keep_part(*v.part);
    return ec;
  }
  with_index([&](disk_index& index) { index.erase_part(*v.part); });
  return {};
}

inline std::error_code disk_core::reserve(disk_index::part& p, std::uint64_t bytes) {
  std::uint64_t expected = 0;  // some file systems free space late: what was deleted here is counted at once
  for (;;) {
    std::optional<victim> next;
    std::optional<key> busy;
    {
      std::lock_guard const asking(space_mutex_);
      auto const space = ops_.space(layout_.path());
      if (!space) return space.error();
      std::uint64_t const available = std::max(space->available, expected);
      std::lock_guard const hold(index_mutex_);
      if (bytes > limits_.max_size) return error::not_enough_space;
      std::uint64_t const room = limits_.max_size - std::min(limits_.max_size, index_.used_bytes());
      std::uint64_t const above = available - std::min(available, limits_.min_free);
      std::uint64_t const free = above - std::min(above, index_.outstanding_bytes());
      std::uint64_t const over = std::max(bytes - std::min(bytes, room), bytes - std::min(bytes, free));
      if (over == 0) {
        p.reserved += bytes;
        return {};
      }
      if (index_.evictable_bytes() < over) return error::not_enough_space;
      index_.find_victim([&](disk_index::used_order_item const& what) {
        next = claim(what);
        if (!next && !busy) busy = what.key;
        return next.has_value();
      });
      if (next) expected = available + next->bytes;
    }
    if (next) {
      key const k = next->what.key;
      if (auto const ec = evict(*std::move(next))) return ec;
      log(log_level::info, "evicted " + k.hex());
    } else if (busy) {
      wait_for(*busy);
    } else {
      return error::not_enough_space;
    }
  }
}

inline std::error_code disk_core::commit(disk_index::part& p, cache::meta& m, std::shared_ptr<file const> const& body,
                                         commit_state& state) {
  auto const key_held = hold_key(p.key);
  cache::meta done = m;
  done.stored_at = ops_.now();
  std::vector<std::string> bodies{done.sha256};
  done.pinned = with_index([&](disk_index& index) {
    auto const* const o = index.find(p.key);
    if (o != nullptr) bodies.push_back(o->meta.sha256);  // it may go
    return o != nullptr && o->meta.pinned;
  });
  auto const bodies_held = hold_bodies(std::move(bodies));
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
