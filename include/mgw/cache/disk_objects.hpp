#pragma once

#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/disk_layout.hpp>
#include <mgw/cache/disk_state.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/progress.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>

#include <condition_variable>
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

/// What a disk store does with complete objects: opens, verifies, pins and deletes them.
/// Thread rule: as disk_state.
class disk_objects : public disk_state {
public:
  using disk_state::disk_state;

  /// The metadata and the shared descriptor of a complete object.
  result<std::pair<cache::meta, std::shared_ptr<file const>>> open(key const& k);
  /// Whether `open` would return just these, opened before and still open: then it counts as a use. Does not block.
  bool opens_as(key const& k, cache::meta const& about, file const& body);
  /// Errors: no_such_file_or_directory, I/O.
  std::error_code pin(key const& k, bool on);
  /// Reads an object whole. False: it was damaged and is dropped. Errors: no_such_file_or_directory, I/O.
  result<bool> verify(key const& k);
  /// Whether `open` would read the whole object first.
  bool opens_slowly(key const& k) {
    return with_index([&](disk_index& index) {
      auto const* const o = index.find(k);
      return o != nullptr && o->body->unverified;
    });
  }

protected:
  ~disk_objects() = default;

  /// Precondition: the key is held, no body is.
  std::error_code remove_object(key const& k);
  /// Deletes the files of what was taken out of the index; where they cannot be, it is put back. Precondition: its key
  /// and its body are held.
  std::error_code delete_object(disk_index::object taken);

private:
  /// Who has one that is not empty reads the body whole.
  class reading {
  public:
    reading() = default;
    reading(disk_objects& all, std::shared_ptr<disk_index::body> b) : all_(&all), body_(std::move(b)) {}
    reading(reading&& other) noexcept : all_(other.all_), body_(std::move(other.body_)) {}
    reading& operator=(reading&&) = delete;
    ~reading() { end(); }
    void end() {
      if (!body_) return;
      {
        std::lock_guard const hold(all_->index_mutex_);
        body_->being_read = false;
      }
      body_.reset();
      all_->read_on_.notify_all();
    }

  private:
    disk_objects* all_ = nullptr;
    std::shared_ptr<disk_index::body> body_;
  };

  disk_index::object* find_unread(std::unique_lock<std::mutex>& hold, key const& k, bool only_unverified);
  result<std::shared_ptr<file const>> open_body(disk_index::body& b, bool verify);
  std::error_code check_digest(int fd, disk_index::body& b);
  static bool is_damage(std::error_code ec) noexcept {
    return ec == std::errc::no_such_file_or_directory || ec == error::length_mismatch || ec == error::checksum_mismatch;
  }
  bool drop_damaged(key const& k, std::shared_ptr<disk_index::body> const& b);
  void record_use(key const& k);

  std::condition_variable read_on_;  // with the index's lock: somebody who reads a body whole gets on, or ends
};

/// The object, once nobody reads its body whole (any more); null: there is none. A body is read by one at a time: two
/// would take each other's pages away, and have the same to tell.
inline disk_index::object* disk_objects::find_unread(std::unique_lock<std::mutex>& hold, key const& k,
                                                     bool only_unverified) {
  for (;;) {
    auto* const o = index_.find(k);
    if (o == nullptr || !o->body->being_read || (only_unverified && !o->body->unverified)) return o;
    auto const b = o->body;
    auto const seen = b->blocks_read;
    read_on_.wait(hold, [&] { return !b->being_read || b->blocks_read != seen; });
    note_progress();  // his is ours
  }
}

inline result<std::pair<cache::meta, std::shared_ptr<file const>>> disk_objects::open(key const& k) {
  std::pair<cache::meta, std::shared_ptr<file const>> out;
  std::shared_ptr<disk_index::body> b;
  bool verify = false;
  {
    std::unique_lock hold(index_mutex_);
    auto* const o = find_unread(hold, k, true);
    if (o == nullptr) return std::make_error_code(std::errc::no_such_file_or_directory);
    out.first = o->meta;
    b = o->body;
    out.second = b->open_as.lock();
    verify = b->unverified;
    if (verify) b->being_read = true;
    ++b->opening;  // eviction keeps off from here on
  }
  reading mine = verify ? reading(*this, b) : reading();
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
    bool const dropped = drop_damaged(k, b);
    mine.end();
    if (!dropped) return open(k);  // replaced or removed meanwhile
    return std::make_error_code(std::errc::no_such_file_or_directory);
  }
  if (ec) return ec;
  record_use(k);
  return out;
}

