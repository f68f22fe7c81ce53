#pragma once

#include <mgw/cache/crc32c.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/core/log.hpp>

#include <fcntl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace mgw::mender {

struct binding_options {
  std::string path;  ///< the file that outlives a restart; empty: they end with the process
  std::size_t max_pairs =
      200'000;  ///< bound at once; beyond, no new pair is bound: forgetting one would open it to others
  std::size_t max_keys = 400'000;  ///< remembered as authorized
  bool allow_rebind = false;       ///< another pair takes the place of the ones it is at odds with

  binding_options() = default;
};

/// Which certificate subject speaks for which device identity, one to one and durably: the first pair that comes binds
/// both. Without it any holder of a certificate could have itself authorized as any device.
///
/// Also remembers which keys were authorized for which identity. A file of records of one size, each with a checksum,
/// of SHA-256 digests only; a torn end is cut, a damaged record is passed over and told. Source: the rules of
/// mTLS, 7.4. Errors: std::runtime_error from the constructor, for a file that cannot be used: beginning anew would
/// forget who is who. Thread rule: any thread; only `bind`, `note_key` and the constructor block on the disk.
class bindings {
public:
  enum class verdict : std::uint8_t {
    bound,           ///< durably, if there is a file
    unbound,         ///< neither is bound yet
    other_identity,  ///< the subject speaks for another identity
    other_subject,   ///< the identity belongs to another subject
    full,            ///< max_pairs
    not_written      ///< the disk refused it; nothing is bound
  };

  explicit bindings(binding_options o, log_sink log = {}, cache::file_ops& ops = cache::posix_file_ops());
  bindings(bindings const&) = delete;
  bindings& operator=(bindings const&) = delete;

  /// What is known of this pair. `identity`: in one spelling, see canonical_identity.
  verdict look(std::string_view subject, std::string_view identity) const {
    pair const p(subject, identity);
    std::lock_guard const hold(mutex_);
    return judge(p);
  }
  /// Binds the pair if nothing speaks against it. Durable when it returns.
  verdict bind(std::string_view subject, std::string_view identity);

  /// Whether the key (DER) was noted for this identity.
  bool knows_key(std::string_view identity, std::string_view key) const {
    digest const d = digest_of(identity, key);
    std::lock_guard const hold(mutex_);
    return keys_.contains(d) || keys_.size() >= options_.max_keys;
  }
  /// Durable when it returns without an error.
  std::error_code note_key(std::string_view identity, std::string_view key);

  std::size_t pairs() const {
    std::lock_guard const hold(mutex_);
    return by_subject_.size();
  }

  static constexpr std::string_view header = "mgw-bindings 1\n";
  static constexpr std::size_t record_size = 4 + 32 + 32 + 8 + 4;

private:
  using digest = cache::sha256_digest;
  struct hash {
    std::size_t operator()(digest const& d) const noexcept {
      std::size_t n = 0;
      std::memcpy(&n, d.data(), sizeof n);
      return n;
    }
  };
  struct pair {
    digest subject, identity;
    pair(digest s, digest i) : subject(s), identity(i) {}
    pair(std::string_view s, std::string_view i) : subject(digest_of(s)), identity(digest_of(i)) {}
  };
  static constexpr std::uint64_t max_file = std::uint64_t{256} << 20;
  static constexpr std::string_view pair_mark = "PAIR", key_mark = "AUTH";

  static digest digest_of(std::string_view text, std::string_view more = {}) {
    cache::sha256 h;
    digest out;
    std::error_code ec = h.update(text);
    if (!ec && !more.empty()) ec = h.update(std::string_view("\0", 1));  // in no canonical identity
    if (!ec && !more.empty()) ec = h.update(more);
    if (!ec) ec = h.digest(out);
    if (ec) throw std::system_error(ec, "bindings");
    return out;
  }
  verdict judge(pair const& p) const {
    auto const s = by_subject_.find(p.subject);
    if (s != by_subject_.end()) return s->second == p.identity ? verdict::bound : verdict::other_identity;
    return by_identity_.contains(p.identity) ? verdict::other_subject : verdict::unbound;
  }
  void apply(pair const& p) {
    if (auto const s = by_subject_.find(p.subject); s != by_subject_.end()) by_identity_.erase(s->second);
    if (auto const i = by_identity_.find(p.identity); i != by_identity_.end()) by_subject_.erase(i->second);
    by_subject_.insert_or_assign(p.subject, p.identity);
    by_identity_.insert_or_assign(p.identity, p.subject);
  }
  std::string record(std::string_view mark, digest const& a, digest const& b) const;
  void load();
  std::error_code append(std::string const& record);
  [[noreturn]] void refuse(std::string const& why) const {
    throw std::runtime_error("bindings " + options_.path + ": " + why);
  }

