#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache::test {

/// What a power cut leaves of what was not flushed.
struct power_cut {
  /// Names: what `create`, `mkdir`, `rename` and `unlink` did in directories that were not flushed since.
  enum class names {
    all,           ///< nothing is lost: the process was killed, the machine went on
    forced,        ///< what was not flushed is lost
    in_order,      ///< a journal: they are durable in the order in which they were done, up to some moment
    by_directory,  ///< in order in each directory, up to another moment in each
    any            ///< each one is durable or not
  };
  /// Bytes: what was written to files that were not flushed since.
  enum class bytes {
    all,
    lost,   ///< the file is as it was when it was flushed
    zeros,  ///< the file has its new length, with zeros in the place of new bytes
    any     ///< each write is whole, torn, lost or zeros, and the file may be shorter
  };
  names name = names::all;
  bytes data = bytes::all;
  bool garbage = false;  ///< with bytes::any: other bytes in the place of new ones, too
};

/// A file system in memory that records every operation and can say what may be found after a power cut at any moment:
/// what was flushed is there; of the rest, some.
///
/// A rename is atomic. A flush of a directory makes all names in it durable, on both sides of a rename; a flush of a
/// file makes its bytes durable, not its name. Not for several threads.
class recording_files final : public file_ops {
public:
  std::int64_t time = 1'700'000'000;
  file_system_space room{std::uint64_t{1} << 40, std::uint64_t{1} << 39};

  recording_files() : base_(1), nodes_(1) {
    nodes_[0].is_directory = true;
    settle();
  }

  /// Forgets the record: all that is there now is durable.
  void settle() {
    base_ = nodes_;
    record_.clear();
  }
  std::size_t operations() const noexcept { return record_.size(); }
  /// The disk after a power cut when the first `n` recorded operations had been called.
  recording_files after(std::size_t n, power_cut const& how, std::mt19937& random) const;
  /// Regular files and directories, their names (from the root) and bytes.
  std::map<std::string, std::string> contents() const {
    std::map<std::string, std::string> out;
    collect(0, "", out);
    return out;
  }
  std::string contents(file const& f) const {
    auto const it = handles_.find(f.fd());
    return it == handles_.end() ? std::string() : nodes_[it->second].data;
  }
  /// The n-th operation, for messages.
  std::string describe(std::size_t n) const;

  result<std::shared_ptr<file const>> open(std::string const& path, int flags) override;
  result<std::size_t> pread(int fd, std::span<char> into, std::uint64_t offset) override {
    std::string const& all = nodes_[handles_.at(fd)].data;
    if (offset >= all.size()) return std::size_t{0};
    return all.copy(into.data(), into.size(), static_cast<std::size_t>(offset));
  }
  result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    operation o(kind::write);
    o.node = handles_.at(fd);
    o.offset = offset;
    o.data = std::string(bytes.substr(0, bytes.size() / 2 + 1));  // writes are short
    std::size_t const n = o.data.size();
    perform(std::move(o));
    return n;
  }
  result<std::uint64_t> size(int fd) override { return std::uint64_t{nodes_[handles_.at(fd)].data.size()}; }
  std::error_code truncate(int fd, std::uint64_t size) override {
    operation o(kind::truncate);
    o.node = handles_.at(fd);
    o.offset = size;
    perform(std::move(o));
    return {};
  }
  std::error_code fdatasync(int fd) override {
    operation o(kind::flush);
    o.node = handles_.at(fd);
    perform(std::move(o));
    return {};
  }
  std::error_code fsync_directory(std::string const& path) override {
    operation o(kind::flush_names);
    o.node = find(path);
    if (o.node == none || !nodes_[o.node].is_directory) return absent();
    perform(std::move(o));
    return {};
  }
  std::error_code rename(std::string const& from, std::string const& to) override;
  std::error_code unlink(std::string const& path) override;
  result<bool> make_directory(std::string const& path) override;
  result<std::vector<directory_entry>> list(std::string const& path) override;
  std::error_code touch(std::string const& path) override { return find(path) == none ? absent() : std::error_code{}; }
  result<file_system_space> space(std::string const&) override { return room; }
  std::error_code lock(int) override { return {}; }
  result<bool> is_named(int fd, std::string const& path) override { return handles_.at(fd) == find(path); }
  std::int64_t now() override { return time; }

