#pragma once

#include <cstddef>
#include <cstdint>

namespace gateway {

/// How much an artifact may ask of its reader. Whatever is above is refused; units are bytes where nothing else is
/// said. Memory is about max_header + max_unpacker_memory and a few times max_manifest at most.
struct artifact_limits {
  std::size_t max_version = 1024;
  std::size_t max_manifest = std::size_t{1} << 20U;  ///< each of `manifest` and `manifest-augment`
  std::size_t max_signature = 8192;
  /// `header.tar` and `header-augment.tar`: each, as stored (it is held until its checksum is known) and unpacked.
  std::size_t max_header = std::size_t{16} << 20U;
  std::size_t max_header_info = std::size_t{256} << 10U;
  std::size_t max_header_entries = 1024;
  std::size_t max_payloads = 16;
  std::size_t max_files = 4096;  ///< in all payloads together
  /// All payloads together, unpacked.
  std::uint64_t max_unpacked = std::uint64_t{64} << 30U;
  /// A payload may unpack to this much, whatever its size, ...
  std::uint64_t free_unpacked = std::uint64_t{256} << 20U;
  /// ... and for each byte read of it to so many more. (Images are full of zeros: zstd makes one byte of 16,000.)
  std::uint64_t max_ratio = 10'000;
  /// For what a compressor looks back to. `xz -9` needs 65 MiB.
  std::size_t max_unpacker_memory = std::size_t{128} << 20U;
  /// An entry's headers: a long name takes 1.5 KiB. At least 32 KiB.
  std::size_t max_entry_headers = std::size_t{64} << 10U;
  /// Zeros after the end of an archive. GNU tar fills up to 10 KiB.
  std::size_t max_padding = std::size_t{64} << 10U;
};

}  // namespace gateway
