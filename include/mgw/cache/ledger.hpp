#pragma once

#include <mgw/cache/crc32c.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/ledger_file.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/wall_clock.hpp>

#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mgw::cache {

struct ledger_options {
  std::string path;                  ///< the file that outlives a restart; empty: memory only
  std::size_t max_links = 65'536;    ///< remembered at once; beyond, those that end first are forgotten
  std::size_t max_objects = 65'536;  ///< the same; beyond, those not seen for the longest time
  std::chrono::milliseconds retry_after{1'000};  ///< what could not be written is not tried again before, unless there is more
  /// Names by what objects are found to be bad (a policy, keys): what was found by anything else does not count.
  std::uint64_t judge = 0;
  ledger_options() = default;
};

/// What this cache has given out, so that no client ever gets the end of one generation behind the start of another:
/// with which generation of its object each link was begun, and when an object was last found to be another one, or
/// bad. It outlives the objects: one that is evicted and fetched again may have been replaced meanwhile.
///
/// What cannot be written is kept in memory and written with what comes next. Format: docs/cache-format.md.
/// Thread rule: any thread; only `flush` and the constructor block on the disk. Precondition: one owner of the file.
class ledger {
public:
  explicit ledger(ledger_options o, log_sink log = {}, file_ops& ops = posix_file_ops());
  ledger(ledger const&) = delete;
  ledger& operator=(ledger const&) = delete;

  /// With which generation the link was begun.
  std::optional<std::uint64_t> begun_with(link_id const& link) const {
    std::lock_guard const hold(mutex_);
    auto const it = links_.find(link);
    return it == links_.end() ? std::nullopt : std::optional(it->second.generation);
  }
  /// The link is begun (anew) with this generation; remembered until then, unix seconds. True: it is not durable yet, also
  /// where another one has told the same before; `flush` makes it so.
  bool begin(link_id const& link, std::uint64_t generation, std::int64_t until);

  /// When the object was found to be of another generation than before, unix seconds; 0: never.
  std::int64_t replaced_at(key const& k) const {
    std::lock_guard const hold(mutex_);
    auto const it = objects_.find(k);
    return it == objects_.end() ? 0 : it->second.replaced_at;
  }
  /// The object was seen with this generation. True if it was another one before: then `flush` before it is given out.
  bool saw(key const& k, std::uint64_t generation);

  /// Whether the bytes of this generation were found to be bad, by the same judge.
  bool is_condemned(key const& k, std::uint64_t generation) const {
    std::lock_guard const hold(mutex_);
    auto const it = objects_.find(k);
    return it != objects_.end() && generation != 0 && it->second.condemned == sentence(generation);
  }
  void condemn(key const& k, std::uint64_t generation);
  /// Objects of which some bytes were found to be bad, by whichever judge.
  std::vector<key> condemned() const;
  /// Takes that back, so that they are looked at anew; false: there is nothing to take back. `flush` makes it durable.
  bool pardon(key const& k);

  /// Makes durable what was told before. One flush serves all who wait for one. After a failure all of it is written.
  std::error_code flush();

private:
  static constexpr std::int64_t day = 86'400;
  /// The file is written anew when it is so much longer than it has to be.
  static constexpr std::uint64_t slack = std::uint64_t{1} << 20;

  void load();
  using clock = std::chrono::steady_clock;
  struct begun : ledger_link {
    std::uint64_t told = 0;  // when, in `told_`
    begun() = default;
    explicit begun(ledger_link const& l) : ledger_link(l) {}
  };

  /// What is kept of a generation that this judge has condemned.
  std::uint64_t sentence(std::uint64_t generation) const noexcept {
    std::uint64_t const n = generation ^ options_.judge;
    return n == 0 ? 1 : n;
  }
  std::string whole() const;
  std::error_code append(std::string const& records);
  std::error_code rewrite(std::string const& contents);
  void log(log_level level, std::string const& text) const {
    if (log_) log_(level, "cache ledger " + options_.path + ": " + text);
  }
  /// Keeps what is to be written within bounds while nobody can write. Precondition: the lock is held.
  void bound_pending() {
    if (pending_.size() <= slack) return;
    pending_ = {};
    overflowed_ = true;
  }
  /// Forgets the least quarter of a map that is full.
  template <class Map, class Order>
  static void trim(Map& map, std::size_t max, Order order);