private:
  using id = std::size_t;  // of a file or a directory; 0 is the root
  static constexpr id none = std::numeric_limits<id>::max();

  enum class kind : std::uint8_t { name, rename, unlink, write, truncate, flush, flush_names };
  struct operation {
    explicit operation(kind k) : what(k) {}
    kind what;
    id node = none;  // the file, or the directory flushed
    id in = none;    // the directory of `name`
    id from = none;  // of a rename: the directory of `old_name`
    std::string name, old_name;
    std::uint64_t offset = 0;  // of a write; or the size a file is truncated to
    std::string data;
    bool names() const { return what == kind::name || what == kind::rename || what == kind::unlink; }
    bool bytes() const { return what == kind::write || what == kind::truncate; }
  };
  struct inode {
    bool is_directory = false;
    std::map<std::string, id> names;
    std::string data;
    std::int64_t modified = 0;
  };
  using inodes = std::vector<inode>;

  static std::error_code absent() { return std::make_error_code(std::errc::no_such_file_or_directory); }
  static std::string leaf(std::string const& path) { return path.substr(path.rfind('/') + 1); }
  id find(std::string const& path) const;
  id find_parent(std::string const& path) const { return find(path.substr(0, path.rfind('/'))); }
  id add(std::string const& path, bool is_directory, id parent);
  void perform(operation o) {
    apply(nodes_, o);
    if (o.node != none) nodes_[o.node].modified = time * 1'000'000'000 + static_cast<std::int64_t>(record_.size());
    record_.push_back(std::move(o));
  }
  static void apply(inodes& all, operation const& o);
  void collect(id at, std::string const& path, std::map<std::string, std::string>& out) const;
  std::vector<bool> durable_names(std::size_t n, power_cut const& how, std::mt19937& random) const;
  void lose_bytes(inode& out, std::vector<std::size_t> const& writes, power_cut const& how, std::mt19937& random) const;

  inodes base_;
  inodes nodes_;  // those without a name stay, too: they may be open
  std::vector<operation> record_;
  std::map<int, id> handles_;
};

inline recording_files::id recording_files::find(std::string const& path) const {
  id at = 0;
  for (std::size_t begin = 1; begin < path.size();) {
    std::size_t const end = std::min(path.find('/', begin), path.size());
    auto const it = nodes_[at].names.find(path.substr(begin, end - begin));
    if (it == nodes_[at].names.end()) return none;
    at = it->second;
    begin = end + 1;
  }
  return at;
}

inline recording_files::id recording_files::add(std::string const& path, bool is_directory, id parent) {
  operation o(kind::name);
  o.node = nodes_.size();
  o.in = parent;
  o.name = leaf(path);
  for (auto* const all : {&base_, &nodes_}) {
    all->resize(o.node + 1);
    all->back().is_directory = is_directory;
  }
  perform(o);
  return o.node;
}

inline result<std::shared_ptr<file const>> recording_files::open(std::string const& path, int flags) {
  id node = find(path);
  if (node != none && (flags & O_EXCL) != 0) return std::make_error_code(std::errc::file_exists);
  if (node != none && nodes_[node].is_directory) return std::make_error_code(std::errc::is_a_directory);
  if (node == none) {
    id const parent = find_parent(path);
    if ((flags & O_CREAT) == 0 || parent == none) return absent();
    node = add(path, false, parent);
  }
  auto f = file_ops::open("/dev/null", O_RDONLY);  // for a number of its own
  if (!f) return f.error();
  handles_[(*f)->fd()] = node;
  if ((flags & O_TRUNC) != 0 && !nodes_[node].data.empty()) (void)truncate((*f)->fd(), 0);
  return f;
}

inline std::error_code recording_files::rename(std::string const& from, std::string const& to) {
  operation o(kind::rename);
  o.node = find(from);
  o.from = find_parent(from);
  o.in = find_parent(to);
  o.old_name = leaf(from);
  o.name = leaf(to);
  if (o.node == none || o.in == none) return absent();
  perform(std::move(o));
  return {};
}

