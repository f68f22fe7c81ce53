#pragma once

#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/journal.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/core/log.hpp>

#include <fcntl.h>

#include <unistd.h>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// The cache's directory: its names, its lock, and what is found in it at start (docs/cache-format.md).
///
/// Thread rule: the names from any thread; `lock`, `make_trees` and `load` from one at a time, while no names are given.
class disk_layout {
public:
  struct found_object {
    cache::meta meta;
    std::int64_t used_ns = 0;  ///< when it was last used, nanoseconds since 1970
  };
  struct found_part {
    cache::key key;
    std::uint64_t size = 0;
    std::int64_t used_ns = 0;
  };
  struct contents {
    std::vector<found_object> objects;
    std::vector<found_part> parts;
    std::uint64_t foreign_bytes = 0;  ///< bodies left alone because they may belong to refused metadata
    bool clean = false;               ///< the last owner said that it had stopped in order
  };

  disk_layout(std::string path, file_ops& ops, log_sink log)
      : path_(std::move(path)), ops_(ops), log_(std::move(log)) {}

  std::string const& path() const noexcept { return path_; }
  std::string parts_directory() const { return path_ + "/parts"; }
  std::string object_path(std::string const& sha256) const { return sharded("objects", sha256); }
  std::string meta_path(key const& k) const { return sharded("meta", k.hex()); }
  std::string part_path(key const& k) const { return path_ + "/parts/" + k.hex() + ".body"; }
  std::string journal_path(key const& k) const { return path_ + "/parts/" + k.hex() + ".journal"; }
  std::string clean_path() const { return path_ + "/clean"; }
  std::string lock_path() const { return path_ + "/lock"; }
  /// The directory of a path.
  static std::string parent(std::string const& path) { return path.substr(0, path.rfind('/')); }

  /// Makes the directory of `path`, one of objects/ab or meta/ab, if it is missing, and makes its name durable.
  std::error_code make_shard(std::string const& path) const;
  /// Makes the directories and takes the lock, which lasts as long as the result.
  /// Throws std::system_error, std::runtime_error with a sentence.
  std::shared_ptr<file const> lock() const;
  /// Makes those directories that are missing. Throws std::system_error.
  void make_trees() const {
    for (char const* tree : {"objects", "meta", "parts"}) make_path(path_ + "/" + tree);
  }
  /// Reads what is there and sweeps what no longer counts: temporary files, bodies without metadata, metadata without
  /// its body, halves of parts. What it doesn't know is left alone and reported once. Throws std::system_error.
  contents load() const;

  void log(log_level level, std::string_view text) const {
    if (log_) log_(level, text);
  }

private:
  struct survey {
    contents found;
    std::map<std::string, std::uint64_t> bodies;  // SHA-256 to size; once matched, only those of no object
    std::size_t unknown = 0, swept = 0, damaged = 0, refused = 0, incomplete = 0;
    std::string unknown_example, refused_example;
  };

  std::string sharded(char const* tree, std::string const& name) const {
    return path_ + "/" + tree + "/" + name.substr(0, 2) + "/" + name;
  }
  void make_path(std::string const& path) const;
  std::vector<directory_entry> list(std::string const& path) const;
  template <class F>
  void for_each_sharded(survey& s, char const* tree, F f) const;
  void load_meta(survey& s, std::string const& path, directory_entry const& e) const;
  void load_parts(survey& s) const;
  void match_bodies(survey& s) const;
  void sweep_bodies(survey& s) const;
  std::optional<found_part> take_back(survey& s, key const& k) const;
  void report(survey const& s) const;
  bool sweep(survey& s, std::string const& path) const;
  static void note_unknown(survey& s, std::string const& path);

  std::string path_;
  file_ops& ops_;
  log_sink log_;
  mutable std::atomic<bool> unsure_{false};  // a directory's name could not be made durable: those that are found may not be
};

inline std::error_code disk_layout::make_shard(std::string const& path) const {
  std::string const shard = parent(path);
  auto const made = ops_.make_directory(shard);
  if (!made) return made.error();
  if (!*made && !unsure_) return {};
  auto const ec = ops_.fsync_directory(parent(shard));
  if (ec) unsure_ = true;
  return ec;
}

