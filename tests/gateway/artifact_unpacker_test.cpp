#include "artifact/unpacker.hpp"

#include "artifact_support.hpp"

#include <doctest/doctest.h>
#include <lzma.h>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>

namespace gateway::artifact_unpacker_test {
namespace {

constexpr unpack_limits no_limits{~std::uint64_t{0}, ~std::uint64_t{0}, 0, std::size_t{128} << 20U};

struct came_out {
  std::string bytes;
  std::error_code error;
};

came_out unpack(std::string_view packed, std::string_view suffix, unpack_limits limits = no_limits,
                std::size_t piece = 100) {
  unpacker u(read_from(packed, piece), *compression_of(suffix, ""), limits);
  came_out out;
  for (;;) {
    auto const p = u.read();
    out.bytes += p.bytes;
    if (p.bytes.empty()) {
      out.error = p.failure;
      CHECK(u.unpacked() == out.bytes.size());
      CHECK(u.read().failure == p.failure);
      return out;
    }
  }
}

/// A zstd frame of 128 KiB windows; each further block of four bytes is 128 KiB of zeros.
constexpr std::string_view zstd_head("\x28\xb5\x2f\xfd\x00\x38", 6);
constexpr std::string_view zstd_zeros("\x02\x00\x10\x00", 4);

}  // namespace

TEST_CASE("unpacker: names") {
  CHECK(compression_of("header.tar", "header.tar") == compression::none);
  CHECK(compression_of("header.tar.gz", "header.tar") == compression::gzip);
  CHECK(compression_of("header.tar.xz", "header.tar") == compression::xz);
  CHECK(compression_of("header.tar.zst", "header.tar") == compression::zstd);
  for (auto const name : {"", "header.ta", "header.tar.", "header.tar.GZ", "header.tar.lz4", "header.tar.gz.gz",
                          "header.targz", "xheader.tar"})
    CHECK_FALSE(compression_of(name, "header.tar"));
}

TEST_CASE("unpacker: what was packed, in pieces of every size") {
  std::string text;
  for (int i = 0; i != 40'000; ++i) text += std::to_string(i * 7919 % 10007) + ' ';
  for (std::string const& bytes : {std::string(), std::string("x"), text, std::string(200'000, '\0')})
    for (auto const suffix : suffixes) {
      CAPTURE(suffix);
      std::string const in = packed(bytes, suffix);
      for (std::size_t const piece : {std::size_t{1}, std::size_t{13}, std::size_t{65536}, std::string_view::npos}) {
        auto const out = unpack(in, suffix, no_limits, piece);
        CHECK_FALSE(out.error);
        CHECK(out.bytes == bytes);
      }
    }
}

TEST_CASE("unpacker: what is cut or changed") {
  std::string text;
  for (int i = 0; i != 300; ++i) text += std::to_string(i);
  for (auto const suffix : suffixes) {
    if (suffix.empty()) continue;
    CAPTURE(suffix);
    std::string in = packed(text, suffix);
    for (std::size_t n = 0; n != in.size(); ++n) {
      CAPTURE(n);
      CHECK(unpack(std::string_view(in).substr(0, n), suffix).error == artifact_error::truncated);
    }
    CHECK(unpack(in + "x", suffix).error);
    CHECK(unpack(in + in + "xxxxxxxxxxxxxxxxxxx", suffix).error == artifact_error::cannot_unpack);
    CHECK(unpack(in + in, suffix).bytes == text + text);
    CHECK(unpack("xxxxxxxxxxxxxxxxxxxxxxx", suffix).error == artifact_error::cannot_unpack);
    std::size_t unnoticed = 0;
    for (std::size_t i = 0; i != in.size(); ++i) {
      in[i] ^= 4;
      auto const out = unpack(in, suffix);
      unnoticed += out.error ? 0 : 1;
      if (suffix != ".zst" && !out.error) CHECK(out.bytes == text);  // gzip and xz have checksums
      in[i] ^= 4;
    }
    CHECK(unnoticed < in.size());
  }
}

TEST_CASE("unpacker: so much and no more comes out") {
  std::string const zeros(1'000'000, '\0');
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    std::string const in = packed(zeros, suffix);
    for (std::size_t const piece : {std::size_t{1}, std::size_t{100}, std::string_view::npos}) {
      auto limits = no_limits;
      limits.max_bytes = zeros.size();
      CHECK_FALSE(unpack(in, suffix, limits, piece).error);
      limits.max_bytes -= 1;
      auto const out = unpack(in, suffix, limits, piece);
      CHECK(out.error == artifact_error::unpacks_to_too_much);
      CHECK(out.bytes.size() == limits.max_bytes);
    }
    unpack_limits ratio{~std::uint64_t{0}, 0, 2 * zeros.size() / in.size() + 1, no_limits.max_memory};
    CHECK(unpack(in, suffix, {~std::uint64_t{0}, zeros.size(), 0, no_limits.max_memory}).error == std::error_code());
    ratio.max_ratio = ~std::uint64_t{0};
    CHECK(unpack(in, suffix, ratio).error == std::error_code());
    ratio.max_ratio = zeros.size() / in.size() / 2;
    CHECK(unpack(in, suffix, ratio).error == artifact_error::unpacks_to_too_much);
  }
}

TEST_CASE("unpacker: a stream that unpacks 30,000 to 1 for ever ends") {
  std::uint64_t given = 0;
  artifact_limits const defaults;
  unpacker u(
      [&given]() -> source_piece {
        auto const now = given == 0 ? zstd_head : zstd_zeros;
        given += now.size();
        return {now, {}};
      },
      compression::zstd,
      {defaults.max_unpacked, defaults.free_unpacked, defaults.max_ratio, defaults.max_unpacker_memory});
  auto p = u.read();
  while (!p.bytes.empty()) p = u.read();
  CHECK(p.failure == artifact_error::unpacks_to_too_much);
  CHECK(u.unpacked() >= defaults.free_unpacked);
  CHECK(u.unpacked() < defaults.free_unpacked * 2);
  CHECK(given < 20'000);
}

TEST_CASE("unpacker: memory") {
  // xz: the size of the dictionary stands in the block's header, whose checksum follows.
  std::string xz = packed(std::string(1000, 'x'), ".xz");
  REQUIRE(xz[12] == 2);  // the header's size: 12 bytes
  REQUIRE(xz[14] == 0x21);
  auto const with_dictionary = [xz](int size) {
    std::string out = xz;
    out[16] = static_cast<char>(size);
    std::uint32_t const sum = lzma_crc32(reinterpret_cast<std::uint8_t const*>(out.data()) + 12, 8, 0);
    for (std::size_t i = 0; i != 4; ++i) out[20 + i] = static_cast<char>(sum >> 8 * i);
    return out;
  };
  CHECK_FALSE(unpack(with_dictionary(28), ".xz").error);                                               // 64 MiB
  CHECK(unpack(with_dictionary(31), ".xz").error == artifact_error::unpacking_needs_too_much_memory);  // 192 MiB
  CHECK(unpack(with_dictionary(40), ".xz").error == artifact_error::unpacking_needs_too_much_memory);  // 4 GiB
  // zstd: the window stands in the frame's header.
  auto const with_window = [](int log) {
    std::string out(zstd_head);
    out[5] = static_cast<char>((log - 10) << 3);
    return out + std::string("\x01\x00\x00", 3);
  };
  CHECK_FALSE(unpack(with_window(27), ".zst").error);
  CHECK(unpack(with_window(28), ".zst").error == artifact_error::unpacking_needs_too_much_memory);
  CHECK(unpack(with_window(41), ".zst").error == artifact_error::unpacking_needs_too_much_memory);
  // gzip looks back to 32 KiB; names and comments in its header are not held.
  std::string gz("\x1f\x8b\x08\x18\0\0\0\0\0\x03", 10);
  gz += std::string(3'000'000, 'n') + '\0' + std::string(3'000'000, 'c') + '\0' + packed("data", ".gz").substr(10);
  CHECK(unpack(gz, ".gz", no_limits, 65536).bytes == "data");
}

}  // namespace gateway::artifact_unpacker_test
