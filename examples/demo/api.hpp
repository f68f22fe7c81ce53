#pragma once

#include <mgw/http/framing.hpp>
#include <mgw/mender/error_body.hpp>
#include <mgw/proxy/exchange.hpp>

#include <asio/awaitable.hpp>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

using mgw::proxy::exchange;

/// Most bytes of a device's request body, as in the real services.
inline constexpr std::size_t max_body = std::size_t{1} << 20U;
inline constexpr std::string_view json_type = "application/json; charset=utf-8";

/// The id that goes into the answer and its error body: the caller's, or a new one.
inline std::string const& request_id(exchange& x) {
  std::string& id = x.notes().request_id;
  if (id.empty()) {
    auto const given = x.request().fields.value("X-MEN-RequestID");
    id = mgw::mender::is_valid_request_id(given) ? std::string(given) : mgw::mender::make_request_id();
  }
  return id;
}

/// A whole small answer, with X-MEN-RequestID as every service sends it.
inline asio::awaitable<void> answer(exchange& x, int status, std::string_view type = {}, std::string body = {}) {
  x.start(status);
  x.field("X-MEN-RequestID", request_id(x));
  if (!type.empty()) x.field("Content-Type", type);
  mgw::http::framing whole;
  whole.kind = mgw::http::body_kind::length;
  whole.length = body.size();
  x.end_head(whole);
  if (!body.empty()) (void)co_await x.write(std::string_view(body));
  (void)co_await x.finish();
}

/// `{"error":"…","request_id":"…"}`
inline asio::awaitable<void> refuse(exchange& x, int status, std::string_view why) {
  return answer(x, status, json_type, mgw::mender::error_body(why, request_id(x)));
}

/// The whole body of a request that must be JSON. Nothing: the request was answered (413, 415) or is broken.
inline asio::awaitable<std::optional<std::string>> read_json(exchange& x) {
  std::optional<std::string> out;
  if (!x.request().fields.value("Content-Type").starts_with("application/json")) {
    co_await refuse(x, 415, "Content-Type must be application/json");
    co_return out;
  }
  std::string body;
  while (!x.request_body_done()) {
    auto const piece = co_await x.read_body();
    if (piece.ec) {
      x.abort();
      co_return out;
    }
    if (piece.bytes.size() > max_body - body.size()) {
      co_await refuse(x, 413, "request body too large");
      co_return out;
    }
    body += piece.bytes;
  }
  out = std::move(body);
  co_return out;
}

/// The raw value of a query's member; empty if there is none.
inline std::string_view query_member(std::string_view query, std::string_view name) noexcept {
  while (!query.empty()) {
    std::string_view const one = query.substr(0, query.find('&'));
    if (one.size() > name.size() && one.starts_with(name) && one[name.size()] == '=')
      return one.substr(name.size() + 1);
    query.remove_prefix(one.size() == query.size() ? one.size() : one.size() + 1);
  }
  return {};
}

/// Undoes percent-encoding; what is malformed stays as it is.
inline std::string decode_query(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    int const value = text[i] == '%' ? mgw::http::target_detail::byte_at(text, i + 1) : -1;
    if (value >= 0) i += 2;
    out += value >= 0 ? static_cast<char>(value) : text[i] == '+' ? ' ' : text[i];
  }
  return out;
}

}  // namespace demo
