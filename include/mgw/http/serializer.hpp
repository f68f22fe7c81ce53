#pragma once

#include <mgw/http/chars.hpp>
#include <mgw/http/fields.hpp>

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::http {

// Heads are written by appending to a string that its owner reuses, so that nothing is allocated in steady state.
// What the parsers would refuse cannot be written: no function here lets a value break out of its line.

/// The registered reason phrase, or an empty one for a status without. Source: IANA HTTP Status Code Registry.
constexpr std::string_view reason_phrase(int status) noexcept {
  switch (status) {
    case 100: return "Continue";
    case 101: return "Switching Protocols";
    case 102: return "Processing";
    case 103: return "Early Hints";
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 203: return "Non-Authoritative Information";
    case 204: return "No Content";
    case 205: return "Reset Content";
    case 206: return "Partial Content";
    case 207: return "Multi-Status";
    case 208: return "Already Reported";
    case 226: return "IM Used";
    case 300: return "Multiple Choices";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 303: return "See Other";
    case 304: return "Not Modified";
    case 305: return "Use Proxy";
    case 307: return "Temporary Redirect";
    case 308: return "Permanent Redirect";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 402: return "Payment Required";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 406: return "Not Acceptable";
    case 407: return "Proxy Authentication Required";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 410: return "Gone";
    case 411: return "Length Required";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 421: return "Misdirected Request";
    case 422: return "Unprocessable Content";
    case 423: return "Locked";
    case 424: return "Failed Dependency";
    case 425: return "Too Early";
    case 426: return "Upgrade Required";
    case 428: return "Precondition Required";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 451: return "Unavailable For Legal Reasons";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 506: return "Variant Also Negotiates";
    case 507: return "Insufficient Storage";
    case 508: return "Loop Detected";
    case 511: return "Network Authentication Required";
    default: return {};
  }
}

/// `METHOD target HTTP/1.1`. False and nothing appended if the method is no token or the target is empty or holds a
/// byte that the request parser refuses.
inline bool append_request_line(std::string& out, std::string_view method, std::string_view target) {
  if (!is_token(method) || target.empty() || !all_of(target, chars::target)) return false;
  out.append(method).append(1, ' ').append(target).append(" HTTP/1.1\r\n");
  return true;
}

/// `HTTP/1.1 status reason`; the registered phrase if `reason` is empty or could not stand in a status line.
/// Precondition: 100 <= status <= 999.
inline void append_status_line(std::string& out, int status, std::string_view reason = {}) {
  if (reason.empty() || !all_of(reason, chars::value)) reason = reason_phrase(status);
  char const code[] = {static_cast<char>('0' + status / 100 % 10), static_cast<char>('0' + status / 10 % 10),
                       static_cast<char>('0' + status % 10)};
  out.append("HTTP/1.1 ").append(code, sizeof code).append(1, ' ').append(reason).append("\r\n");
}

/// `name: value`. False and nothing appended if the name is no token or the value holds a control character other than
/// HTAB (CR, LF and NUL would split the message).
inline bool append_field(std::string& out, std::string_view name, std::string_view value) {
  if (!is_token(name) || !is_field_value(value)) return false;
  out.append(name).append(": ").append(value).append("\r\n");
  return true;
}

/// The same for what needs no look: a field that a parser let through, or one of ours. Precondition: as said above.
inline void append_known_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

/// `name: value` with a decimal number. Precondition: `name` is a token.
inline void append_field(std::string& out, std::string_view name, std::uint64_t value) {
  std::array<char, 20> digits{};
  auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  append_known_field(out, name, std::string_view(digits.data(), static_cast<std::size_t>(end - digits.data())));
}

/// The empty line after the fields.
inline void end_head(std::string& out) {
  out.append("\r\n");
}

}  // namespace mgw::http
