#pragma once

#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>
#include <system_error>

namespace gateway {

/// What a source gives: bytes, valid until it is asked again; or a failure; or neither, which is the end.
struct source_piece {
  std::string_view bytes;
  std::error_code failure;

  bool is_end() const noexcept { return bytes.empty() && !failure; }
};

/// Gives bytes in order, in pieces of any size, until the end or a failure; after these it is not asked again. May
/// block.
using byte_source = std::function<source_piece()>;

/// What `fd` has to read, in pieces of up to 64 KiB. The descriptor stays the caller's, open while the source is used.
inline byte_source read_from(int fd) {
  constexpr std::size_t size = 65536;
  std::shared_ptr<char[]> const buffer(new char[size]);
  return [fd, buffer]() -> source_piece {
    for (;;) {
      ssize_t const n = ::read(fd, buffer.get(), size);
      if (n >= 0) return {std::string_view(buffer.get(), static_cast<std::size_t>(n)), {}};
      if (errno != EINTR) return {{}, std::error_code(errno, std::system_category())};
    }
  };
}

/// `bytes`, which the caller keeps, in pieces of `piece` bytes. Precondition: piece != 0.
inline byte_source read_from(std::string_view bytes, std::size_t piece = std::string_view::npos) {
  return [bytes, piece]() mutable -> source_piece {
    auto const now = bytes.substr(0, piece);
    bytes.remove_prefix(now.size());
    return {now, {}};
  };
}

}  // namespace gateway
