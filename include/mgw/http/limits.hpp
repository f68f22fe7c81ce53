#pragma once

#include <cstddef>

namespace mgw::http {

/// What a peer may send before its message is refused. All in bytes, except `max_fields`.
/// A message exactly at a limit is accepted. The length of a body is not limited here: that is a policy, not grammar.
struct limits {
  std::size_t max_head = 18 * 1024;       ///< start line and fields with all line ends: head_too_large, 431
  std::size_t max_target = 17 * 1024;     ///< request target: target_too_long, 414
  std::size_t max_line = 17 * 1024 + 64;  ///< one field line without CRLF: line_too_long, 431
  std::size_t max_fields = 100;           ///< field lines: too_many_fields, 431
  std::size_t max_chunk_line = 4096;      ///< chunk size with extensions, without CRLF: chunk_line_too_long, 400
  std::size_t max_trailer = 8192;         ///< whole trailer section with all line ends: trailer_too_large, 431

  /// Repeated Host lines with equal bytes count as one. Off: RFC 9112 3.2 demands a refusal. Some microcontroller
  /// clients (Zephyr's HTTP client together with older mender-mcu) send the line twice.
  bool fold_equal_hosts = false;
};

/// Longest accepted method: method_too_long, 501. The longest registered one, UPDATEREDIRECTREF, has 17.
inline constexpr std::size_t max_method = 64;

}  // namespace mgw::http
