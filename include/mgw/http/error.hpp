#pragma once

#include <string>
#include <system_error>

namespace mgw::http {

/// Why a message was refused. Every code names the rule that was broken; `status_of` gives the answer it deserves.
///
/// `need_more` is never returned by the parsers' public functions, which have their own way to ask for more bytes.
enum class parse_error {
  need_more = 1,
  bad_method,
  method_too_long,
  bad_target,
  target_too_long,
  bad_version,
  unsupported_version,
  bad_status_line,
  bad_field_name,
  bad_field_value,
  obsolete_folding,
  bare_line_feed,
  bare_carriage_return,
  head_too_large,
  too_many_fields,
  line_too_long,
  missing_host,
  repeated_host,
  bad_host,
  bad_content_length,
  conflicting_lengths,
  bad_transfer_encoding,
  unknown_transfer_coding,
  transfer_encoding_in_http_1_0,
  bad_chunk_size,
  bad_chunk_ending,
  bad_chunk_extension,
  chunk_size_overflow,
  chunk_line_too_long,
  trailer_too_large,
  truncated_body,
  body_too_large,
};

/// The status a server answers to a request that was refused with `e` (the connection closes after it).
/// For a refused *response* the answer to the client is 502 whatever `e` is. Source: RFC 9110 15.5, RFC 6585 5.
constexpr int status_of(parse_error e) noexcept {
  switch (e) {
    case parse_error::target_too_long: return 414;
    case parse_error::body_too_large: return 413;
    case parse_error::head_too_large:
    case parse_error::too_many_fields:
    case parse_error::line_too_long:
    case parse_error::trailer_too_large: return 431;
    case parse_error::method_too_long: return 501;  // RFC 9112 3: longer than any method that is implemented
    case parse_error::unknown_transfer_coding: return 501;  // RFC 9112 6.1
    case parse_error::unsupported_version: return 505;
    case parse_error::need_more:
    case parse_error::bad_method:
    case parse_error::bad_target:
    case parse_error::bad_version:
    case parse_error::bad_status_line:
    case parse_error::bad_field_name:
    case parse_error::bad_field_value:
    case parse_error::obsolete_folding:
    case parse_error::bare_line_feed:
    case parse_error::bare_carriage_return:
    case parse_error::missing_host:
    case parse_error::repeated_host:
    case parse_error::bad_host:
    case parse_error::bad_content_length:
    case parse_error::conflicting_lengths:
    case parse_error::bad_transfer_encoding:
    case parse_error::transfer_encoding_in_http_1_0:
    case parse_error::bad_chunk_size:
    case parse_error::bad_chunk_ending:
    case parse_error::bad_chunk_extension:
    case parse_error::chunk_size_overflow:
    case parse_error::chunk_line_too_long:
    case parse_error::truncated_body: return 400;
  }
  return 400;
}

/// A short English description; static storage.
constexpr char const* describe(parse_error e) noexcept {
  switch (e) {
    case parse_error::need_more: return "more bytes are needed";
    case parse_error::bad_method: return "the method is not a token";
    case parse_error::method_too_long: return "the method is too long";
    case parse_error::bad_target: return "the request target is empty or holds a forbidden byte";
    case parse_error::target_too_long: return "the request target is too long";
    case parse_error::bad_version: return "the HTTP version is missing or malformed";
    case parse_error::unsupported_version: return "the HTTP version is not 1.x";
    case parse_error::bad_status_line: return "the status line is malformed";
    case parse_error::bad_field_name: return "a field name is empty or not a token";
    case parse_error::bad_field_value: return "a field value holds a control character";
    case parse_error::obsolete_folding: return "a field line begins with white space";
    case parse_error::bare_line_feed: return "a line ends in LF without CR";
    case parse_error::bare_carriage_return: return "a CR is not followed by LF";
    case parse_error::head_too_large: return "the head is too large";
    case parse_error::too_many_fields: return "there are too many field lines";
    case parse_error::line_too_long: return "a field line is too long";
    case parse_error::missing_host: return "the Host field is missing";
    case parse_error::repeated_host: return "there is more than one Host field";
    case parse_error::bad_host: return "the Host field is malformed";
    case parse_error::bad_content_length: return "Content-Length is malformed, repeated or too big";
    case parse_error::conflicting_lengths: return "both Content-Length and Transfer-Encoding are present";
    case parse_error::bad_transfer_encoding: return "Transfer-Encoding is not exactly \"chunked\"";
    case parse_error::unknown_transfer_coding: return "a transfer coding other than \"chunked\" is not implemented";
    case parse_error::transfer_encoding_in_http_1_0: return "Transfer-Encoding in an HTTP/1.0 message";
    case parse_error::bad_chunk_size: return "a chunk size is malformed";
    case parse_error::bad_chunk_ending: return "a chunk does not end where its size says";
    case parse_error::bad_chunk_extension: return "a chunk extension holds a control character";
    case parse_error::chunk_size_overflow: return "a chunk size is too big";
    case parse_error::chunk_line_too_long: return "the chunk framing is too long";
    case parse_error::trailer_too_large: return "the trailer section is too large";
    case parse_error::truncated_body: return "the body ended early";
    case parse_error::body_too_large: return "the body is too large";
  }
  return "unknown";
}

/// The category of `parse_error`, "mgw.http.parse".
inline std::error_category const& parse_category() noexcept {
  struct category final : std::error_category {
    char const* name() const noexcept override { return "mgw.http.parse"; }
    std::string message(int code) const override { return describe(static_cast<parse_error>(code)); }
  };
  static category const instance;
  return instance;
}

inline std::error_code make_error_code(parse_error e) noexcept {
  return {static_cast<int>(e), parse_category()};
}

}  // namespace mgw::http

template <>
struct std::is_error_code_enum<mgw::http::parse_error> : std::true_type {};
