#pragma once

#include <mgw/cache/busy_names.hpp>
#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/disk_layout.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/core/log.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// What all operations of a disk store share: the directory with its lock, the index, the bounds, and the names that
/// are being worked on.
///
/// Thread rule: any thread. The index's lock is never held across I/O. Who gives names to files or takes them away
/// holds the key of what it works on, and then the bodies: so a body never disappears between its own naming and its
/// metadata's, and nobody waits for the disk on account of another object. Order: key, bodies, index.
class disk_state {
public:
  struct limits {
    std::uint64_t max_size = 0;  ///< 0: 90 % of the file system
    std::uint64_t min_free = 0;  ///< 0: 5 % of the file system
    std::int64_t max_age = 0;    ///< seconds; 0: none
  };

  /// Throws like disk_layout::lock and load.
  disk_state(std::string path, limits l, log_sink log, file_ops& ops);
  disk_state(disk_state const&) = delete;
  disk_state& operator=(disk_state const&) = delete;

  file_ops& ops() const noexcept { return ops_; }
  disk_layout const& layout() const noexcept { return layout_; }
  limits const& bounds() const noexcept { return limits_; }

  /// Runs `f(index)` under the index's lock. `f` does no I/O.
  template <class F>
  auto with_index(F f) {
    std::lock_guard const hold(index_mutex_);
    return f(index_);
  }

  /// After an error of `no_such_file_or_directory`: makes the directory again where it was removed under its owner, and
  /// reads it anew where it is another one, which may be the old one come back. False: that cannot be done.
  bool restore();

protected:
  ~disk_state();

  void log(log_level level, std::string const& text) const {
    layout_.log(level, "cache " + layout_.path() + ": " + text);
  }
  busy_names<key>::hold hold_key(key const& k) { return keys_.take({k}); }
  /// Precondition: no body is held.
  busy_names<std::string>::hold hold_bodies(std::vector<std::string> sha256) { return bodies_.take(std::move(sha256)); }

  file_ops& ops_;
  disk_layout layout_;
  limits limits_;
  busy_names<key> keys_;
  busy_names<std::string> bodies_;  // by SHA-256; only while a key is held
  std::mutex index_mutex_;
  disk_index index_;

private:
  void take_in(disk_layout::contents found);

  std::shared_ptr<file const> lock_;
};

inline disk_state::disk_state(std::string path, limits l, log_sink log, file_ops& ops)
    : ops_(ops), layout_(std::move(path), ops, std::move(log)), limits_(l), lock_(layout_.lock()) {
  auto const space = ops_.space(layout_.path());
  if (!space) throw std::system_error(space.error(), "cannot ask for the space of " + layout_.path());
  if (limits_.max_size == 0) limits_.max_size = space->total / 10 * 9;
  if (limits_.min_free == 0) limits_.min_free = space->total / 20;

  take_in(layout_.load());
}

/// Puts what was found on disk into the index.
inline void disk_state::take_in(disk_layout::contents found) {
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
      index_.deactivate(*p, i.used_ns / 1'000'000'000);
    } else {
      index_.add(std::move(found.objects[i.n].meta), !found.clean, i.used_ns / 1'000'000'000, nullptr);
    }
  }
}

inline disk_state::~disk_state() {
  // Objects not read since an unclean stop still have to be.
  if (index_.has_unverified()) return;
  try {
    (void)ops_.write_file(layout_.clean_path(), "mgw-cache 1\n");
  } catch (...) {  // no memory: the next start reads the objects again
  }
}

inline bool disk_state::restore() {
  auto const everything = keys_.take_all();
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
  log(log_level::warn, "the directory had been removed");
  return true;
}

}  // namespace mgw::cache
