#pragma once

#include "artifact/header_info.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace gateway {

enum class signature_state {
  unknown,      ///< so far
  none,         ///< there is no manifest.sig
  not_checked,  ///< there is one, but no key was given
  good,
};

/// What was read of an artifact so far. Texts are the artifact's own: any characters may be in them.
struct artifact_info {
  struct file {
    std::string name;  ///< as in the manifest: data/0000/NAME
    std::uint64_t size = 0;
    std::string sha256;
    bool augmented = false;  ///< its checksum stands in manifest-augment, which no signature covers
  };
  header_info header;                                    ///< from read_header() on
  signature_state signature = signature_state::unknown;  ///< from read_head() on
  /// See head_digest. There as soon as the entry after those that count begins: the first bytes of a file are enough.
  std::string head_digest;
  std::size_t signer = 0;                                ///< which of the keys, if the signature is good
  std::vector<file> files;                               ///< those that are whole and have the right checksum
};

}  // namespace gateway
