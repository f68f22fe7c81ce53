#pragma once

#include "audit/chain.hpp"
#include "control/protocol.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/core/result.hpp>

#include <openssl/rand.h>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway::audit {

// The log is PATH, which is written, and PATH.000001, PATH.000002, …, which are full. In the state directory lie the
// key with the genesis, and the last known head, without which nobody could tell that the newest lines were removed.

inline std::string key_file(std::string const& state_directory) {
  return state_directory + "/audit-key";
}
inline std::string head_file(std::string const& state_directory) {
  return state_directory + "/audit-head";
}

inline std::string full_name(std::string const& path, std::uint64_t number) {
  char digits[32];
  std::snprintf(digits, sizeof digits, ".%06llu", static_cast<unsigned long long>(number));
  return path + digits;
}

/// The numbers of the full files, ascending.
inline mgw::result<std::vector<std::uint64_t>> full_files(mgw::cache::file_ops& disk, std::string const& path) {
  std::filesystem::path const where(path);
  auto const directory = where.has_parent_path() ? where.parent_path().string() : std::string(".");
  auto const all = disk.list(directory);
  if (!all) return all.error();
  std::string const begins = where.filename().string() + '.';
  std::vector<std::uint64_t> out;
  for (auto const& e : *all) {
    if (!e.is_regular || !e.name.starts_with(begins)) continue;
    std::string_view const digits = std::string_view(e.name).substr(begins.size());
    std::uint64_t n = 0;
    auto const [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
    bool const number = ec == std::errc() && end == digits.data() + digits.size() && n != 0;
    if (number && full_name(where.filename().string(), n) == e.name) out.push_back(n);
  }
  std::sort(out.begin(), out.end());
  return out;
}

namespace files_detail {

inline std::optional<std::string> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (std::size_t i = 0; i != digits.size(); i += 2) {
    unsigned char byte = 0;
    auto const [end, ec] = std::from_chars(digits.data() + i, digits.data() + i + 2, byte, 16);
    if (ec != std::errc() || end != digits.data() + i + 2) return std::nullopt;
    out += static_cast<char>(byte);
  }
  return out;
}

/// It gets its name when it is whole and on disk.
inline std::error_code replace_file(mgw::cache::file_ops& disk, std::string const& path, std::string_view bytes) {
  std::string const temporary = path + ".new";
  if (auto const ec = disk.write_file(temporary, bytes)) return ec;
  return disk.rename(temporary, path);
}

inline constexpr std::size_t max_small_file = 4096;

}  // namespace files_detail

/// Errors: std::errc::bad_message for a file that is no key; the system's.
inline mgw::result<chain_key> read_key(mgw::cache::file_ops& disk, std::string const& path) {
  auto const text = disk.read_file(path, files_detail::max_small_file);
  if (!text) return text.error();
  auto const v = detail::parse_json_object(*text);
  chain_key key;
  if (v.is_object()) {
    auto secret = files_detail::from_hex(text_in(v.get_object(), "key"));
    if (secret) key.secret = *std::move(secret);
    key.genesis = text_in(v.get_object(), "genesis");
  }
  if (key.secret.size() != 32 || !mgw::cache::is_sha256_hex(key.genesis))
    return std::make_error_code(std::errc::bad_message);
  return key;
}

/// The key, which is made (mode 0600) if there is none. Errors: as read_key.
inline mgw::result<chain_key> key_or_new(mgw::cache::file_ops& disk, std::string const& path) {
  auto key = read_key(disk, path);
  if (key || key.error() != std::errc::no_such_file_or_directory) return key;
  mgw::cache::sha256_digest secret{}, genesis{};
  if (RAND_bytes(secret.data(), static_cast<int>(secret.size())) != 1 ||
      RAND_bytes(genesis.data(), static_cast<int>(genesis.size())) != 1)
    return std::make_error_code(std::errc::resource_unavailable_try_again);
  std::string const text =
      R"({"key":")" + mgw::cache::to_hex(secret) + R"(","genesis":")" + mgw::cache::to_hex(genesis) + "\"}\n";
  if (auto const ec = files_detail::replace_file(disk, path, text)) return ec;
  if (auto const ec = disk.fsync_directory(std::filesystem::path(path).parent_path().string())) return ec;
  return read_key(disk, path);
}

/// The head that was noted last; nothing if none was, or it is damaged. Errors: the disk's.
inline mgw::result<std::optional<chain_head>> read_head(mgw::cache::file_ops& disk, std::string const& path) {
  auto const text = disk.read_file(path, files_detail::max_small_file);
  if (!text && text.error() != std::errc::no_such_file_or_directory) return text.error();
  auto const v = text ? detail::parse_json_object(*text) : boost::json::value();
  if (!v.is_object()) return std::optional<chain_head>();
  chain_head out{static_cast<std::uint64_t>(number_in(v.get_object(), "seq")), text_in(v.get_object(), "mac")};
  return mgw::cache::is_sha256_hex(out.mac) ? std::optional(std::move(out)) : std::nullopt;
}

/// Precondition: the lines up to it are on disk.
inline std::error_code note_head(mgw::cache::file_ops& disk, std::string const& path, chain_head const& head) {
  return files_detail::replace_file(disk, path,
                                    "{\"seq\":" + std::to_string(head.seq) + ",\"mac\":\"" + head.mac + "\"}\n");
}

}  // namespace gateway::audit
