#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chars.hpp>
#include <mgw/http/error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mgw::http {

/// Decodes the chunked transfer coding without I/O, allocation or copy.
///
/// Feed wire bytes to `next()`; it returns views into *your* buffer. Chunk extensions are skipped and trailer fields
/// are checked and dropped. Both are bounded: each chunk line by `max_line`, the trailer section by `max_trailer`, and
/// all framing together by twice the payload plus 16 bytes a chunk and 16 KiB (a peer that wraps each byte into a
/// long extension makes others work for nothing: CVE-2023-39326).
/// Source: RFC 9112 7.1. Strict: no bare LF or CR, no white space after the size, no sign, no "0x", sizes below 2^63.
/// Thread rule: one thread at a time. After an error the decoder stays failed.
class chunked_decoder {
public:
  struct step {
    std::size_t consumed = 0;  ///< bytes of `in` that are done with, framing included
    std::string_view body;     ///< payload inside `in`; may be empty; valid as long as `in` is
    bool done = false;         ///< the last chunk and its trailer section have been read
  };

  /// @param max_line     longest accepted chunk size with extensions, in bytes, CRLF excluded
  /// @param max_trailer  longest accepted trailer section, in bytes, all line ends included
  explicit chunked_decoder(std::size_t max_line = 4096, std::size_t max_trailer = 8192) noexcept
      : max_line_(max_line), max_trailer_(max_trailer) {}

  /// Takes bytes of `in` up to the end of one piece of payload, of the body or of `in`.
  /// `consumed == 0 && !done` happens only for an empty `in`. Once `done`, takes no more.
  result<step> next(std::string_view in);

  bool done() const noexcept { return state_ == state::done; }

private:
  enum class state : std::uint8_t {
    size_begin,  // a digit must come
    size,
    extension,
    size_lf,
    data,
    data_cr,
    data_lf,
    line,  // a trailer line, or the empty one, begins
    name,
    value,
    line_lf,
    end_lf,
    done,
    failed,
  };

  parse_error framing_byte(char c) noexcept;
  parse_error chunk_line_byte(char c) noexcept;
  parse_error trailer_byte(char c) noexcept;
  parse_error end_of_chunk_line() noexcept;

  std::size_t max_line_;
  std::size_t max_trailer_;
  std::uint64_t size_ = 0;    // of the chunk; in `data`: what is left of it
  std::size_t line_ = 0;      // bytes of the chunk line
  std::size_t trailer_ = 0;   // bytes of the trailer section
  std::uint64_t excess_ = 0;  // framing bytes beyond what the payload pays for
  state state_ = state::size_begin;
  parse_error error_{};
};

/// The line before a chunk's payload: its size in hexadecimal and CRLF. Precondition: `size` is not 0, since that ends
/// the body.
class chunk_head {
public:
  explicit chunk_head(std::uint64_t size) noexcept {
    text_[--begin_] = '\n';
    text_[--begin_] = '\r';
    do {
      text_[--begin_] = "0123456789abcdef"[size & 15];
      size >>= 4;
    } while (size != 0);
  }
  /// Valid as long as this object.
  std::string_view view() const noexcept { return {text_.data() + begin_, text_.size() - begin_}; }

private:
  std::array<char, 18> text_{};
  std::size_t begin_ = 18;
};

inline constexpr std::string_view chunk_end = "\r\n";        ///< after a chunk's payload
inline constexpr std::string_view last_chunk = "0\r\n\r\n";  ///< after the last chunk, without trailers

inline result<chunked_decoder::step> chunked_decoder::next(std::string_view in) {
  if (state_ == state::failed) return error_;
  step s;
  while (state_ != state::done && s.consumed < in.size()) {
    if (state_ == state::data) {
      auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(size_, in.size() - s.consumed));
      s.body = in.substr(s.consumed, n);
      s.consumed += n;
      size_ -= n;
      if (size_ == 0) state_ = state::data_cr;
      return s;
    }
    if (auto const e = framing_byte(in[s.consumed]); e != parse_error{}) {
      state_ = state::failed;
      error_ = e;
      return e;
    }
    ++s.consumed;
  }
  s.done = state_ == state::done;
  return s;
}