inline bool disk_objects::opens_as(key const& k, cache::meta const& about, file const& body) {
  return with_index([&](disk_index& index) {
    auto* const o = index.find(k);
    if (o == nullptr || o->body->unverified || o->body->open_as.lock().get() != &body) return false;
    if (o->meta.stored_at != about.stored_at || o->meta.generation != about.generation) return false;
    index.mark_used(*o);
    return true;
  });
}

/// Errors: no_such_file_or_directory, error::length_mismatch, error::checksum_mismatch for a body that is no longer
/// what was stored; any other is the system's.
inline result<std::shared_ptr<file const>> disk_objects::open_body(disk_index::body& b, bool verify) {
  auto f = ops_.open(layout_.object_path(b.sha256), O_RDONLY);
  if (!f) return f.error();
  auto const size = ops_.size((*f)->fd());
  if (!size) return size.error();
  if (*size != b.size) return error::length_mismatch;
  if (verify)
    if (auto const ec = check_digest((*f)->fd(), b)) return ec;
  return f;
}

inline std::error_code disk_objects::check_digest(int fd, disk_index::body& b) {
  ops_.forget_cached(fd);  // the disk is asked, not the memory
  sha256 digest;
  std::vector<char> buffer(std::size_t{256} << 10);
  for (std::uint64_t at = 0; at < b.size;) {
    auto const n = ops_.read_full(fd, buffer, at);
    if (!n) return n.error();
    if (*n == 0) return error::length_mismatch;
    if (auto const ec = digest.update({buffer.data(), *n})) return ec;
    at += *n;
    with_index([&](disk_index&) { ++b.blocks_read; });
    read_on_.notify_all();
    if (pool_ends()) return std::make_error_code(std::errc::operation_canceled);
  }
  sha256_digest d{};
  if (auto const ec = digest.digest(d)) return ec;
  return to_hex(d) == b.sha256 ? std::error_code{} : make_error_code(error::checksum_mismatch);
}

/// Forgets an object whose body is not what it was, if it still has that body: true.
inline bool disk_objects::drop_damaged(key const& k, std::shared_ptr<disk_index::body> const& b) {
  auto const held = hold_key(k);
  auto const body_held = hold_bodies({b->sha256});
  auto const taken = with_index([&](disk_index& index) {
    auto const* const o = index.find(k);
    return o != nullptr && o->body == b ? index.take(k) : std::nullopt;
  });
  if (!taken) return false;
  log(log_level::warn, "dropped " + k.hex() + ": its body is gone or damaged");
  (void)ops_.unlink(layout_.meta_path(k));
  if (taken->body->keys == 0) (void)ops_.unlink(layout_.object_path(b->sha256));
  return true;
}

inline result<bool> disk_objects::verify(key const& k) {
  std::shared_ptr<disk_index::body> b;
  {
    std::unique_lock hold(index_mutex_);
    auto* const o = find_unread(hold, k, false);
    if (o == nullptr) return std::make_error_code(std::errc::no_such_file_or_directory);
    b = o->body;
    b->being_read = true;
    ++b->opening;  // eviction keeps off
  }
  reading mine(*this, b);
  auto const f = open_body(*b, true);
  with_index([&](disk_index&) {
    --b->opening;
    if (f) b->unverified = false;
  });
  if (f) return true;
  if (!is_damage(f.error())) return f.error();
  bool const dropped = drop_damaged(k, b);
  mine.end();
  if (!dropped) return verify(k);  // replaced or removed meanwhile
  return false;
}

inline std::error_code disk_objects::pin(key const& k, bool on) {
  auto const held = hold_key(k);
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
inline void disk_objects::record_use(key const& k) {
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

inline std::error_code disk_objects::remove_object(key const& k) {
  auto const sha256 = with_index([&](disk_index& index) {
    auto const* const o = index.find(k);
    return o != nullptr ? o->body->sha256 : std::string();
  });
  if (sha256.empty()) return std::make_error_code(std::errc::no_such_file_or_directory);
  auto const held = hold_bodies({sha256});
  auto taken = with_index([&](disk_index& index) { return index.take(k); });
  return delete_object(*std::move(taken));
}

inline std::error_code disk_objects::delete_object(disk_index::object taken) {
  auto const ec = ops_.unlink(layout_.meta_path(taken.meta.key));
  if (ec && ec != std::errc::no_such_file_or_directory) {
    with_index([&](disk_index& index) { index.put_back(std::move(taken)); });
    return ec;
  }
  if (taken.body->keys != 0) return {};
  auto const body_ec = ops_.unlink(layout_.object_path(taken.body->sha256));
  if (!body_ec || body_ec == std::errc::no_such_file_or_directory) return {};
  with_index([&](disk_index& index) { index.add_foreign(taken.body->size); });  // until the next start sweeps it
  return body_ec;
}

}  // namespace mgw::cache
