// What a project that uses mgw may look like at its smallest: it accepts one connection, parses the request that comes,
// and answers it. Both ends are here, so that the program checks itself.
#include <mgw/http/request_parser.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/version.hpp>

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#ifdef MGW_PARTS  // a shared library with all of mgw in it, twice
bool one_part();
bool other_part();
#endif

namespace {

/// Reads one request head and answers with its target.
asio::awaitable<void> serve(std::shared_ptr<mgw::net::tcp_stream> client) {
  mgw::http::request_parser parser;
  mgw::http::request_head request;
  std::string in;
  std::array<char, 512> piece;
  for (std::size_t length = 0; length == 0;) {
    auto const got = co_await client->read_some(asio::buffer(piece));
    if (got.ec) co_return;
    in.append(piece.data(), got.n);
    auto const parsed = parser.parse(in, request);
    if (!parsed) co_return;
    length = *parsed;
  }
  std::string const answer = "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(request.target.size()) +
                             "\r\n\r\n" + std::string(request.target);
  std::array<asio::const_buffer, 1> const out = {asio::buffer(answer)};
  co_await client->write_some(out);
}

/// Sends `request` and returns what comes back until the connection closes.
asio::awaitable<void> ask(asio::io_context& io, mgw::net::listener& listener, std::string request,
                          std::string& answer) {
  asio::ip::tcp::socket socket(io);
  auto const address = listener.local();
  co_await socket.async_connect(address, asio::use_awaitable);
  co_await asio::async_write(socket, asio::buffer(request), asio::use_awaitable);
  asio::error_code ended;
  co_await asio::async_read(socket, asio::dynamic_buffer(answer), asio::redirect_error(asio::use_awaitable, ended));
  listener.stop();
}

}  // namespace

int main() {
  asio::io_context io(1);
  asio::ip::tcp::endpoint const anywhere(asio::ip::address_v4::loopback(), 0);
  mgw::net::listener listener(io, anywhere);
  auto const on_connection = [&io](mgw::net::tcp_stream stream) {
    asio::co_spawn(io, serve(std::make_shared<mgw::net::tcp_stream>(std::move(stream))), asio::detached);
  };
  asio::co_spawn(io, listener.run(on_connection), asio::detached);
  std::string answer;
  asio::co_spawn(io, ask(io, listener, "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", answer), asio::detached);
  io.run();
  bool right = std::string_view(answer).ends_with("\r\n\r\n/hello");
#ifdef MGW_PARTS
  right = right && one_part() && other_part();
#endif
  std::printf("mgw %s: %s\n", MGW_VERSION, right ? "the request came and was answered" : "no answer");
  return right ? 0 : 1;
}