inline void disk_layout::make_path(std::string const& path) const {
  auto made = ops_.make_directory(path);
  if (!made && made.error() == std::errc::no_such_file_or_directory && path.find('/') != std::string::npos &&
      path.rfind('/') != 0) {
    make_path(parent(path));
    made = ops_.make_directory(path);
  }
  if (!made) throw std::system_error(made.error(), "cannot make the cache directory " + path);
  if (*made) (void)ops_.fsync_directory(path.rfind('/') == 0 ? "/" : parent(path));
}

inline std::shared_ptr<file const> disk_layout::lock() const {
  make_path(path_);
  std::string const name = lock_path();
  auto const f = ops_.open(name, O_RDWR | O_CREAT);
  if (!f) throw std::system_error(f.error(), "cannot open the cache's lock " + name);
  if (auto const ec = ops_.lock((*f)->fd())) {
    if (ec != std::errc::operation_would_block) throw std::system_error(ec, "cannot lock " + name);
    auto const holder = ops_.read_file(name, 64);
    std::string const pid = holder ? holder->substr(0, holder->find_first_not_of("0123456789")) : std::string();
    throw std::runtime_error("the cache directory " + path_ + " is in use by " +
                             (pid.empty() ? "another process" : "process " + pid));
  }
  // The number only helps whoever is refused: a full disk must not keep the cache from starting.
  if (!ops_.truncate((*f)->fd(), 0)) (void)ops_.write_all((*f)->fd(), std::to_string(::getpid()) + "\n", 0);
  make_trees();
  return *f;
}

inline disk_layout::contents disk_layout::load() const {
  survey s;
  for_each_sharded(s, "meta", [&](std::string const& path, directory_entry const& e) { load_meta(s, path, e); });
  for_each_sharded(s, "objects", [&](std::string const& path, directory_entry const& e) {
    if (is_sha256_hex(e.name))
      s.bodies.emplace(e.name, e.size);
    else
      note_unknown(s, path);
  });
  match_bodies(s);
  load_parts(s);
  sweep_bodies(s);
  // Directories made by an owner that was killed before it could flush their names.
  for (char const* tree : {"/objects", "/meta"}) (void)ops_.fsync_directory(path_ + tree);
  bool const clean = !ops_.unlink(clean_path());
  bool const flushed = !ops_.fsync_directory(path_);
  s.found.clean = clean && flushed;
  report(s);
  return std::move(s.found);
}

inline std::vector<directory_entry> disk_layout::list(std::string const& path) const {
  auto entries = ops_.list(path);
  if (!entries) throw std::system_error(entries.error(), "cannot read the cache directory " + path);
  return *std::move(entries);
}

/// Calls `f` with each regular file whose name begins with that of its directory, ab/ab….
template <class F>
void disk_layout::for_each_sharded(survey& s, char const* tree, F f) const {
  std::string const root = path_ + "/" + tree;
  for (auto const& shard : list(root)) {
    std::string const directory = root + "/" + shard.name;
    if (!shard.is_directory || shard.name.size() != 2 ||
        shard.name.find_first_not_of("0123456789abcdef") != std::string::npos) {
      note_unknown(s, directory);
      continue;
    }
    for (auto const& e : list(directory)) {
      std::string const path = directory + "/" + e.name;
      if (e.is_regular && e.name.starts_with(shard.name))
        f(path, e);
      else
        note_unknown(s, path);
    }
  }
}

inline void disk_layout::load_meta(survey& s, std::string const& path, directory_entry const& e) const {
  if (e.name.ends_with(".tmp") && is_sha256_hex(std::string_view(e.name).substr(0, e.name.size() - 4))) {
    sweep(s, path);
    return;
  }
  auto const k = key::from_hex(e.name);
  if (!k) {
    note_unknown(s, path);
    return;
  }
  auto const text = ops_.read_file(path, max_meta_file);
  if (!text && text.error() != std::errc::file_too_large) {
    ++s.refused;
    s.refused_example = path + ": " + text.error().message();
    return;
  }
  auto m = text ? read_meta(*text) : result<meta>(error::malformed);
  if (!m && m.error() == error::newer_version) {
    ++s.refused;
    s.refused_example = path + ": " + m.error().message();
    return;
  }
  if (!m || m->key != *k || !m->length_known || m->sha256.empty()) {
    ++s.damaged;
    sweep(s, path);
    return;
  }
  found_object o;
  o.meta = *std::move(m);
  o.used_ns = e.modified_ns;
  s.found.objects.push_back(std::move(o));
}

