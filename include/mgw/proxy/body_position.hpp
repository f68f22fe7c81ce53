#pragma once

#include <cstdint>
#include <string>

namespace mgw::proxy {

/// Where a response body stands: what somebody needs who goes on with it.
struct body_position {
  bool head_out = false;
  bool resumable = true;       ///< its length is known, and a validator: a break can be mended
  std::uint64_t at = 0;        ///< next byte of the object
  std::uint64_t end = 0;       ///< one past the last wanted byte
  std::uint64_t length = 0;    ///< of the whole object
  std::string etag, modified;  ///< of the generation it belongs to
  body_position() = default;
  bool strong_etag() const noexcept { return etag.starts_with('"'); }
};

}  // namespace mgw::proxy
