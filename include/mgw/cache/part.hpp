#pragma once

#include <mgw/cache/disk_core.hpp>
#include <mgw/cache/disk_index.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/journal.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/progress.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// A body being written to disk. Destroyed without commit or suspend, it is dropped. It may outlive its store, whose
/// directory then stays locked until the part is gone.
///
/// Thread rule: one writer at a time; every operation but `body`, `size`, `meta` and `set_labels` may block on the disk.
/// Readers take `body()` from the writer and know from it how far they may read.
class part {
public:
  part(part&&) noexcept = default;
  part& operator=(part&& other) noexcept {
    if (this != &other) {
      drop();
      core_ = std::move(other.core_);
      s_ = std::move(other.s_);
    }
    return *this;
  }
  ~part() { drop(); }

  /// The file to `pread` from; it stays readable after commit, eviction and drop. Null once moved from.
  std::shared_ptr<file const> body() const { return s_ ? s_->body : nullptr; }
  /// Bytes written so far. Precondition of this and `meta`: not moved from.
  std::uint64_t size() const noexcept { return s_->size; }
  cache::meta const& meta() const noexcept { return s_->meta; }

  /// Sets the object's labels, in place of those it was created with. A part that is resumed has the ones it was
  /// created with. Errors: those of check_labels; error::part_closed.
  std::error_code set_labels(std::vector<std::pair<std::string, std::string>> labels) {
    auto ec = usable();
    if (!ec) ec = check_labels(labels);
    if (!ec) s_->meta.labels = std::move(labels);
    return ec;
  }
  /// The object will be pinned (disk_store::pin): its commit does both in one step. A part that is suspended forgets it.
  /// Precondition: not moved from.
  void pin_with_commit() noexcept { s_->meta.pinned = true; }
  /// Adds to the end, all of it or an error; after one the size is as before, and it may be tried again.
  /// Errors: error::length_mismatch beyond the announced length, error::not_enough_space for an unknown length that
  /// outgrows the cache, error::part_lost, error::part_closed, I/O.
  std::error_code append(std::string_view bytes);
  /// Makes what is written survive a power cut: flushes the body, adds a record to the journal, flushes that.
  /// After a failed flush the part is lost (error::part_lost from then on), since the kernel may have dropped the data.
  std::error_code checkpoint();
  /// Takes back what checkpoints have promised: until the next one nothing of it outlives a crash. Errors: I/O.
  std::error_code withdraw();
  /// Makes the complete object of it; `meta()` then has its time and its SHA-256.
  /// Errors: error::length_mismatch if `total_length` is not `size()` or not what was announced; I/O. After an error
  /// the part can be suspended or committed again, unless it is lost. One exception: if only the last flush of a
  /// directory failed, the part is closed and the object is complete and served, but a power cut may take it.
  std::error_code commit(std::uint64_t total_length);
  /// Keeps it for `resume`: all of it, or what the last checkpoint has. One that is lost or has nothing is dropped.
  void suspend() noexcept;
  /// Deletes it. No effect after commit or suspend.
  void drop() noexcept;

private:
  friend class disk_store;

  /// An object of unknown length reserves so much at a time.
  static constexpr std::uint64_t reserve_step = std::uint64_t{8} << 20;

  struct state {
    cache::meta meta;
    disk_core::part_ptr entry;
    std::shared_ptr<file const> body, journal;
    sha256 digest;
    std::uint64_t size = 0;
    std::uint64_t checkpointed = 0;  // bytes the journal vouches for
    std::uint64_t journal_end = 0, header_size = 0;
    std::uint32_t header_crc = 0;
    bool named = false;  // the files' names are durable
    bool torn = false;   // a failed write may have left bytes behind `size`
    bool lost = false;
    bool open = true;
  };

  part(std::shared_ptr<disk_core> core, std::unique_ptr<state> s) : core_(std::move(core)), s_(std::move(s)) {}

  static result<part> create(std::shared_ptr<disk_core> const& core, cache::meta const& m);
  static result<part> resume(std::shared_ptr<disk_core> const& core, key const& k);
  static std::error_code reopen(disk_core& core, state& s, bool& hopeless);
  static result<std::size_t> check_prefix(file_ops& ops, state& s, std::vector<checkpoint_record> const& records,
                                          std::size_t count);

  std::error_code usable() const noexcept {
    if (!s_ || !s_->open) return error::part_closed;
    return s_->lost ? make_error_code(error::part_lost) : std::error_code{};
  }
  /// Flushes a file; a failure loses the part.
  std::error_code flush(file const& f) {
    auto const ec = core_->ops().fdatasync(f.fd());
    if (ec) s_->lost = true;
    return ec;
  }

  std::shared_ptr<disk_core> core_;
  std::unique_ptr<state> s_;
};

