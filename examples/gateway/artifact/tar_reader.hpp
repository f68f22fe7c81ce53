#pragma once

#include "artifact/error.hpp"
#include "artifact/source.hpp"

#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

/// Reads an uncompressed tar archive of plain files as it comes in, with libarchive: nothing but tar is enabled.
/// Stricter than that: an archive has its two blocks of zeros at the end and nothing but zeros after them, an entry is
/// a file without holes, and its headers (PAX records, long names) are bounded.
///
///     while (tar.next())
///       for (auto piece = tar.read(); !piece.bytes.empty(); piece = tar.read()) use(piece.bytes);
///     if (tar.error()) ...
class tar_reader {
public:
  tar_reader(byte_source source, std::size_t max_entry_headers, std::size_t max_padding)
      : source_(std::move(source)),
        max_headers_(std::max(max_entry_headers, slice)),
        max_padding_(max_padding),
        archive_(archive_read_new()) {}
  tar_reader(tar_reader const&) = delete;
  tar_reader& operator=(tar_reader const&) = delete;

  /// Goes on to the next entry; what was not read of the one before is skipped. False: at the end, which the source has
  /// reached too, or error().
  bool next();
  /// Of the entry that next() found; its name is not checked in any way. If error(), the entry that broke, if known.
  std::string const& name() const noexcept { return name_; }
  std::uint64_t size() const noexcept { return size_; }
  /// The next bytes of the entry; valid until the next call. At its end, and if the archive broke: none.
  source_piece read();

  /// What is wrong, if anything; the source's failure if it failed.
  std::error_code error() const noexcept { return error_; }

private:
  static constexpr std::size_t slice = 32768;  // so much is handed to libarchive at a time

  static la_ssize_t give(archive*, void* self, void const** out) noexcept {
    return static_cast<tar_reader*>(self)->give(out);
  }
  la_ssize_t give(void const** out) noexcept;
  std::uint64_t consumed() const { return static_cast<std::uint64_t>(archive_filter_bytes(archive_.get(), 0)); }
  bool fail(std::error_code ec) {
    if (!error_) error_ = ec;
    return false;
  }
  bool fail_as_libarchive_did() {
    return fail(source_ended_ ? artifact_error::truncated : artifact_error::broken_archive);
  }
  bool open();
  bool take(archive_entry* entry);
  bool check_end(std::uint64_t end_mark);

  struct end {
    void operator()(archive* a) const noexcept { archive_read_free(a); }
  };
  byte_source source_;
  std::size_t max_headers_;
  std::size_t max_padding_;
  std::string_view piece_;  // what is left of the source's last piece
  std::string_view given_;  // what libarchive was given last
  std::uint64_t handed_ = 0;
  std::uint64_t may_hand_ = 0;  // while headers are read: so much in all
  bool in_headers_ = false;
  bool source_ended_ = false;
  bool opened_ = false;
  bool ended_ = false;
  std::error_code error_;
  std::string name_;
  std::uint64_t size_ = 0;
  std::uint64_t read_ = 0;  // of the entry
  bool entry_done_ = true;
  std::unique_ptr<archive, end> archive_;  // last: it goes before what it was given
};

/// libarchive's read callback. Nothing is thrown through C.
inline la_ssize_t tar_reader::give(void const** out) noexcept {
  if (error_) return -1;
  try {
    if (piece_.empty() && !source_ended_) {
      auto const piece = source_();
      if (piece.failure) return fail(piece.failure), -1;
      piece_ = piece.bytes;
      source_ended_ = piece.bytes.empty();
    }
  } catch (...) {
    return fail(artifact_error::unable), -1;
  }
  std::size_t n = std::min(piece_.size(), slice);
  if (in_headers_ && n != 0) {
    n = static_cast<std::size_t>(std::min<std::uint64_t>(n, may_hand_ > handed_ ? may_hand_ - handed_ : 0));
    if (n == 0) return fail(artifact_error::extensions_too_large), -1;
  }
  given_ = piece_.substr(0, n);
  piece_.remove_prefix(n);
  handed_ += n;
  *out = given_.data();
  return static_cast<la_ssize_t>(n);
}

