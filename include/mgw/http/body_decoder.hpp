#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/chunked.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/limits.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace mgw::http {

/// Finds a body and its end in the bytes of a connection, whatever the framing. No I/O, allocation or copy.
///
/// Never takes a byte of the next message. A truncated body is told apart from a whole one by `finish`.
/// Source: RFC 9112 6 and 8. Thread rule: one thread at a time.
class body_decoder {
public:
  struct step {
    std::size_t consumed = 0;  ///< bytes of `in` that are done with, framing included
    std::string_view body;     ///< payload inside `in`; may be empty; valid as long as `in` is
    bool done = false;         ///< the body has ended; the next message begins after `consumed`
  };

  /// A body of kind `none`.
  body_decoder() : body_decoder(framing{}) {}
  explicit body_decoder(framing what, limits const& l = {})
      : what_(what),
        left_(what.length),
        done_(what.kind == body_kind::none || (what.kind == body_kind::length && what.length == 0)),
        chunks_(l.max_chunk_line, l.max_trailer) {}

  /// Takes the next piece of `in`, which may be empty. A body of kind `none` or of length 0 is done at once with
  /// nothing consumed. `consumed == 0 && !done` happens only for an empty `in`.
  /// Errors: those of the chunked coding, again and again once one was met.
  result<step> next(std::string_view in);

  /// Tells that the stream has ended. No error if the body is whole, which includes `until_close`; else truncated_body.
  std::error_code finish() noexcept;

  bool done() const noexcept { return done_; }
  framing what() const noexcept { return what_; }

private:
  framing what_;
  std::uint64_t left_;
  bool done_;
  chunked_decoder chunks_;
};

inline result<body_decoder::step> body_decoder::next(std::string_view in) {
  step s;
  if (done_) {
    s.done = true;
    return s;
  }
  switch (what_.kind) {
    case body_kind::none: break;
    case body_kind::length:
      s.body = in.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(left_, in.size())));
      s.consumed = s.body.size();
      left_ -= s.consumed;
      done_ = left_ == 0;
      break;
    case body_kind::chunked: {
      auto const c = chunks_.next(in);
      if (!c) return c.error();
      s.body = c->body;
      s.consumed = c->consumed;
      done_ = c->done;
      break;
    }
    case body_kind::until_close:
      s.body = in;
      s.consumed = in.size();
      break;
  }
  s.done = done_;
  return s;
}

inline std::error_code body_decoder::finish() noexcept {
  if (what_.kind == body_kind::until_close) done_ = true;
  return done_ ? std::error_code{} : make_error_code(parse_error::truncated_body);
}

}  // namespace mgw::http