inline void disk_layout::match_bodies(survey& s) const {
  std::set<std::string> wanted;
  std::erase_if(s.found.objects, [&](found_object const& o) {
    auto const b = s.bodies.find(o.meta.sha256);
    if (b != s.bodies.end() && b->second == o.meta.length) {
      wanted.insert(o.meta.sha256);
      return false;
    }
    ++s.incomplete;
    sweep(s, meta_path(o.meta.key));
    return true;
  });
  std::erase_if(s.bodies, [&](auto const& b) { return wanted.contains(b.first); });
}

inline void disk_layout::sweep_bodies(survey& s) const {
  // Refused metadata may belong to any body.
  for (auto const& [sha256, size] : s.bodies)
    if (s.refused != 0 || !sweep(s, object_path(sha256))) s.found.foreign_bytes += size;
}

/// A commit was cut short between naming the body and its metadata: makes a part of it again, if its journal has lost
/// its body and says that it is this one.
inline std::optional<disk_layout::found_part> disk_layout::take_back(survey& s, key const& k) const {
  if (s.bodies.empty() || s.refused != 0) return std::nullopt;
  auto const text = ops_.read_file(journal_path(k), max_journal_file);
  auto const j = text ? read_journal(*text) : result<journal>(text.error());
  if (!j || j->meta.key != k || j->records.empty()) return std::nullopt;
  auto const& last = j->records.back();
  auto const b = s.bodies.find(to_hex(last.digest));
  if (b == s.bodies.end() || b->second != last.size || ops_.rename(object_path(b->first), part_path(k)))
    return std::nullopt;
  s.bodies.erase(b);
  found_part p;
  p.key = k;
  p.size = last.size;
  return p;
}

inline void disk_layout::load_parts(survey& s) const {
  struct halves {
    directory_entry body;
    bool has_body = false, has_journal = false;
    std::int64_t journal_ns = 0;
  };
  std::map<key, halves> parts;
  for (auto& e : list(parts_directory())) {
    std::size_t const dot = e.name.find('.');
    auto const k = key::from_hex(std::string_view(e.name).substr(0, dot));
    std::string const kind = k && e.is_regular ? e.name.substr(64) : std::string();
    if (kind == ".journal") {
      parts[*k].has_journal = true;
      parts[*k].journal_ns = e.modified_ns;
    } else if (kind == ".body") {
      parts[*k].has_body = true;
      parts[*k].body = std::move(e);
    } else {
      note_unknown(s, parts_directory() + "/" + e.name);
    }
  }
  for (auto const& [k, h] : parts) {
    if (h.has_body && h.has_journal) {
      found_part p;
      p.key = k;
      p.size = h.body.size;
      p.used_ns = h.body.modified_ns;
      s.found.parts.push_back(p);
    } else if (auto back = h.has_journal ? take_back(s, k) : std::nullopt) {
      back->used_ns = h.journal_ns;
      s.found.parts.push_back(*back);
    } else {
      sweep(s, h.has_body ? part_path(k) : journal_path(k));
    }
  }
}

inline void disk_layout::report(survey const& s) const {
  auto const line = [this](log_level level, std::size_t n, std::string const& text) {
    if (n != 0) log(level, "cache " + path_ + ": " + std::to_string(n) + " " + text);
  };
  line(log_level::info, s.swept, "leftover file(s) removed");
  line(log_level::warn, s.damaged, "damaged metadata file(s) removed");
  line(log_level::warn, s.incomplete, "object(s) dropped: their bodies are gone or have another size");
  line(log_level::warn, s.refused, "metadata file(s) refused and kept, for example " + s.refused_example);
  line(log_level::warn, s.unknown, "unexpected name(s) left alone, for example " + s.unknown_example);
}

inline bool disk_layout::sweep(survey& s, std::string const& path) const {
  bool const done = !ops_.unlink(path);
  if (done) ++s.swept;
  return done;
}

inline void disk_layout::note_unknown(survey& s, std::string const& path) {
  if (s.unknown++ == 0) s.unknown_example = path;
}

}  // namespace mgw::cache