inline bool tar_reader::open() {
  opened_ = true;
  archive* const a = archive_.get();
  if (a == nullptr || archive_read_support_format_tar(a) != ARCHIVE_OK) return fail(artifact_error::unable);
  return archive_read_open(a, this, nullptr, give, nullptr) == ARCHIVE_OK || fail_as_libarchive_did();
}

inline bool tar_reader::next() {
  if (error_ || ended_) return false;
  while (!entry_done_) read();
  if (error_) return false;
  name_.clear();
  in_headers_ = true;
  std::uint64_t const before = opened_ ? consumed() : 0;
  may_hand_ = before + max_headers_;
  if (!opened_ && !open()) return false;
  archive_entry* entry = nullptr;
  int const rc = archive_read_next_header(archive_.get(), &entry);
  in_headers_ = false;
  if (rc == ARCHIVE_EOF) return check_end(consumed() - before);
  // The one warning that is none of our business: an owner's name that this locale cannot say.
  bool const well = rc == ARCHIVE_OK || (rc == ARCHIVE_WARN && archive_errno(archive_.get()) == EILSEQ);
  return well ? take(entry) : fail_as_libarchive_did();
}

inline bool tar_reader::take(archive_entry* entry) {
  char const* const name = archive_entry_pathname(entry);
  if (name == nullptr) return fail(artifact_error::bad_entry_name);
  name_ = name;
  la_int64_t const size = archive_entry_size(entry);
  if (archive_entry_filetype(entry) != AE_IFREG || archive_entry_hardlink(entry) != nullptr ||
      archive_entry_symlink(entry) != nullptr || archive_entry_sparse_count(entry) != 0 ||
      archive_entry_size_is_set(entry) == 0 || size < 0)
    return fail(artifact_error::bad_entry_type);
  size_ = static_cast<std::uint64_t>(size);
  read_ = 0;
  entry_done_ = false;
  return true;
}

inline source_piece tar_reader::read() {
  if (error_ || entry_done_) return {{}, error_};
  void const* bytes = nullptr;
  std::size_t n = 0;
  la_int64_t at = 0;
  int rc = ARCHIVE_OK;
  while (rc == ARCHIVE_OK && n == 0) rc = archive_read_data_block(archive_.get(), &bytes, &n, &at);
  entry_done_ = rc != ARCHIVE_OK;
  if (rc == ARCHIVE_OK) {
    if (static_cast<std::uint64_t>(at) == read_ && n <= size_ - read_) {
      read_ += n;
      return {{static_cast<char const*>(bytes), n}, {}};
    }
    entry_done_ = true;
    fail(artifact_error::bad_entry_type);  // it has holes
  } else if (rc != ARCHIVE_EOF) {
    fail_as_libarchive_did();
  } else if (read_ != size_) {
    fail(artifact_error::bad_entry_type);
  }
  return {{}, error_};
}

/// libarchive takes an archive that stops after an entry, or with one block of zeros, for whole, and does not look at
/// what follows. `end_mark`: bytes it took for the end.
inline bool tar_reader::check_end(std::uint64_t end_mark) {
  ended_ = true;
  if (error_) return false;
  if (end_mark != 1024) return fail_as_libarchive_did();
  // What libarchive has and did not use is the end of what it was given last.
  std::uint64_t const unused = std::min<std::uint64_t>(handed_ - consumed(), given_.size());
  std::string_view rest = given_.substr(given_.size() - static_cast<std::size_t>(unused));
  std::size_t padding = 0;
  for (;;) {
    padding += rest.size();
    if (padding > max_padding_ || rest.find_first_not_of('\0') != std::string_view::npos)
      return fail(artifact_error::trailing_data);
    void const* ignored = nullptr;
    la_ssize_t const n = give(&ignored);
    if (n <= 0) return false;
    rest = given_;
  }
}

}  // namespace gateway
