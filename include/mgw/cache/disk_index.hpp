#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mgw::cache {

/// What a disk store knows by heart: its objects, bodies and parts, who uses them, and the space they take.
///
/// Does no I/O and has no lock: its owner's mutex guards every call. The one exception is `part::written`, which the
/// part's writer advances on its own.
class disk_index {
public:
  /// Bytes in objects/, shared by the keys whose objects are these bytes.
  struct body {
    std::string sha256;
    std::uint64_t size = 0;
    std::size_t keys = 0;               ///< objects that have this body
    std::size_t pins = 0;               ///< those of them that are pinned
    unsigned opening = 0;               ///< threads opening it at this moment
    bool unverified = false;            ///< stored before an unclean stop and not read since
    bool being_read = false;            ///< somebody reads it whole; others who want that wait for him
    std::size_t blocks_read = 0;        ///< he gets on
    std::weak_ptr<file const> open_as;  ///< the descriptor all readers share

    bool in_use() const noexcept { return opening != 0 || !open_as.expired(); }
    bool may_go() const noexcept { return pins == 0 && !in_use(); }
  };
  struct used_order_item {
    cache::key key;
    bool is_part = false;
  };
  using used_order = std::list<used_order_item>;
  struct object {
    cache::meta meta;
    std::shared_ptr<disk_index::body> body;
    used_order::iterator order;
    std::int64_t touched = 0;  ///< when its use was last recorded, on disk, too; seconds since 1970, to the minute
  };
  /// A body being written (`active`), or kept to be resumed.
  struct part {
    cache::key key;
    std::atomic<std::uint64_t> written = 0;  ///< the size of its body's file
    std::uint64_t reserved = 0;  ///< while active: what it may grow to
    bool active = true;
    bool shown = false;          ///< this process has opened its body before: readers may have it on its way (sendfile(2))
    std::int64_t used = 0;       ///< when it was last written, seconds since 1970; only while not active
    used_order::iterator order;  ///< only while not active

    std::uint64_t charge() const noexcept { return active ? reserved : written.load(std::memory_order_relaxed); }
  };

  object* find(key const& k);
  object const* find(key const& k) const;
  bool has_body(std::string const& sha256) const { return bodies_.contains(sha256); }
  /// Adds an object as the most recently used. Precondition: the key has none. `open_as` may be null.
  void add(meta m, bool unverified, std::int64_t touched, std::shared_ptr<file const> const& open_as);
  /// Takes an object out; its body's `keys` is 0 if no other object has it. Empty if there is none.
  std::optional<object> take(key const& k);
  /// Forgets all but the active parts; bodies that are read count until their last close.
  void forget();
  /// Undoes `take`.
  void put_back(object o);
  void mark_used(object& o) { order_.splice(order_.end(), order_, o.order); }
  void set_pinned(object& o, bool on) noexcept {
    o.body->pins += std::size_t{on} - std::size_t{o.meta.pinned};  // modulo 2^64: also one less
    o.meta.pinned = on;
  }

  std::shared_ptr<part> find_part(key const& k) const;
  /// Adds an active part. Precondition: the key has none.
  std::shared_ptr<part> add_part(key const& k);
  void activate(part& p);
  void deactivate(part& p, std::int64_t used);
  void erase_part(part& p);

  /// Counts an unlinked file until its last reader closes it.
  void add_unlinked(std::shared_ptr<file const> const& f, std::uint64_t size) {
    if (f) unlinked_.push_back({f, size});
  }
  /// Counts files that belong to a newer release, or could not be deleted.
  void add_foreign(std::uint64_t size) noexcept { foreign_bytes_ += size; }