inline parse_error chunked_decoder::framing_byte(char c) noexcept {
  switch (state_) {
    case state::size_begin:
    case state::size:
    case state::extension:
    case state::size_lf: return chunk_line_byte(c);
    case state::data_cr:
      if (c != '\r') return parse_error::bad_chunk_ending;
      state_ = state::data_lf;
      return {};
    case state::data_lf:
      if (c != '\n') return parse_error::bad_chunk_ending;
      state_ = state::size_begin;
      return {};
    case state::line:
    case state::name:
    case state::value:
    case state::line_lf:
    case state::end_lf:
      if (trailer_ == max_trailer_) return parse_error::trailer_too_large;
      ++trailer_;
      return trailer_byte(c);
    case state::data:
    case state::done:
    case state::failed: break;
  }
  return {};
}

inline parse_error chunked_decoder::chunk_line_byte(char c) noexcept {
  if (state_ == state::size_lf) return c == '\n' ? end_of_chunk_line() : parse_error::bare_carriage_return;
  if (c == '\r' && state_ != state::size_begin) {
    state_ = state::size_lf;
    return {};
  }
  if (state_ == state::extension) {
    if (c == '\n') return parse_error::bare_line_feed;
    if (!is(c, chars::value)) return parse_error::bad_chunk_extension;
  } else if (is(c, chars::hex)) {
    if (size_ >> 59 != 0) return parse_error::chunk_size_overflow;
    auto const digit = is(c, chars::digit) ? c - '0' : (c | 0x20) - 'a' + 10;
    size_ = size_ << 4 | static_cast<std::uint64_t>(digit);
    state_ = state::size;
  } else if (c == ';' && state_ == state::size) {
    state_ = state::extension;
  } else {
    return parse_error::bad_chunk_size;
  }
  if (line_ == max_line_) return parse_error::chunk_line_too_long;
  ++line_;
  return {};
}

inline parse_error chunked_decoder::end_of_chunk_line() noexcept {
  excess_ += line_ + 2;
  std::uint64_t const paid = 16 + 2 * std::min(size_, std::uint64_t{1} << 32);
  excess_ -= std::min(excess_, paid);
  if (excess_ > 16 * 1024) return parse_error::chunk_line_too_long;
  line_ = 0;
  state_ = size_ == 0 ? state::line : state::data;
  return {};
}

inline parse_error chunked_decoder::trailer_byte(char c) noexcept {
  switch (state_) {
    case state::line:
      if (c == '\r') {
        state_ = state::end_lf;
      } else if (c == '\n') {
        return parse_error::bare_line_feed;
      } else if (c == ' ' || c == '\t') {
        return parse_error::obsolete_folding;
      } else if (!is(c, chars::token)) {
        return parse_error::bad_field_name;
      } else {
        state_ = state::name;
      }
      return {};
    case state::name:
      if (c == ':')
        state_ = state::value;
      else if (!is(c, chars::token))
        return parse_error::bad_field_name;
      return {};
    case state::value:
      if (c == '\r')
        state_ = state::line_lf;
      else if (c == '\n')
        return parse_error::bare_line_feed;
      else if (!is(c, chars::value))
        return parse_error::bad_field_value;
      return {};
    case state::line_lf:
      if (c != '\n') return parse_error::bare_carriage_return;
      state_ = state::line;
      return {};
    case state::end_lf:
      if (c != '\n') return parse_error::bare_carriage_return;
      state_ = state::done;
      return {};
    case state::size_begin:
    case state::size:
    case state::extension:
    case state::size_lf:
    case state::data:
    case state::data_cr:
    case state::data_lf:
    case state::done:
    case state::failed: break;
  }
  return {};
}

}  // namespace mgw::http
