#pragma once

#include <mgw/cache/crc32c.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/core/result.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::cache {

/// What a checkpoint promises: so many bytes of the body are on disk, and this is their digest.
struct checkpoint_record {
  std::uint64_t size = 0;
  sha256_digest digest{};  ///< of the first `size` bytes
  friend bool operator==(checkpoint_record const&, checkpoint_record const&) = default;
};

/// The journal of a part: what is being downloaded, then one record for each checkpoint (docs/cache-format.md).
struct journal {
  cache::meta meta;
  std::vector<checkpoint_record> records;  ///< sizes grow
  std::size_t header_size = 0;             ///< bytes before the first record
  std::uint32_t header_crc = 0;            ///< each record's checksum goes on from it

  /// Where the record after the first `n` begins.
  std::size_t offset_after(std::size_t n) const noexcept;
};

inline constexpr unsigned journal_version = 1;
inline constexpr std::size_t checkpoint_record_size = 4 + 8 + 32 + 4;
/// A journal is at most so long: two weeks of a checkpoint a second.
inline constexpr std::uint64_t max_journal_file = std::uint64_t{64} << 20;

/// The start of a journal. Errors: those of `write_meta`.
result<std::string> write_journal_header(meta const& m);
/// One record of a journal whose header has this checksum.
std::string write_checkpoint(checkpoint_record const& r, std::uint32_t header_crc);
/// Reads a journal. What follows the last whole and valid record is ignored: it was torn by a crash.
/// Errors: error::malformed, error::checksum_mismatch, error::newer_version, all of the header.
result<journal> read_journal(std::string_view text);

namespace journal_detail {

inline constexpr std::string_view record_mark = "CKPT";

template <class N>
void append_little_endian(std::string& out, N n) {
  for (std::size_t i = 0; i < sizeof n; ++i) out += static_cast<char>(static_cast<unsigned char>(n >> (8 * i)));
}

template <class N>
N read_little_endian(std::string_view bytes) {
  N n = 0;
  for (std::size_t i = 0; i < sizeof n; ++i) n |= static_cast<N>(N{static_cast<unsigned char>(bytes[i])} << (8 * i));
  return n;
}

}  // namespace journal_detail

inline std::size_t journal::offset_after(std::size_t n) const noexcept {
  return header_size + n * checkpoint_record_size;
}

inline result<std::string> write_journal_header(meta const& m) {
  auto const text = write_meta(m);
  if (!text) return text.error();
  return "mgw-part " + std::to_string(journal_version) + "\n" + std::to_string(text->size()) + "\n" + *text;
}

inline std::string write_checkpoint(checkpoint_record const& r, std::uint32_t header_crc) {
  std::string out(journal_detail::record_mark);
  journal_detail::append_little_endian(out, r.size);
  for (unsigned char const b : r.digest) out += static_cast<char>(b);
  journal_detail::append_little_endian(out, crc32c(out, header_crc));
  return out;
}

inline result<journal> read_journal(std::string_view text) {
  std::string_view rest = text;
  if (auto const ec = meta_detail::take_version(rest, "mgw-part", journal_version)) return ec;
  std::size_t const end = rest.substr(0, 16).find('\n');
  std::size_t meta_size = 0;
  if (end == std::string_view::npos || !meta_detail::read_number(meta_size, rest.substr(0, end)))
    return error::malformed;
  rest.remove_prefix(end + 1);
  if (meta_size > rest.size()) return error::malformed;
  auto const m = read_meta(rest.substr(0, meta_size));
  if (!m) return m.error();
  rest.remove_prefix(meta_size);

  journal j;
  j.meta = *m;
  j.header_size = text.size() - rest.size();
  j.header_crc = crc32c(text.substr(0, j.header_size));
  while (rest.size() >= checkpoint_record_size) {
    std::string_view const record = rest.substr(0, checkpoint_record_size);
    std::string_view const checked = record.substr(0, record.size() - 4);
    if (!record.starts_with(journal_detail::record_mark) ||
        journal_detail::read_little_endian<std::uint32_t>(record.substr(checked.size())) !=
            crc32c(checked, j.header_crc))
      break;
    checkpoint_record r;
    r.size = journal_detail::read_little_endian<std::uint64_t>(record.substr(4));
    std::transform(record.begin() + 12, record.begin() + 44, r.digest.begin(),
                   [](char c) { return static_cast<unsigned char>(c); });
    if (r.size == 0 || (!j.records.empty() && r.size <= j.records.back().size) ||
        (j.meta.length_known && r.size > j.meta.length))
      break;
    j.records.push_back(r);
    rest.remove_prefix(checkpoint_record_size);
  }
  return j;
}

}  // namespace mgw::cache
