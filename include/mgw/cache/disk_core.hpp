#pragma once

#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/disk_layout.hpp>
#include <mgw/cache/disk_room.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/core/result.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// What a disk store and its parts share: the objects and their directory, the parts, and the space. It lives, and
/// holds the directory's lock, until the store and its last part are gone.
/// Thread rule: as disk_state.
class disk_core : public disk_room {
public:
  using disk_room::disk_room;

  std::error_code remove(key const& k);

  /// Claims the key for a new part; what was kept of an older one is deleted. Errors: error::being_filled, I/O.
  result<part_ptr> begin_part(key const& k);
  /// Claims a suspended part. Errors: no_such_file_or_directory, error::being_filled.
  result<part_ptr> claim_part(key const& k);
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
  void take_back_body(disk_index::part const& p, std::string const& sha256, commit_state& state);
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
      index_.deactivate(*p, p->used);
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

inline void disk_core::discard_part(disk_index::part& p, std::shared_ptr<file const> const& body) {
  (void)remove_part_files(p.key);  // the key is free for others only afterwards
  with_index([&](disk_index& index) {
    index.add_unlinked(body, p.written);
    index.erase_part(p);
  });
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
    return m.pinned || (o != nullptr && o->meta.pinned);
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
