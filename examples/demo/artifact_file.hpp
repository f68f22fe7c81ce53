#pragma once

#include "crypto.hpp"
#include "json.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

/// A tar header of a regular file (POSIX ustar), mode 0600, owned by root, of no date: the same input gives the same
/// bytes. Precondition: name.size() < 100, size below 64 GiB.
inline std::string tar_header(std::string_view name, std::uint64_t size) {
  if (size >= std::uint64_t{1} << 33U)
    throw std::invalid_argument("tar: a file of 8 GiB and more needs an extension header");
  std::array<char, 512> h{};
  auto const put = [&h](std::size_t at, std::string_view text) {
    std::copy(text.begin(), text.end(), h.begin() + static_cast<std::ptrdiff_t>(at));
  };
  auto const octal = [](std::uint64_t n, int digits) {
    char text[16];
    std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(n));
    return std::string(text);
  };
  put(0, name);
  put(100, "0000600");
  put(108, "0000000");
  put(116, "0000000");
  put(124, octal(size, 11));
  put(136, "00000000000");
  put(148, "        ");
  put(156, "0");
  put(257, std::string_view("ustar\0"
                            "00",
                            8));
  unsigned sum = 0;
  for (char const c : h) sum += static_cast<unsigned char>(c);
  put(148, octal(sum, 6) + std::string("\0 ", 2));
  return {h.data(), h.size()};
}
inline std::string tar_padding(std::uint64_t size) {
  return std::string(static_cast<std::size_t>((512 - size % 512) % 512), '\0');
}
inline std::string tar_entry(std::string_view name, std::string_view content) {
  return tar_header(name, content.size()).append(content) + tar_padding(content.size());
}
inline std::string tar_end() {
  return std::string(1024, '\0');
}

/// Bytes that look random and cannot be compressed, the same for the same seed (splitmix64).
class noise {
public:
  explicit noise(std::uint64_t seed) : state_(seed) {}
  void fill(char* to, std::size_t n) {
    for (std::size_t i = 0; i < n; i += 8) {
      std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
      z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
      z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
      z ^= z >> 31U;
      std::memcpy(to + i, &z, std::min<std::size_t>(8, n - i));
    }
  }

private:
  std::uint64_t state_;
};

struct artifact_recipe {
  std::string name = "demo-2";
  std::vector<std::string> device_types{"mgw-demo"};
  std::uint64_t payload_size = 0;
  std::uint64_t seed = 0;
  std::string dest_dir = "/var/lib/mgw-demo";  ///< where a device's `single-file` update module puts the payload
};

/// Writes a Mender artifact, format version 3, without compression, in one pass and little memory. Its payload is for
/// the update module `single-file`. Throws std::runtime_error, std::invalid_argument.
/// Source: Documentation/artifact-format-v3.md of mender-artifact.
inline void write_artifact(std::string const& file, artifact_recipe const& recipe) {
  auto const each_piece = [&recipe](std::function<void(std::string_view)> const& use) {
    noise source(recipe.seed);
    std::vector<char> piece(64 * 1024);
    for (std::uint64_t left = recipe.payload_size; left != 0;) {
      auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(left, piece.size()));
      source.fill(piece.data(), n);
      use(std::string_view(piece.data(), n));
      left -= n;
    }
  };

  // What the artifact is, for whom, and what a device says it has afterwards.
  json::array types;
  for (auto const& t : recipe.device_types) types.emplace_back(t);
  json::object const info{{"payloads", json::array{json::object{{"type", "single-file"}}}},
                          {"artifact_provides", json::object{{"artifact_name", recipe.name}}},
                          {"artifact_depends", json::object{{"device_type", types}}}};
  json::object const type_info{{"type", "single-file"},
                               {"artifact_provides", json::object{{"rootfs-image.mgw-demo.version", recipe.name}}},
                               {"clears_artifact_provides", json::array{"rootfs-image.mgw-demo.*"}}};
  std::string const header = tar_entry("header-info", json::serialize(info)) +
                             tar_entry("headers/0000/type-info", json::serialize(type_info)) + tar_end();

  // The module's small files, then the payload itself.
  std::string const payload_name = "payload.bin";
  std::pair<std::string, std::string> const small[] = {
      {"dest_dir", recipe.dest_dir}, {"filename", payload_name}, {"permissions", "644"}};
  std::string data_head;
  std::string manifest;
  for (auto const& [name, content] : small) {
    data_head += tar_entry(name, content);
    manifest += sha256_hex(content) + "  data/0000/" + name + '\n';
  }
  data_head += tar_header(payload_name, recipe.payload_size);
  std::string const data_tail = tar_padding(recipe.payload_size) + tar_end();
  sha256 payload_hash;
  each_piece([&](std::string_view bytes) { payload_hash.update(bytes); });
  std::string const version = R"({"format":"mender","version":3})";
  manifest += payload_hash.hex() + "  data/0000/" + payload_name + '\n';
  manifest += sha256_hex(header) + "  header.tar\n";
  manifest += sha256_hex(version) + "  version\n";

  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << tar_entry("version", version) << tar_entry("manifest", manifest) << tar_entry("header.tar", header);
  std::uint64_t const data_size = data_head.size() + recipe.payload_size + data_tail.size();
  out << tar_header("data/0000.tar", data_size) << data_head;
  each_piece([&](std::string_view bytes) { out.write(bytes.data(), static_cast<std::streamsize>(bytes.size())); });
  out << data_tail << tar_padding(data_size) << tar_end();
  out.close();
  if (!out) throw std::runtime_error(file + ": cannot write the artifact");
}

}  // namespace demo