  binding_options const options_;
  log_sink const log_;
  cache::file_ops& ops_;
  mutable std::mutex mutex_;  // of the maps
  std::unordered_map<digest, digest, hash> by_subject_, by_identity_;
  std::unordered_set<digest, hash> keys_;
  std::mutex file_mutex_;  // taken before the other one
  std::shared_ptr<cache::file const> file_;
  std::uint64_t file_size_ = 0;
};

inline bindings::bindings(binding_options o, log_sink log, cache::file_ops& ops)
    : options_(std::move(o)), log_(std::move(log)), ops_(ops) {
  if (options_.path.empty()) return;
  auto found = ops_.open(options_.path, O_RDWR);
  if (!found && found.error() == std::errc::no_such_file_or_directory) {
    // It gets its name when its header is on the disk.
    std::string const temporary = options_.path + ".tmp";
    std::error_code ec = ops_.write_file(temporary, header);
    if (!ec) ec = ops_.rename(temporary, options_.path);
    if (!ec) ec = ops_.fsync_directory(options_.path.substr(0, options_.path.rfind('/')));
    if (ec) refuse(ec.message());
    found = ops_.open(options_.path, O_RDWR);
  }
  if (!found) refuse(found.error().message());
  file_ = *std::move(found);
  if (auto const ec = ops_.lock(file_->fd())) refuse("another gateway uses it: " + ec.message());
  load();
}

inline void bindings::load() {
  auto const text = ops_.read_file(options_.path, max_file);
  if (!text) refuse(text.error().message());
  if (!text->starts_with(header)) refuse("damaged, or of another version; if it is removed, devices are bound anew");
  std::string_view rest(*text);
  rest.remove_prefix(header.size());
  std::size_t damaged = 0;
  file_size_ = header.size();
  for (std::uint64_t end = header.size(); rest.size() >= record_size; rest.remove_prefix(record_size)) {
    std::string_view const one = rest.substr(0, record_size);
    std::string_view const mark = one.substr(0, 4);
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < 4; ++i)
      sum |= std::uint32_t{static_cast<unsigned char>(one[record_size - 4 + i])} << (8 * i);
    end += record_size;
    if (sum != cache::crc32c(one.substr(0, record_size - 4)) || (mark != pair_mark && mark != key_mark)) {
      ++damaged;
      continue;
    }
    digest a, b;
    std::memcpy(a.data(), one.data() + 4, a.size());
    std::memcpy(b.data(), one.data() + 4 + a.size(), b.size());
    if (mark == pair_mark)
      apply(pair(a, b));
    else
      keys_.insert(a);
    file_size_ = end;  // a bad record at the end is torn, and written over
  }
  if (damaged != 0 && log_)
    log_(log_level::error, "bindings " + options_.path + ": " + std::to_string(damaged) +
                               " records are damaged; the devices of these are bound anew");
}

inline std::string bindings::record(std::string_view mark, digest const& a, digest const& b) const {
  std::string out(mark);
  auto const number = [&out](std::uint64_t n, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(static_cast<char>(n >> (8 * i) & 0xFF));
  };
  out.append(reinterpret_cast<char const*>(a.data()), a.size());
  out.append(reinterpret_cast<char const*>(b.data()), b.size());
  number(static_cast<std::uint64_t>(ops_.now()), 8);
  number(cache::crc32c(out), 4);
  return out;
}

/// Precondition: file_mutex_ is held, mutex_ is not.
inline std::error_code bindings::append(std::string const& record) {
  if (options_.path.empty()) return {};
  std::error_code ec;
  if (file_size_ + record.size() > max_file) ec = std::make_error_code(std::errc::file_too_large);
  if (!ec) ec = ops_.write_all(file_->fd(), record, file_size_);
  if (!ec) ec = ops_.fdatasync(file_->fd());
  if (!ec) file_size_ += record.size();
  if (ec && log_) log_(log_level::error, "bindings " + options_.path + ": cannot be written: " + ec.message());
  return ec;
}

inline bindings::verdict bindings::bind(std::string_view subject, std::string_view identity) {
  pair const p(subject, identity);
  std::lock_guard const hold_file(file_mutex_);
  {
    std::lock_guard const hold(mutex_);
    verdict const known = judge(p);
    if (known == verdict::bound || (known != verdict::unbound && !options_.allow_rebind)) return known;
    if (known == verdict::unbound && by_subject_.size() >= options_.max_pairs) return verdict::full;
  }
  if (append(record(pair_mark, p.subject, p.identity))) return verdict::not_written;
  std::lock_guard const hold(mutex_);
  apply(p);
  return verdict::bound;
}

inline std::error_code bindings::note_key(std::string_view identity, std::string_view key) {
  digest const d = digest_of(identity, key);
  std::lock_guard const hold_file(file_mutex_);
  {
    std::lock_guard const hold(mutex_);
    if (keys_.contains(d) || keys_.size() >= options_.max_keys) return {};
  }
  if (auto const ec = append(record(key_mark, d, digest{}))) return ec;
  std::lock_guard const hold(mutex_);
  keys_.insert(d);
  return {};
}

}  // namespace mgw::mender