inline std::error_code part::append(std::string_view bytes) {
  if (auto const ec = usable()) return ec;
  auto& s = *s_;
  if (s.meta.length_known && bytes.size() > s.meta.length - s.size) return error::length_mismatch;
  if (bytes.size() > s.entry->reserved - s.size) {
    std::uint64_t const need = bytes.size() - (s.entry->reserved - s.size);
    auto ec = core_->reserve(*s.entry, std::max(need, reserve_step));
    if (ec && need < reserve_step) ec = core_->reserve(*s.entry, need);
    if (ec) return ec;
  }
  if (auto const ec = core_->ops().write_all(s.body->fd(), bytes, s.size)) {
    s.torn = true;
    return ec;
  }
  if (auto const ec = s.digest.update(bytes)) {
    s.lost = true;
    return ec;
  }
  s.size += bytes.size();
  if (s.size > s.entry->written.load(std::memory_order_relaxed))
    s.entry->written.store(s.size, std::memory_order_relaxed);
  return {};
}

inline std::error_code part::checkpoint() {
  if (auto const ec = usable()) return ec;
  auto& s = *s_;
  if (s.size == s.checkpointed) return {};
  checkpoint_record r;
  r.size = s.size;
  if (auto const ec = s.digest.digest(r.digest)) return ec;
  if (auto const ec = flush(*s.body)) return ec;
  auto const record = write_checkpoint(r, s.header_crc);
  if (auto const ec = core_->ops().write_all(s.journal->fd(), record, s.journal_end)) return ec;
  if (auto const ec = flush(*s.journal)) return ec;
  if (!s.named) {
    if (auto const ec = core_->ops().fsync_directory(core_->layout().parts_directory())) {
      s.lost = true;
      return ec;
    }
    s.named = true;
  }
  s.journal_end += record.size();
  s.checkpointed = s.size;
  return {};
}

inline std::error_code part::withdraw() {
  if (auto const ec = usable()) return ec;
  auto& s = *s_;
  if (s.checkpointed == 0) return {};
  if (auto const ec = core_->ops().truncate(s.journal->fd(), s.header_size)) return ec;
  s.journal_end = s.header_size;
  s.checkpointed = 0;
  return flush(*s.journal);
}

inline std::error_code part::commit(std::uint64_t total_length) {
  if (auto const ec = usable()) return ec;
  auto& s = *s_;
  if (total_length != s.size || (s.meta.length_known && total_length != s.meta.length)) return error::length_mismatch;
  if (s.torn)
    if (auto const ec = core_->ops().truncate(s.body->fd(), s.size)) return ec;
  s.torn = false;
  // Power may fail when the body has its new name and the metadata has not: where checkpoints have promised something,
  // a last one says in the journal which body it is. That it cannot be written does not matter.
  auto const recorded = s.checkpointed == 0 ? std::error_code{} : checkpoint();
  if (s.lost) return recorded;
  if (auto const ec = flush(*s.body)) return ec;
  sha256_digest d{};
  if (auto const ec = s.digest.digest(d)) return ec;
  cache::meta m = s.meta;
  m.length = total_length;
  m.length_known = true;
  m.sha256 = to_hex(d);
  disk_core::commit_state done;
  auto const ec = core_->commit(*s.entry, m, s.body, done);
  if (done.lost) s.lost = true;
  if (done.committed) {
    s.meta = std::move(m);
    s.open = false;
    s.journal.reset();
  }
  return ec;
}

inline void part::suspend() noexcept {
  if (!s_ || !s_->open) return;
  try {
    if (!s_->lost) (void)checkpoint();
    if (s_->lost || s_->checkpointed == 0) {
      drop();
      return;
    }
    s_->journal.reset();
    core_->keep_part(*s_->entry);
    s_->open = false;
  } catch (...) {
    s_->open = false;  // no memory: the files stay for the next start
  }
}

inline void part::drop() noexcept {
  if (!s_ || !s_->open) return;
  s_->open = false;
  try {
    s_->journal.reset();
    core_->discard_part(*s_->entry, s_->body);
  } catch (...) {  // no memory: the files stay for the next start
  }
}

inline result<part> part::create(std::shared_ptr<disk_core> const& core, cache::meta const& m) {
  cache::meta wanted = m;
  if (!wanted.length_known) wanted.length = 0;
  wanted.sha256.clear();
  wanted.pinned = false;
  wanted.stored_at = core->ops().now();
  auto const header = write_journal_header(wanted);
  if (!header) return header.error();
  auto entry = core->begin_part(wanted.key);
  if (!entry) return entry.error();

  auto s = std::make_unique<state>();
  s->meta = std::move(wanted);
  s->entry = *std::move(entry);
  s->journal_end = s->header_size = header->size();
  s->header_crc = crc32c(*header);
  part p(core, std::move(s));  // from here on, leaving drops it
  auto& ops = core->ops();
  if (auto const ec = core->reserve(*p.s_->entry, p.s_->meta.length)) return ec;
  auto body = ops.open(core->layout().part_path(m.key), O_RDWR | O_CREAT | O_EXCL);
  if (!body) return body.error();
  p.s_->body = *std::move(body);
  p.s_->entry->shown = true;
  auto journal = ops.open(core->layout().journal_path(m.key), O_RDWR | O_CREAT | O_TRUNC);
  if (!journal) return journal.error();
  p.s_->journal = *std::move(journal);
  if (auto const ec = ops.write_all(p.s_->journal->fd(), *header, 0)) return ec;
  return p;
}