inline std::error_code recording_files::unlink(std::string const& path) {
  operation o(kind::unlink);
  o.node = find(path);
  o.in = find_parent(path);
  o.name = leaf(path);
  if (o.node == none) return absent();
  if (nodes_[o.node].is_directory) return std::make_error_code(std::errc::is_a_directory);
  perform(std::move(o));
  return {};
}

inline result<bool> recording_files::make_directory(std::string const& path) {
  if (id const node = find(path); node != none) {
    if (nodes_[node].is_directory) return false;
    return std::make_error_code(std::errc::not_a_directory);
  }
  id const parent = find_parent(path);
  if (parent == none) return absent();
  add(path, true, parent);
  return true;
}

inline result<std::vector<directory_entry>> recording_files::list(std::string const& path) {
  id const at = find(path);
  if (at == none) return absent();
  std::vector<directory_entry> out;
  for (auto const& [name, node] : nodes_[at].names) {
    auto const& n = nodes_[node];
    directory_entry e;
    e.name = name;
    e.is_directory = n.is_directory;
    e.is_regular = !n.is_directory;
    e.size = n.data.size();
    e.modified_ns = n.modified;
    out.push_back(std::move(e));
  }
  return out;
}

inline void recording_files::apply(inodes& all, operation const& o) {
  switch (o.what) {
    case kind::name: all[o.in].names[o.name] = o.node; break;
    case kind::rename: {
      auto& source = all[o.from].names;
      if (auto const it = source.find(o.old_name); it != source.end() && it->second == o.node) source.erase(it);
      all[o.in].names[o.name] = o.node;
      break;
    }
    case kind::unlink: {
      auto& names = all[o.in].names;
      if (auto const it = names.find(o.name); it != names.end() && it->second == o.node) names.erase(it);
      break;
    }
    case kind::write: {
      auto& data = all[o.node].data;
      auto const offset = static_cast<std::size_t>(o.offset);
      if (data.size() < offset + o.data.size()) data.resize(offset + o.data.size());
      data.replace(offset, o.data.size(), o.data);
      break;
    }
    case kind::truncate: all[o.node].data.resize(static_cast<std::size_t>(o.offset)); break;
    case kind::flush:
    case kind::flush_names: break;
  }
}

inline void recording_files::collect(id at, std::string const& path, std::map<std::string, std::string>& out) const {
  for (auto const& [name, node] : nodes_[at].names) {
    out[path + "/" + name] = nodes_[node].is_directory ? std::string("directory") : nodes_[node].data;
    if (nodes_[node].is_directory) collect(node, path + "/" + name, out);
  }
}

/// Which of the first `n` operations, as far as they change names, are found again.
inline std::vector<bool> recording_files::durable_names(std::size_t n, power_cut const& how,
                                                        std::mt19937& random) const {
  std::vector<bool> keep(n, how.name == power_cut::names::all);
  std::map<id, std::size_t> forced;  // by directory: operations before this one
  std::size_t last_forced = 0;
  for (std::size_t i = 0; i < n; ++i)
    if (record_[i].what == kind::flush_names) forced[record_[i].node] = i;
  auto const is_forced = [&](std::size_t i) {
    auto const& o = record_[i];
    auto const before = [&](id directory) {
      auto const it = forced.find(directory);
      return it != forced.end() && i < it->second;
    };
    return before(o.in) || (o.what == kind::rename && before(o.from));
  };
  for (std::size_t i = 0; i < n; ++i)
    if (record_[i].names() && is_forced(i)) {
      keep[i] = true;
      last_forced = i + 1;
    }
  auto const pick = [&](std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(random);
  };
  switch (how.name) {
    case power_cut::names::all:
    case power_cut::names::forced: break;
    case power_cut::names::in_order: {
      std::size_t const end = pick(last_forced, n);
      for (std::size_t i = 0; i < end; ++i) keep[i] = true;
      break;
    }
    case power_cut::names::by_directory: {
      std::map<id, std::size_t> end;
      for (std::size_t i = 0; i < n; ++i) {
        if (!record_[i].names()) continue;
        auto const [it, added] = end.try_emplace(record_[i].in, 0);
        if (added) it->second = pick(0, n);
        if (i < it->second) keep[i] = true;
      }
      break;
    }
    case power_cut::names::any: {
      std::size_t const tenths = pick(0, 10);
      for (std::size_t i = 0; i < n; ++i)
        if (pick(1, 10) <= tenths) keep[i] = true;
      break;
    }
  }
  return keep;
}

