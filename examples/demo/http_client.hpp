#pragma once

#include <mgw/http/serializer.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/overload.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/pool.hpp>

#include <asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace demo {

/// A request as a device makes it.
struct outgoing {
  std::string method, url, token, body;
  std::string fields;  ///< further lines, each with its CRLF

  outgoing(std::string m, std::string u) : method(std::move(m)), url(std::move(u)) {}
};

/// The response's head has been read; its body is in `exchange`. Without one: why.
struct opened {
  std::unique_ptr<mgw::upstream::client_exchange> exchange;
  std::string failure;
  int status() const noexcept { return exchange ? exchange->head().status : 0; }
};

/// A response with a small body; status 0: there was none, see `failure`.
struct response {
  int status = 0;
  std::string body, failure;
  std::chrono::milliseconds retry_after{0};  ///< what the field of that name asks for
};

/// Makes requests like the stock C++ client: a new connection for every request, no resumption, no redirects.
///
/// Thread rule: the thread of `deadlines`.
class http_client {
public:
  http_client(mgw::net::deadline_queue& deadlines, mgw::net::tls_context tls)
      : deadlines_(deadlines), tls_(std::move(tls)) {
    pooling_.connect_timeout = std::chrono::seconds(30);
    waiting_.response_timeout = std::chrono::minutes(10);
    waiting_.body_silence = std::chrono::minutes(5);  // what clients since 5.0.5 wait for a body's next byte
  }

  /// Sends a request and reads the response's head.
  asio::awaitable<opened> open(outgoing request) {
    opened out;
    auto const url = mgw::http::parse_uri(request.url);
    if (!url) {
      out.failure = "not an http or https URL: " + request.url;
      co_return out;
    }
    // A pool of its own makes sure that nothing is shared with other requests, not even a TLS session.
    auto const pool = std::make_shared<mgw::upstream::pool>(deadlines_, tls_, pooling_);
    mgw::upstream::endpoint const where(*url);
    auto connected = co_await pool->connect(where);
    if (!connected.connection) {
      out.failure = std::string("no connection (") + mgw::upstream::to_string(connected.failed_at) +
                    "): " + connected.ec.message();
      co_return out;
    }
    auto exchange =
        std::make_unique<mgw::upstream::client_exchange>(deadlines_, std::move(*connected.connection), waiting_);
    std::string const text = serialize(request, *url);
    std::error_code ec = co_await exchange->send(text);
    if (!ec) ec = co_await exchange->read_head(request.method);
    if (ec)
      out.failure = "no answer: " + ec.message();
    else
      out.exchange = std::move(exchange);
    co_return out;
  }

  /// The same with a response of at most 1 MiB, read whole.
  asio::awaitable<response> send(outgoing request) {
    response out;
    opened const answer = co_await open(std::move(request));
    if (!answer.exchange) {
      out.failure = answer.failure;
      co_return out;
    }
    for (bool end = false; !end;) {
      auto const piece = co_await answer.exchange->read_body();
      out.body += piece.bytes;
      end = piece.end;
      if (piece.ec || out.body.size() > std::size_t{1} << 20U) {
        out.failure = piece.ec ? "broken answer: " + piece.ec.message() : "an answer beyond 1 MiB";
        co_return out;
      }
    }
    out.status = answer.status();
    if (auto const wait = mgw::mender::retry_after(answer.exchange->head().fields.value("Retry-After")))
      out.retry_after = *wait;
    co_return out;
  }

private:
  static std::string serialize(outgoing const& request, mgw::http::uri const& url) {
    std::string text;
    mgw::http::append_request_line(text, request.method, url.request_target());
    mgw::http::append_field(text, "Host", url.authority);
    if (!request.token.empty()) mgw::http::append_field(text, "Authorization", "Bearer " + request.token);
    if (!request.body.empty()) {
      mgw::http::append_field(text, "Content-Type", "application/json");
      mgw::http::append_field(text, "Content-Length", request.body.size());
    }
    text += request.fields;
    mgw::http::end_head(text);
    return text += request.body;
  }

  mgw::net::deadline_queue& deadlines_;
  mgw::net::tls_context tls_;
  mgw::upstream::pool_options pooling_;
  mgw::upstream::exchange_options waiting_;
};

}  // namespace demo
