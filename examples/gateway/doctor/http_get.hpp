#pragma once

#include "doctor/wait_for.hpp"
#include "doctor/way.hpp"

#include <mgw/http/response_parser.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/pool.hpp>
#include <mgw/version.hpp>

#include <asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway::doctor {

/// What a GET has come to.
struct http_answer {
  mgw::upstream::hop failed_at = mgw::upstream::hop::none;
  std::error_code ec;
  int status = 0;  ///< 0: none
  milliseconds took{0};
  std::string date, type, location, request_id, server;
  std::string body;  ///< the first 4 KiB of it
  std::chrono::system_clock::time_point at;

  http_answer() = default;
  void take(mgw::http::response_head const& h) {
    auto const value = [&h](char const* name) { return std::string(h.fields.value(name)); };
    status = h.status;
    date = value("Date");
    type = value("Content-Type");
    location = value("Location");
    request_id = value("X-MEN-RequestID");
    server = value("Server");
  }
};

/// Asks for `url`, with these complete field lines beside the usual ones, on a connection of `pool`; the answer is
/// waited for so long. `within`: to which addresses the connection may lead. Precondition: `url` is an http or https
/// URI.
inline asio::awaitable<http_answer> get(mgw::net::worker& w, std::shared_ptr<mgw::upstream::pool> pool, std::string url,
                                        std::string fields, mgw::upstream::reach within, milliseconds limit) {
  namespace up = mgw::upstream;
  constexpr std::size_t enough = 4096;
  http_answer out;
  auto const where = mgw::http::parse_uri(url);
  up::endpoint to(*where);
  to.within = within;
  up::connected c = co_await pool->connect(to);
  if (!c.connection) {
    out.failed_at = c.failed_at;
    out.ec = c.ec;
    co_return out;
  }
  auto const* const by = c.connection->proxy();
  std::string head, target = where->request_target();
  if (by != nullptr) target.insert(0, "http://" + std::string(where->authority));
  mgw::http::append_request_line(head, "GET", target);
  mgw::http::append_field(head, "Host", where->authority);
  if (by != nullptr && !by->authorization.empty())
    mgw::http::append_field(head, "Proxy-Authorization", by->authorization);
  mgw::http::append_field(head, "User-Agent", "mgw-gateway/" MGW_VERSION " (doctor)");
  mgw::http::append_field(head, "Accept-Encoding", "identity");
  head += fields;
  mgw::http::end_head(head);
  up::exchange_options how;
  how.send_silence = how.response_timeout = how.body_silence = limit;
  up::client_exchange exchange(w.deadlines, std::move(*c.connection), how);
  mgw::net::deadline all(w.deadlines, exchange);  // however the answer drips
  all.arm(limit);
  auto const begun = std::chrono::steady_clock::now();
  std::error_code const sent = co_await exchange.send(head);
  out.ec = co_await exchange.read_head("GET");
  if (out.ec) {
    out.failed_at = sent ? up::hop::request : up::hop::response;
    if (all.expired()) out.ec = up::error::response_timeout;
    co_return out;
  }
  out.at = std::chrono::system_clock::now();
  out.took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begun);
  out.take(exchange.head());
  while (out.body.size() < enough) {
    mgw::body::chunk const piece = co_await exchange.read_body();
    out.body += piece.bytes.substr(0, enough - out.body.size());
    if (piece.ec || piece.end) break;  // what there is of it will do
  }
  co_return out;
}

/// The same on a connection of its own, made with `tls` and `pools`; blocks until there is an answer.
inline http_answer get_once(mgw::net::tls_context const& tls, mgw::upstream::pool_options const& pools,
                            std::string const& url, std::string const& fields, mgw::upstream::reach within,
                            milliseconds limit) {
  return wait_for([&](mgw::net::worker_pool& w) {
    auto pool = std::make_shared<mgw::upstream::pool>(w.worker(0).deadlines, tls, pools);
    return get(w.worker(0), std::move(pool), url, fields, within, limit);
  });
}

}  // namespace gateway::doctor