inline result<part> part::resume(std::shared_ptr<disk_core> const& core, key const& k) {
  auto entry = core->claim_part(k);
  if (!entry) return entry.error();
  auto s = std::make_unique<state>();
  s->meta.key = k;
  s->entry = *std::move(entry);
  bool hopeless = false;
  auto const ec = reopen(*core, *s, hopeless);
  if (!ec) return part(core, std::move(s));
  if (!hopeless) {
    core->keep_part(*s->entry);
    return ec;
  }
  // Without a checkpoint it is no damage: a crash in its first moments.
  core->layout().log(ec == error::no_checkpoint ? log_level::info : log_level::warn,
                     "cache " + core->layout().path() + ": the part of " + k.hex() +
                         " cannot be resumed and is removed: " + ec.message());
  core->discard_part(*s->entry, nullptr);
  return std::make_error_code(std::errc::no_such_file_or_directory);
}

/// Brings a claimed part back to its last good checkpoint. `hopeless`: the files are of no use.
inline std::error_code part::reopen(disk_core& core, state& s, bool& hopeless) {
  auto& ops = core.ops();
  key const k = s.meta.key;
  auto const missing = [](std::error_code ec) {
    return ec == std::errc::no_such_file_or_directory || ec == std::errc::file_too_large;
  };
  auto const text = ops.read_file(core.layout().journal_path(k), max_journal_file);
  if (!text) {
    hopeless = missing(text.error());
    return text.error();
  }
  auto j = read_journal(*text);
  if (!j || j->meta.key != k) {
    auto const ec = j ? make_error_code(error::malformed) : j.error();
    hopeless = ec != error::newer_version;
    return ec;
  }
  auto body = ops.open(core.layout().part_path(k), O_RDWR);
  if (!body) {
    hopeless = missing(body.error());
    return body.error();
  }
  s.body = *std::move(body);
  s.meta = std::move(j->meta);

  // The digest of each checkpoint is compared: after a power cut a file can have the right length and zeros inside.
  std::size_t good = j->records.size();
  for (;;) {
    auto const n = check_prefix(ops, s, j->records, good);
    if (!n) return n.error();
    if (*n == good) break;
    good = *n;
  }
  if (good == 0) {
    hopeless = true;
    return j->records.empty() ? error::no_checkpoint : error::checksum_mismatch;
  }
  // What readers may have on its way is written anew in its place: to cut it off would put zeros there.
  auto const cut = s.entry->shown ? std::error_code{} : ops.truncate(s.body->fd(), s.size);
  if (cut) return cut;
  auto const there = ops.size(s.body->fd());
  if (!there) return there.error();
  s.torn = *there > s.size;
  auto journal = ops.open(core.layout().journal_path(k), O_RDWR);
  if (!journal) return journal.error();
  s.journal = *std::move(journal);
  s.journal_end = j->offset_after(good);
  s.header_size = j->header_size;
  s.header_crc = j->header_crc;
  s.checkpointed = s.size;
  if (auto const ec = ops.truncate(s.journal->fd(), s.journal_end)) return ec;
  core.with_index([&](disk_index&) {
    s.entry->written = s.entry->reserved = *there;
    s.entry->shown = true;
  });
  bool const more = s.meta.length_known && s.meta.length > *there;
  return more ? core.reserve(*s.entry, s.meta.length - *there) : std::error_code{};
}

/// Reads the body up to its `count`-th checkpoint. Returns how many of them are good; if all are, the digest and the
/// size stand at the last.
inline result<std::size_t> part::check_prefix(file_ops& ops, state& s, std::vector<checkpoint_record> const& records,
                                              std::size_t count) {
  std::vector<char> buffer(std::size_t{256} << 10);
  s.digest = sha256();
  s.size = 0;
  for (std::size_t i = 0; i < count; ++i) {
    while (s.size < records[i].size) {
      std::uint64_t const want = std::min<std::uint64_t>(buffer.size(), records[i].size - s.size);
      auto const n = ops.read_full(s.body->fd(), {buffer.data(), static_cast<std::size_t>(want)}, s.size);
      if (!n) return n.error();
      if (*n == 0) return i;
      if (auto const ec = s.digest.update({buffer.data(), *n})) return ec;
      s.size += *n;
      if (pool_ends()) return std::make_error_code(std::errc::operation_canceled);
    }
    sha256_digest d{};
    if (auto const ec = s.digest.digest(d)) return ec;
    if (d != records[i].digest) return i;
  }
  return count;
}

}  // namespace mgw::cache
