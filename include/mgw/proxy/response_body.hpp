#pragma once

#include <mgw/body/sink.hpp>
#include <mgw/proxy/exchange.hpp>

#include <asio/awaitable.hpp>

#include <string_view>
#include <system_error>

namespace mgw::proxy {

/// The body of an exchange's response as a BodySink. Precondition: the response's head was ended.
class response_body {
public:
  explicit response_body(exchange& x) noexcept : x_(x) {}
  asio::awaitable<std::error_code> write(std::string_view bytes) { return x_.write(bytes); }
  asio::awaitable<std::error_code> commit() { return x_.finish(); }
  asio::awaitable<std::error_code> commit(std::string_view last) { return x_.finish(last); }
  void abort() noexcept { x_.abort(); }

private:
  exchange& x_;
};
static_assert(body::BodySink<response_body>);

}  // namespace mgw::proxy