/// Applies those of a file's unflushed changes that are found again.
inline void recording_files::lose_bytes(inode& out, std::vector<std::size_t> const& writes, power_cut const& how,
                                        std::mt19937& random) const {
  auto const pick = [&](std::size_t low, std::size_t high) {
    return std::uniform_int_distribution<std::size_t>(low, high)(random);
  };
  if (how.data == power_cut::bytes::lost) return;
  std::size_t const flushed = out.data.size();
  inodes one(1);
  one[0] = std::move(out);
  for (std::size_t const i : writes) {
    operation o = record_[i];
    o.node = 0;
    auto const spoil = [&](std::size_t from, bool garbage) {
      // Old bytes in the same place stay: a file system overwrites them or not.
      for (std::size_t at = from; at < o.data.size(); ++at) {
        std::size_t const where = static_cast<std::size_t>(o.offset) + at;
        o.data[at] = where < one[0].data.size() ? one[0].data[where]
                     : garbage                  ? static_cast<char>(static_cast<unsigned char>(pick(0, 255)))
                                                : '\0';
      }
    };
    if (how.data == power_cut::bytes::zeros) spoil(0, false);
    if (how.data == power_cut::bytes::any) {
      switch (pick(0, how.garbage ? 4 : 3)) {
        case 0: continue;
        case 1: spoil(0, false); break;
        case 2: spoil(o.data.empty() ? 0 : pick(0, o.data.size() - 1), false); break;
        case 4: spoil(0, true); break;
        default: break;
      }
    }
    apply(one, o);
  }
  out = std::move(one[0]);
  if (how.data == power_cut::bytes::any && out.data.size() > flushed && pick(0, 3) == 0)
    out.data.resize(pick(flushed, out.data.size()));
}

inline recording_files recording_files::after(std::size_t n, power_cut const& how, std::mt19937& random) const {
  recording_files out;
  out.time = time;
  inodes left = base_;
  std::map<id, std::size_t> flushed;  // by file: changes before this operation
  for (std::size_t i = 0; i < n; ++i)
    if (record_[i].what == kind::flush) flushed[record_[i].node] = i;
  auto const keep = durable_names(n, how, random);
  std::map<id, std::vector<std::size_t>> open_changes;
  for (std::size_t i = 0; i < n; ++i) {
    auto const& o = record_[i];
    if (o.names() && keep[i]) apply(left, o);
    if (!o.bytes()) continue;
    auto const it = flushed.find(o.node);
    if (how.data == power_cut::bytes::all || (it != flushed.end() && i < it->second))
      apply(left, o);
    else
      open_changes[o.node].push_back(i);
  }
  for (auto const& [file, writes] : open_changes) lose_bytes(left[file], writes, how, random);
  for (std::size_t i = 0; i < left.size(); ++i) left[i].modified = nodes_[i].modified;
  out.nodes_ = std::move(left);
  out.settle();
  return out;
}

inline std::string recording_files::describe(std::size_t n) const {
  auto const& o = record_[n];
  std::string const file = "#" + std::to_string(o.node);
  switch (o.what) {
    case kind::name: return "make " + o.name + " (" + file + ")";
    case kind::rename: return "rename " + o.old_name + " to " + o.name + " (" + file + ")";
    case kind::unlink: return "unlink " + o.name + " (" + file + ")";
    case kind::write:
      return "write " + file + ", " + std::to_string(o.data.size()) + " bytes at " + std::to_string(o.offset);
    case kind::truncate: return "truncate " + file + " to " + std::to_string(o.offset);
    case kind::flush: return "flush " + file;
    case kind::flush_names: return "flush directory " + file;
  }
  return {};
}

}  // namespace mgw::cache::test