  ledger_options const options_;
  log_sink const log_;
  file_ops& ops_;
  mutable std::mutex mutex_;  // of the maps and of what is to be written
  std::unordered_map<link_id, begun> links_;
  std::unordered_map<key, ledger_object> objects_;
  std::string pending_;
  bool overflowed_ = false;  // too much was pending: all is to be written
  std::uint64_t told_ = 0, durable_ = 0;  // how many times something was told; how many of those are on disk
  std::mutex file_mutex_;  // taken before the other one
  std::shared_ptr<file const> file_;
  std::uint64_t file_size_ = 0;
  bool rewrite_ = false;  // the file's end is not what it should be
  bool writable_ = false;
  std::error_code failure_;  // of the last flush
  std::uint64_t tried_ = 0;  // what it was to write, of `told_`
  clock::time_point retry_at_;
};

inline ledger::ledger(ledger_options o, log_sink log, file_ops& ops)
    : options_(std::move(o)), log_(std::move(log)), ops_(ops), writable_(!options_.path.empty()) {
  if (writable_) load();
}

inline void ledger::load() {
  constexpr std::uint64_t max_file = std::uint64_t{256} << 20;
  auto const text = ops_.read_file(options_.path, max_file);
  rewrite_ = true;
  if (!text) {
    if (text.error() != std::errc::no_such_file_or_directory)
      log(log_level::error, "cannot be read, begins anew: " + text.error().message());
    return;
  }
  ledger_contents found;
  if (auto const ec = read_ledger(*text, found)) {
    if (ec == error::newer_version) writable_ = false;
    log(log_level::error, ec.message() + (writable_ ? "; begins anew" : "; left alone, nothing of it is used"));
    return;
  }
  std::int64_t const now = ops_.now();
  for (auto const& [link, about] : found.links)
    if (about.until >= now || about.until < clocks_are_set_from + 7 * day) links_[link] = begun(about);  // or: nobody knows
  for (auto const& [k, about] : found.objects) objects_[k] = about;
  trim(links_, options_.max_links, [](ledger_link const& l) { return l.until; });
  trim(objects_, options_.max_objects, [](ledger_object const& x) { return x.seen_at; });
  auto f = ops_.open(options_.path, O_WRONLY);
  if (!f) return;
  file_ = *std::move(f);
  file_size_ = text->size();
  rewrite_ = found.read != text->size();
}

template <class Map, class Order>
void ledger::trim(Map& map, std::size_t max, Order order) {
  if (map.size() <= max) return;
  std::vector<std::int64_t> places;
  places.reserve(map.size());
  for (auto const& [id, about] : map) places.push_back(order(about));
  std::size_t excess = map.size() - (max - max / 4);
  auto const nth = places.begin() + static_cast<std::ptrdiff_t>(excess - 1);
  std::nth_element(places.begin(), nth, places.end());
  std::int64_t const bound = *nth;
  std::erase_if(map, [&](auto const& entry) {
    if (excess == 0 || order(entry.second) > bound) return false;
    --excess;
    return true;
  });
}

inline bool ledger::begin(link_id const& link, std::uint64_t generation, std::int64_t until) {
  std::lock_guard const hold(mutex_);
  auto const [it, added] = links_.try_emplace(link);
  begun& about = it->second;
  if (!added && about.generation == generation) return writable_ && about.told > durable_;
  about.generation = generation;
  about.until = until;
  about.told = ++told_;
  if (writable_) append_ledger_record(pending_, link, about);
  trim(links_, options_.max_links, [](ledger_link const& l) { return l.until; });
  bound_pending();
  return writable_;
}

inline bool ledger::saw(key const& k, std::uint64_t generation) {
  std::int64_t const now = ops_.now();
  std::lock_guard const hold(mutex_);
  auto const [it, added] = objects_.try_emplace(k);
  ledger_object& o = it->second;
  bool const replaced = !added && o.generation != generation;
  if (!added && !replaced && now - o.seen_at < day && now >= o.seen_at) return false;
  o.generation = generation;
  o.seen_at = now;
  if (replaced) o.replaced_at = now;
  ++told_;
  if (writable_) append_ledger_record(pending_, k, o);
  bound_pending();
  trim(objects_, options_.max_objects, [](ledger_object const& x) { return x.seen_at; });
  return replaced;
}

inline void ledger::condemn(key const& k, std::uint64_t generation) {
  std::lock_guard const hold(mutex_);
  ledger_object& o = objects_[k];
  o.condemned = sentence(generation);
  o.seen_at = ops_.now();
  ++told_;
  if (writable_) append_ledger_record(pending_, k, o);
  bound_pending();
}

inline std::vector<key> ledger::condemned() const {
  std::vector<key> out;
  std::lock_guard const hold(mutex_);
  for (auto const& [k, about] : objects_)
    if (about.condemned != 0) out.push_back(k);
  return out;
}

inline bool ledger::pardon(key const& k) {
  std::lock_guard const hold(mutex_);
  auto const it = objects_.find(k);
  if (it == objects_.end() || it->second.condemned == 0) return false;
  it->second.condemned = 0;
  ++told_;
  if (writable_) append_ledger_record(pending_, k, it->second);
  bound_pending();
  return true;
}

inline std::error_code ledger::flush() {
  std::lock_guard const hold_file(file_mutex_);
  if (!writable_) return {};
  std::string records;
  auto const names = file_ ? ops_.names(file_->fd()) : result<std::uint64_t>(std::uint64_t{1});
  bool anew = rewrite_ || (names && *names == 0);  // deleted, with its directory perhaps
  {
    std::lock_guard const hold(mutex_);
    if (durable_ == told_) return {};
    if (failure_ && tried_ == told_ && clock::now() < retry_at_) return failure_;
    tried_ = told_;
    std::uint64_t const least = links_.size() * ledger_link_size + objects_.size() * ledger_object_size;
    anew = anew || overflowed_ || file_size_ + pending_.size() > 2 * least + slack;
    records = anew ? whole() : pending_;
    pending_.clear();
    overflowed_ = false;
  }
  auto const ec = anew ? rewrite(records) : append(records);
  if (ec && !rewrite_) log(log_level::error, "cannot be written, kept in memory: " + ec.message());
  rewrite_ = static_cast<bool>(ec);
  failure_ = ec;
  retry_at_ = clock::now() + options_.retry_after;
  std::lock_guard const hold(mutex_);
  if (!ec) durable_ = tried_;
  return ec;
}

inline std::string ledger::whole() const {
  std::string out(ledger_header);
  for (auto const& [link, about] : links_) append_ledger_record(out, link, about);
  for (auto const& [k, about] : objects_) append_ledger_record(out, k, about);
  return out;
}

inline std::error_code ledger::append(std::string const& records) {
  if (auto const ec = ops_.write_all(file_->fd(), records, file_size_)) return ec;
  if (auto const ec = ops_.fdatasync(file_->fd())) return ec;
  file_size_ += records.size();
  return {};
}

inline std::error_code ledger::rewrite(std::string const& contents) {
  std::string const temporary = options_.path + ".tmp";
  if (auto const ec = ops_.write_file(temporary, contents)) return ec;
  auto f = ops_.open(temporary, O_WRONLY);
  if (!f) return f.error();
  if (auto const ec = ops_.rename(temporary, options_.path)) return ec;
  if (auto const ec = ops_.fsync_directory(options_.path.substr(0, options_.path.rfind('/')))) return ec;
  file_ = *std::move(f);
  file_size_ = contents.size();
  return {};
}

}  // namespace mgw::cache
