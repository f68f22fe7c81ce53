#pragma once

#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/disk_objects.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/progress.hpp>
#include <mgw/core/wall_clock.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace mgw::cache {

/// How a disk store comes to space: what is least recently used goes for what is new, and what is too old by itself.
/// Thread rule: as disk_state.
class disk_room : public disk_objects {
public:
  using part_ptr = std::shared_ptr<disk_index::part>;
  using disk_objects::disk_objects;

  /// Lets an active part grow by `bytes` more, evicting what is least recently used. Waits for an object that somebody
  /// works on, or evicts, only where nothing else makes room. Errors: error::not_enough_space, I/O.
  std::error_code reserve(disk_index::part& p, std::uint64_t bytes);
  /// Deletes what was not used for `max_age`; how many objects and parts went.
  std::size_t expire();
  /// Ends a part that is to be resumed later.
  void keep_part(disk_index::part& p);

protected:
  ~disk_room() = default;

  std::error_code remove_part_files(key const& k);

private:
  /// While there is one something is being evicted. Made under the index's lock, and not destroyed under it.
  class departure {
  public:
    departure() = default;
    explicit departure(disk_room& of) : of_(&of) { ++of.leaving_; }
    departure(departure&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    departure& operator=(departure&& other) noexcept {
      std::swap(of_, other.of_);
      return *this;
    }
    ~departure() {
      if (of_ == nullptr) return;
      std::lock_guard const hold(of_->index_mutex_);
      --of_->leaving_;
      ++of_->left_;
      of_->departed_.notify_all();
    }

  private:
    disk_room* of_ = nullptr;
  };
  /// Something that goes: out of the index, or active where it is a part; its names are busy until it is gone.
  struct victim {
    disk_index::used_order_item what;
    busy_names<key>::hold key_held;
    busy_names<std::string>::hold body_held;
    std::optional<disk_index::object> object;
    part_ptr part;
    std::uint64_t bytes = 0;  // what its going frees
    departure going;
  };

  /// Empty if somebody works on it at this moment. Precondition: the index is locked.
  std::optional<victim> claim(disk_index::used_order_item const& what);
  void wait_for(key const& k);
  std::error_code evict(victim v);

  std::mutex space_mutex_;  // from the question for space to the reservation; before the index's
  // These belong to the index's lock.
  std::condition_variable departed_;
  unsigned leaving_ = 0;
  std::uint64_t left_ = 0, freed_ = 0;  // evictions that are over, and the bytes of those that succeeded
};

inline void disk_room::keep_part(disk_index::part& p) {
  std::int64_t const now = ops_.now();
  with_index([&](disk_index& index) { index.deactivate(p, now); });
}

inline std::error_code disk_room::remove_part_files(key const& k) {
  auto const journal_ec = ops_.unlink(layout_.journal_path(k));
  auto const body_ec = ops_.unlink(layout_.part_path(k));
  if (body_ec && body_ec != std::errc::no_such_file_or_directory) return body_ec;
  return journal_ec == std::errc::no_such_file_or_directory ? std::error_code{} : journal_ec;
}

inline std::optional<disk_room::victim> disk_room::claim(disk_index::used_order_item const& what) {
  victim v;
  v.what = what;
  v.key_held = keys_.try_take({what.key});
  if (!v.key_held) return std::nullopt;
  if (what.is_part) {
    v.part = index_.find_part(what.key);
    v.bytes = v.part->written;
    index_.activate(*v.part);
    v.going = departure(*this);
    return v;
  }
  v.body_held = bodies_.try_take({index_.find(what.key)->body->sha256});
  if (!v.body_held) return std::nullopt;
  v.object = index_.take(what.key);
  v.bytes = v.object->body->keys == 0 ? v.object->body->size : 0;
  v.going = departure(*this);
  return v;
}

/// Waits until nobody works on this object.
inline void disk_room::wait_for(key const& k) {
  auto const held = hold_key(k);
  auto const sha256 = with_index([&](disk_index& index) {
    auto const* const o = index.find(k);
    return o != nullptr ? o->body->sha256 : std::string();
  });
  if (!sha256.empty()) (void)hold_bodies({sha256});
}

inline std::error_code disk_room::evict(victim v) {
  auto const ec = v.object ? delete_object(*std::move(v.object)) : remove_part_files(v.what.key);
  with_index([&](disk_index& index) {
    if (v.part && ec) index.deactivate(*v.part, v.part->used);
    if (v.part && !ec) index.erase_part(*v.part);
    if (!ec) freed_ += v.bytes;
  });
  return ec;
}

inline std::error_code disk_room::reserve(disk_index::part& p, std::uint64_t bytes) {
  std::uint64_t expected = 0;  // some file systems free space late: what was deleted here is counted at once
  for (;;) {
    std::optional<victim> next;
    std::optional<key> busy;
    std::uint64_t available = 0, freed = 0;
    std::uint64_t const seen = with_index([this](disk_index&) { return left_; });
    {
      std::lock_guard const asking(space_mutex_);
      auto const space = ops_.space(layout_.path());
      if (!space) return space.error();
      available = std::max(space->available, expected);
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
      if (index_.evictable_bytes() >= over)
        index_.find_victim([&](disk_index::used_order_item const& what) {
          next = claim(what);
          if (!next && !busy) busy = what.key;
          return next.has_value();
        });
      if (!next && !busy && leaving_ == 0 && left_ == seen) return error::not_enough_space;
      freed = freed_;
      if (next) expected = available + next->bytes;
    }
    if (next) {
      key const k = next->what.key;
      if (auto const ec = evict(*std::move(next))) return ec;
      log(log_level::info, "evicted " + k.hex());
      note_progress();
    } else if (busy) {
      wait_for(*busy);
    } else {  // what goes just now makes room, or has made some since the space was asked for
      std::unique_lock waiting(index_mutex_);
      departed_.wait(waiting, [&] { return left_ != seen; });
      expected = available + (freed_ - freed);
    }
  }
}

inline std::size_t disk_room::expire() {
  std::int64_t const now = ops_.now(), before = now - limits_.max_age;
  if (limits_.max_age == 0 || now < clocks_are_set_from) return 0;
  auto const old = with_index([&](disk_index& index) {
    index.date_uses(clocks_are_set_from, now);
    return index.unused_since(before);
  });
  std::size_t gone = 0;
  std::error_code failed;
  for (auto const& what : old) {
    auto v = with_index(
        [&](disk_index& index) { return index.is_unused_since(what, before) ? claim(what) : std::optional<victim>(); });
    if (!v) continue;  // used just now, or somebody works on it
    if (auto const ec = evict(*std::move(v))) {
      failed = ec;
      continue;
    }
    ++gone;
    log(log_level::info, "removed " + what.key.hex() + ": nobody used it for so long");
  }
  if (failed) log(log_level::warn, "what nobody uses cannot be removed: " + failed.message());
  return gone;
}

}  // namespace mgw::cache
