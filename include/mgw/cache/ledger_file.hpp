#pragma once

#include <mgw/cache/crc32c.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/journal.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/link_id.hpp>
#include <mgw/cache/meta.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::cache {

/// A link that was begun.
struct ledger_link {
  std::uint64_t generation = 0;
  std::int64_t until = 0;  ///< unix seconds
};
/// An object that was given out.
struct ledger_object {
  std::uint64_t generation = 0;  ///< the last one seen
  std::int64_t seen_at = 0;      ///< unix seconds, to the day
  std::int64_t replaced_at = 0;  ///< when it had become another one; 0: never
  std::uint64_t condemned = 0;   ///< the generation whose bytes were found to be bad, XOR who judged them; 0: none
};

struct ledger_contents {
  std::vector<std::pair<link_id, ledger_link>> links;  ///< in the order of writing: later ones count
  std::vector<std::pair<key, ledger_object>> objects;  ///< the same
  std::size_t read = 0;                                ///< bytes up to the end of the last good record
};

inline constexpr std::string_view ledger_header = "mgw-ledger 1\n";
inline constexpr unsigned ledger_version = 1;
inline constexpr std::size_t ledger_link_size = 4 + 16 + 8 + 8 + 4;
inline constexpr std::size_t ledger_object_size = 4 + 32 + 8 + 8 + 8 + 8 + 4;

namespace ledger_detail {

inline constexpr std::string_view link_mark = "LINK", object_mark = "SEEN";

template <std::size_t N>
void append_bytes(std::string& out, std::array<unsigned char, N> const& bytes) {
  out.append(reinterpret_cast<char const*>(bytes.data()), N);
}
inline void append_checksum(std::string& out, std::size_t begin) {
  std::string_view const record(out.data() + begin, out.size() - begin);
  journal_detail::append_little_endian(out, crc32c(record));
}
/// The record at the front, if its mark, size and checksum are right.
inline bool is_record(std::string_view text, std::string_view mark, std::size_t size) {
  return text.size() >= size && text.starts_with(mark) &&
         journal_detail::read_little_endian<std::uint32_t>(text.substr(size - 4)) == crc32c(text.substr(0, size - 4));
}
template <class N>
N number_at(std::string_view record, std::size_t offset) {
  return static_cast<N>(journal_detail::read_little_endian<std::uint64_t>(record.substr(offset)));
}

}  // namespace ledger_detail

inline void append_ledger_record(std::string& out, link_id const& link, ledger_link const& about) {
  std::size_t const begin = out.size();
  out += ledger_detail::link_mark;
  ledger_detail::append_bytes(out, link.bytes);
  journal_detail::append_little_endian(out, about.generation);
  journal_detail::append_little_endian(out, static_cast<std::uint64_t>(about.until));
  ledger_detail::append_checksum(out, begin);
}

inline void append_ledger_record(std::string& out, key const& k, ledger_object const& about) {
  std::size_t const begin = out.size();
  out += ledger_detail::object_mark;
  ledger_detail::append_bytes(out, k.bytes());
  journal_detail::append_little_endian(out, about.generation);
  journal_detail::append_little_endian(out, static_cast<std::uint64_t>(about.seen_at));
  journal_detail::append_little_endian(out, static_cast<std::uint64_t>(about.replaced_at));
  journal_detail::append_little_endian(out, about.condemned);
  ledger_detail::append_checksum(out, begin);
}

/// Reads a ledger up to the first record that is not whole: a crash tore it.
/// Errors: error::malformed, error::newer_version, both of the first line.
inline std::error_code read_ledger(std::string_view text, ledger_contents& out) {
  using namespace ledger_detail;
  std::string_view rest = text;
  if (auto const ec = meta_detail::take_version(rest, "mgw-ledger", ledger_version)) return ec;
  for (;;) {
    if (is_record(rest, link_mark, ledger_link_size)) {
      std::pair<link_id, ledger_link> r;
      std::memcpy(r.first.bytes.data(), rest.data() + 4, r.first.bytes.size());
      r.second.generation = number_at<std::uint64_t>(rest, 20);
      r.second.until = number_at<std::int64_t>(rest, 28);
      out.links.push_back(r);
      rest.remove_prefix(ledger_link_size);
    } else if (is_record(rest, object_mark, ledger_object_size)) {
      key::bytes_type bytes;
      std::memcpy(bytes.data(), rest.data() + 4, bytes.size());
      ledger_object o;
      o.generation = number_at<std::uint64_t>(rest, 36);
      o.seen_at = number_at<std::int64_t>(rest, 44);
      o.replaced_at = number_at<std::int64_t>(rest, 52);
      o.condemned = number_at<std::uint64_t>(rest, 60);
      out.objects.emplace_back(key(bytes), o);
      rest.remove_prefix(ledger_object_size);
    } else {
      break;
    }
  }
  out.read = text.size() - rest.size();
  return {};
}

}  // namespace mgw::cache
