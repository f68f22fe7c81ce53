#pragma once

#include "artifact/error.hpp"
#include "artifact/source.hpp"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <variant>

namespace gateway {

enum class compression { none, gzip, xz, zstd };

/// How `name` is compressed, which is `stem` or `stem` with .gz, .xz or .zst; nothing for any other name.
inline std::optional<compression> compression_of(std::string_view name, std::string_view stem) noexcept {
  if (!name.starts_with(stem)) return std::nullopt;
  name.remove_prefix(stem.size());
  if (name.empty()) return compression::none;
  if (name == ".gz") return compression::gzip;
  if (name == ".xz") return compression::xz;
  if (name == ".zst") return compression::zstd;
  return std::nullopt;
}

struct unpack_limits {
  std::uint64_t max_bytes;   ///< that come out
  std::uint64_t free_bytes;  ///< that may come out of nothing ...
  std::uint64_t max_ratio;   ///< ... and so many more for each byte that went in
  std::size_t max_memory;    ///< of the decompressor, in bytes
};

namespace detail {

/// What a decompressor did with input and room. Without progress it wants more input.
struct unpacked {
  std::size_t consumed = 0;
  std::size_t produced = 0;
  bool may_end = false;  ///< if the input ends after what was consumed, it is whole
  std::error_code error;
};

class gzip_unpacker {
public:
  gzip_unpacker() : z_(new z_stream{}) {
    if (inflateInit2(z_.get(), 16 + MAX_WBITS) != Z_OK) delete z_.release();
  }
  unpacked step(std::string_view in, char* out, std::size_t room, bool) {
    if (!z_) return {0, 0, false, artifact_error::unable};
    if (in.empty()) return {0, 0, between_, {}};
    if (between_ && inflateReset(z_.get()) != Z_OK) return {0, 0, false, artifact_error::unable};
    between_ = false;
    in = in.substr(0, std::numeric_limits<uInt>::max());
    z_->next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));  // read only, whatever its type says
    z_->avail_in = static_cast<uInt>(in.size());
    z_->next_out = reinterpret_cast<Bytef*>(out);
    z_->avail_out = static_cast<uInt>(room);
    int const rc = ::inflate(z_.get(), Z_NO_FLUSH);
    between_ = rc == Z_STREAM_END;
    bool const well = rc == Z_OK || rc == Z_STREAM_END || rc == Z_BUF_ERROR;
    return {in.size() - z_->avail_in, room - z_->avail_out, between_,
            well ? std::error_code()
                 : make_error_code(rc == Z_MEM_ERROR ? artifact_error::unable : artifact_error::cannot_unpack)};
  }

private:
  struct end {
    void operator()(z_stream* z) const noexcept {
      inflateEnd(z);
      delete z;
    }
  };
  std::unique_ptr<z_stream, end> z_;
  bool between_ = false;  // after a member; several may follow each other (RFC 1952 2.2)
};

class xz_unpacker {
public:
  explicit xz_unpacker(std::size_t max_memory) : s_(new lzma_stream(LZMA_STREAM_INIT)) {
    if (lzma_stream_decoder(s_.get(), max_memory, LZMA_CONCATENATED) != LZMA_OK) s_.reset();
  }
  unpacked step(std::string_view in, char* out, std::size_t room, bool last) {
    if (!s_) return {0, 0, false, artifact_error::unable};
    if (ended_) return {0, 0, true, {}};
    s_->next_in = reinterpret_cast<std::uint8_t const*>(in.data());
    s_->avail_in = in.size();
    s_->next_out = reinterpret_cast<std::uint8_t*>(out);
    s_->avail_out = room;
    lzma_ret const rc = lzma_code(s_.get(), last ? LZMA_FINISH : LZMA_RUN);
    ended_ = rc == LZMA_STREAM_END;
    std::error_code error;
    if (rc == LZMA_MEMLIMIT_ERROR)
      error = artifact_error::unpacking_needs_too_much_memory;
    else if (rc == LZMA_MEM_ERROR)
      error = artifact_error::unable;
    else if (rc != LZMA_OK && rc != LZMA_STREAM_END && rc != LZMA_BUF_ERROR)
      error = artifact_error::cannot_unpack;
    return {in.size() - s_->avail_in, room - s_->avail_out, ended_, error};
  }

private:
  struct end {
    void operator()(lzma_stream* s) const noexcept {
      lzma_end(s);
      delete s;
    }
  };
  std::unique_ptr<lzma_stream, end> s_;
  bool ended_ = false;
};