  std::uint64_t used_bytes();
  /// What the active parts have reserved and not written yet.
  std::uint64_t outstanding_bytes() const;
  std::uint64_t evictable_bytes() const;
  /// Calls `f` with objects that nobody reads and whose bodies are of no pinned one, and with parts that nobody fills,
  /// the least recently used first, until it says that it took one: then the index may be another one.
  template <class F>
  void find_victim(F f);
  /// Objects that are neither pinned nor read, and parts that nobody fills, whose last use was before `t`.
  std::vector<used_order_item> unused_since(std::int64_t t) const;
  bool is_unused_since(used_order_item const& what, std::int64_t t) const;
  /// Uses of before `t` are nothing to go by: they count as of `now`.
  void date_uses(std::int64_t t, std::int64_t now);
  bool has_unverified() const;
  std::uint64_t pinned_bytes() const;

  std::size_t size() const noexcept { return objects_.size(); }
  std::size_t parts() const noexcept { return parts_.size(); }
  /// What the parts take, with what the active ones have reserved.
  std::uint64_t part_bytes() const;
  template <class F>
  void for_each(F f) const {
    for (auto const& [k, o] : objects_) f(o);
  }

private:
  struct unlinked_file {
    std::weak_ptr<file const> handle;
    std::uint64_t size = 0;
  };

  std::unordered_map<key, object> objects_;
  std::unordered_map<std::string, std::shared_ptr<body>> bodies_;  // by SHA-256; each has at least one key
  std::unordered_map<key, std::shared_ptr<part>> parts_;
  used_order order_;  // the least recently used first; objects and suspended parts
  std::vector<unlinked_file> unlinked_;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t foreign_bytes_ = 0;
};

inline disk_index::object* disk_index::find(key const& k) {
  auto const it = objects_.find(k);
  return it == objects_.end() ? nullptr : &it->second;
}

inline disk_index::object const* disk_index::find(key const& k) const {
  auto const it = objects_.find(k);
  return it == objects_.end() ? nullptr : &it->second;
}

inline void disk_index::add(meta m, bool unverified, std::int64_t touched, std::shared_ptr<file const> const& open_as) {
  auto& b = bodies_[m.sha256];
  if (!b) {
    b = std::make_shared<body>();
    b->sha256 = m.sha256;
    b->size = m.length;
    b->unverified = unverified;
    body_bytes_ += b->size;
  }
  ++b->keys;
  b->pins += m.pinned ? 1 : 0;
  if (open_as) {  // a new file took the place of the one that may still be read
    add_unlinked(b->open_as.lock(), b->size);
    b->open_as = open_as;
    b->unverified = false;
  }
  key const k = m.key;
  object o;
  o.meta = std::move(m);
  o.body = b;
  o.order = order_.insert(order_.end(), {k, false});
  o.touched = touched;
  objects_.insert_or_assign(k, std::move(o));
}

inline std::optional<disk_index::object> disk_index::take(key const& k) {
  auto const it = objects_.find(k);
  if (it == objects_.end()) return std::nullopt;
  object o = std::move(it->second);
  objects_.erase(it);
  order_.erase(o.order);
  o.body->pins -= o.meta.pinned ? 1 : 0;
  if (--o.body->keys == 0) {
    bodies_.erase(o.body->sha256);
    body_bytes_ -= o.body->size;
    add_unlinked(o.body->open_as.lock(), o.body->size);
  }
  return o;
}

inline void disk_index::forget() {
  while (!objects_.empty()) {
    key const k = objects_.begin()->first;
    (void)take(k);
  }
  foreign_bytes_ = 0;
  std::erase_if(parts_, [this](auto const& p) {
    if (!p.second->active) order_.erase(p.second->order);
    return !p.second->active;
  });
}

inline void disk_index::put_back(object o) {
  auto const [it, added] = bodies_.try_emplace(o.body->sha256, o.body);
  o.body = it->second;
  ++o.body->keys;
  o.body->pins += o.meta.pinned ? 1 : 0;
  if (added) {
    body_bytes_ += o.body->size;
    std::erase_if(unlinked_, [&o](unlinked_file const& u) { return u.handle.lock() == o.body->open_as.lock(); });
  }
  key const k = o.meta.key;
  o.order = order_.insert(order_.end(), {k, false});
  objects_.insert_or_assign(k, std::move(o));
}