class zstd_unpacker {
public:
  explicit zstd_unpacker(std::size_t max_memory) : s_(ZSTD_createDStream()) {
    int const window = static_cast<int>(std::bit_width(max_memory)) - 1;  // the frame may ask for 2^window bytes
    if (s_ && ZSTD_isError(ZSTD_DCtx_setParameter(s_.get(), ZSTD_d_windowLogMax, window)) != 0) s_.reset();
  }
  unpacked step(std::string_view in, char* out, std::size_t room, bool) {
    if (!s_) return {0, 0, false, artifact_error::unable};
    ZSTD_inBuffer from{in.data(), in.size(), 0};
    ZSTD_outBuffer to{out, room, 0};
    if (in.empty() && between_) return {0, 0, true, {}};
    std::size_t const rc = ZSTD_decompressStream(s_.get(), &to, &from);
    std::error_code error;
    if (ZSTD_isError(rc) != 0) {
      auto const why = ZSTD_getErrorCode(rc);
      error = why == ZSTD_error_frameParameter_windowTooLarge ? artifact_error::unpacking_needs_too_much_memory
              : why == ZSTD_error_memory_allocation           ? artifact_error::unable
                                                              : artifact_error::cannot_unpack;
    }
    between_ = rc == 0;
    return {from.pos, to.pos, between_, error};
  }

private:
  struct end {
    void operator()(ZSTD_DStream* s) const noexcept { ZSTD_freeDStream(s); }
  };
  std::unique_ptr<ZSTD_DStream, end> s_;
  bool between_ = false;  // after a frame; several may follow each other (RFC 8878 3)
};

}  // namespace detail

/// Unpacks what a source gives, holding 64 KiB and what the decompressor looks back to. The decompressors are the ones
/// that libarchive uses; but libarchive 3.6 sets no limit to the memory of xz, and does not look at gzip's checksum.
class unpacker {
public:
  unpacker(byte_source stored, compression how, unpack_limits limits) : stored_(std::move(stored)), limits_(limits) {
    switch (how) {
      case compression::none: break;
      case compression::gzip: how_.emplace<detail::gzip_unpacker>(); break;
      case compression::xz: how_.emplace<detail::xz_unpacker>(limits.max_memory); break;
      case compression::zstd: how_.emplace<detail::zstd_unpacker>(limits.max_memory); break;
    }
    if (how != compression::none) out_.reset(new char[room]);
  }
  unpacker(unpacker const&) = delete;
  unpacker& operator=(unpacker const&) = delete;

  /// The next bytes; valid until the next call. What came out before something broke is given first.
  source_piece read() {
    if (!error_ && !ended_) {
      auto const piece = how_.index() == 0 ? pass_on() : unpack();
      if (!piece.empty()) return {piece, {}};
    }
    return {{}, error_};
  }
  std::uint64_t unpacked() const noexcept { return unpacked_; }

private:
  static constexpr std::size_t room = 65536;

  bool fill();
  std::string_view unpack();
  std::string_view pass_on();
  std::string_view allowed(std::string_view piece);

  byte_source stored_;
  unpack_limits limits_;
  std::variant<std::monostate, detail::gzip_unpacker, detail::xz_unpacker, detail::zstd_unpacker> how_;
  std::unique_ptr<char[]> out_;
  std::string_view in_;  // what is left of the last piece of the source
  bool source_ended_ = false;
  bool ended_ = false;
  std::uint64_t consumed_ = 0;
  std::uint64_t unpacked_ = 0;
  std::error_code error_;
};

/// Sees to it that there is input, or that the source is known to have ended. False: it failed.
inline bool unpacker::fill() {
  if (!in_.empty() || source_ended_) return true;
  auto const piece = stored_();
  error_ = piece.failure;
  in_ = piece.bytes;
  source_ended_ = piece.is_end();
  return !error_;
}

/// As much of `piece` as may come out.
inline std::string_view unpacker::allowed(std::string_view piece) {
  std::uint64_t most = limits_.max_bytes;
  std::uint64_t bonus = 0;
  if (!__builtin_mul_overflow(consumed_, limits_.max_ratio, &bonus) &&
      !__builtin_add_overflow(bonus, limits_.free_bytes, &bonus) && bonus < most)
    most = bonus;
  std::uint64_t const left = most > unpacked_ ? most - unpacked_ : 0;
  if (piece.size() > left) {
    error_ = artifact_error::unpacks_to_too_much;
    piece = piece.substr(0, static_cast<std::size_t>(left));
  }
  unpacked_ += piece.size();
  return piece;
}

inline std::string_view unpacker::pass_on() {
  if (!fill()) return {};
  ended_ = source_ended_;
  consumed_ += in_.size();
  return allowed(std::exchange(in_, {}));
}

inline std::string_view unpacker::unpack() {
  for (;;) {
    if (!fill()) return {};
    auto const did = std::visit(
        [this](auto& how) -> detail::unpacked {
          if constexpr (std::is_same_v<std::decay_t<decltype(how)>, std::monostate>)
            return {};
          else
            return how.step(in_, out_.get(), room, source_ended_);
        },
        how_);
    in_.remove_prefix(did.consumed);
    consumed_ += did.consumed;
    error_ = did.error;
    if (did.produced != 0) return allowed({out_.get(), did.produced});
    if (error_) return {};
    if (did.consumed != 0) continue;
    if (source_ended_ && did.may_end) {
      ended_ = true;
      return {};
    }
    if (source_ended_ || !in_.empty()) {  // it wants more than there is, or does not know what to do with what there is
      error_ = source_ended_ ? artifact_error::truncated : artifact_error::cannot_unpack;
      return {};
    }
  }
}

}  // namespace gateway