inline std::shared_ptr<disk_index::part> disk_index::find_part(key const& k) const {
  auto const it = parts_.find(k);
  return it == parts_.end() ? nullptr : it->second;
}

inline std::shared_ptr<disk_index::part> disk_index::add_part(key const& k) {
  auto p = std::make_shared<part>();
  p->key = k;
  parts_.insert_or_assign(k, p);
  return p;
}

inline void disk_index::activate(part& p) {
  order_.erase(p.order);
  p.reserved = p.written.load(std::memory_order_relaxed);
  p.active = true;
}

inline void disk_index::deactivate(part& p, std::int64_t used) {
  p.used = used;
  p.order = order_.insert(order_.end(), {p.key, true});
  p.active = false;
}

inline void disk_index::erase_part(part& p) {
  if (!p.active) order_.erase(p.order);
  p.active = true;
  key const k = p.key;  // `p` may die with its entry
  parts_.erase(k);
}

inline std::uint64_t disk_index::used_bytes() {
  std::erase_if(unlinked_, [](unlinked_file const& u) { return u.handle.expired(); });
  std::uint64_t sum = body_bytes_ + foreign_bytes_;
  for (auto const& u : unlinked_) sum += u.size;
  return sum + part_bytes();
}

inline std::uint64_t disk_index::part_bytes() const {
  std::uint64_t sum = 0;
  for (auto const& [k, p] : parts_) sum += p->charge();
  return sum;
}

inline std::uint64_t disk_index::pinned_bytes() const {
  std::uint64_t sum = 0;
  for (auto const& [sha256, b] : bodies_)
    if (b->pins != 0) sum += b->size;
  return sum;
}

inline std::uint64_t disk_index::outstanding_bytes() const {
  std::uint64_t sum = 0;
  for (auto const& [k, p] : parts_) {
    std::uint64_t const written = p->written.load(std::memory_order_relaxed);
    if (p->active && p->reserved > written) sum += p->reserved - written;
  }
  return sum;
}

inline std::uint64_t disk_index::evictable_bytes() const {
  std::uint64_t sum = 0;
  for (auto const& [sha256, b] : bodies_)
    if (b->may_go()) sum += b->size;
  for (auto const& [k, p] : parts_)
    if (!p->active) sum += p->charge();
  return sum;
}

template <class F>
void disk_index::find_victim(F f) {
  for (auto const& item : order_) {
    object const* const o = item.is_part ? nullptr : find(item.key);
    if (!item.is_part && (o == nullptr || !o->body->may_go())) continue;
    used_order_item const copy = item;  // its place goes with it
    if (f(copy)) return;
  }
}

inline bool disk_index::is_unused_since(used_order_item const& what, std::int64_t t) const {
  if (what.is_part) {
    auto const p = find_part(what.key);
    return p && !p->active && p->used < t;
  }
  object const* const o = find(what.key);
  return o != nullptr && !o->meta.pinned && !o->body->in_use() && o->touched < t;
}

inline std::vector<disk_index::used_order_item> disk_index::unused_since(std::int64_t t) const {
  std::vector<used_order_item> out;
  for (auto const& item : order_)
    if (is_unused_since(item, t)) out.push_back(item);
  return out;
}

inline void disk_index::date_uses(std::int64_t t, std::int64_t now) {
  for (auto& [k, o] : objects_)
    if (o.touched < t) o.touched = now;
  for (auto const& [k, p] : parts_)
    if (p->used < t) p->used = now;
}

inline bool disk_index::has_unverified() const {
  for (auto const& [sha256, b] : bodies_)
    if (b->unverified) return true;
  return false;
}

}  // namespace mgw::cache
