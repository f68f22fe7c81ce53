#include <mgw/proxy/exchange.hpp>

#include <doctest/doctest.h>

#include <mgw/proxy/middleware.hpp>
#include <mgw/proxy/router.hpp>
#include <mgw/proxy/serve.hpp>

#include <support/memory_stream.hpp>
#include <support/run_io.hpp>

#include <cstddef>
#include <functional>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::proxy::exchange_test {
namespace {

using test::memory_stream;

/// Answers with what it got: method, target and the whole body.
struct echo {
  asio::awaitable<void> operator()(exchange& x) const {
    std::string text(x.request().method);
    text.append(" ").append(x.request().target).append(" ");
    while (!x.request_body_done()) {
      body::chunk const c = co_await x.read_body();
      if (c.ec) {
        x.abort();
        co_return;
      }
      text.append(c.bytes);
      if (c.end) break;
    }
    (void)co_await x.respond(200, "text/plain", text);
  }
};
/// Answers without a look at the body.
struct hasty {
  asio::awaitable<void> operator()(exchange& x) const { (void)co_await x.respond(403, "", ""); }
};
/// Sends `n` pieces, chunked.
struct streams {
  std::size_t n;
  bool finishes;
  streams(std::size_t count, bool f) : n(count), finishes(f) {}
  asio::awaitable<void> operator()(exchange& x) const {
    x.start(200);
    http::framing f;
    f.kind = http::body_kind::chunked;
    x.end_head(f);
    for (std::size_t i = 0; i < n; ++i) {
      std::error_code const ec = co_await x.write("piece");
      if (ec) co_return;
    }
    if (finishes) (void)co_await x.finish();
  }
};
/// Sends "first " and at the end "last", with a date that does not change; without a coroutine where that goes.
struct ends_with_bytes {
  http::body_kind kind;
  bool begins, now;
  std::size_t length;
  ends_with_bytes(http::body_kind k, bool b, bool n, std::size_t l) : kind(k), begins(b), now(n), length(l) {}
  asio::awaitable<void> operator()(exchange& x) const {
    x.start(200);
    x.field("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    http::framing f;
    f.kind = kind;
    f.length = length;
    x.end_head(f);
    std::error_code ec;
    if (begins) ec = co_await x.write("first ");
    if (ec) co_return;
    bool done = false;
    if (now) done = x.finish_now("last", ec);
    if (now && !done) ec = co_await x.finish_rest("last");
    if (!now) ec = co_await x.finish("last");
  }
};
struct throws {
  asio::awaitable<void> operator()(exchange& x) const {
    (void)x;
    throw std::runtime_error("out of order");
    co_return;
  }
};

struct outcome {
  std::string answer;  // all that the client read
  std::error_code end;
  int observed = 0;
  std::vector<int> statuses;
};

asio::awaitable<void> send_all(memory_stream* s, std::string bytes) {
  while (!bytes.empty()) {
    asio::const_buffer const one(bytes.data(), bytes.size());
    io_result const r = co_await s->write_some(const_buffers(&one, 1));
    if (r.ec) co_return;
    bytes.erase(0, r.n);
  }
}

template <class H>
asio::awaitable<void> talk(net::worker* w, H handler, std::string request, server_options options, test::memory_options memory,
                           bool fin, outcome* out) {
  auto ends = memory_stream::pair(w->io.get_executor(), memory);
  options.observer = [out](exchange const& x) {
    ++out->observed;
    out->statuses.push_back(x.status());
  };
  auto x = std::make_unique<exchange>(any_stream(std::move(ends.second)), peer_info(), options, *w);
  test::background server(w->io.get_executor(), [](std::unique_ptr<exchange> e, H h) -> asio::awaitable<void> {
    log_sink const none;
    co_await serve(*e, h, none);
    e.reset();
  }(std::move(x), handler));
  memory_stream client = std::move(ends.first);
  test::background writer(w->io.get_executor(), send_all(&client, std::move(request)));
  std::string buffer(4096, '\0');
  for (;;) {
    io_result const r = co_await client.read_some(asio::buffer(buffer));
    out->answer.append(buffer, 0, r.n);
    if (r.ec) {
      out->end = r.ec;
      break;
    }
    if (fin && writer.done() && r.n != 0) client.finish();
  }
  client.cancel();
  co_await writer.join();
  co_await server.join();
}

template <class H>
outcome ask(H handler, std::string request, server_options options = {}, test::memory_options memory = {}) {
  net::worker w(0);
  outcome out;
  test::run_io(w.io, talk(&w, handler, std::move(request), std::move(options), memory, true, &out));
  return out;
}
std::string body_of(std::string const& answer) {
  auto const at = answer.rfind("\r\n\r\n");
  return at == std::string::npos ? std::string() : answer.substr(at + 4);
}
std::size_t count(std::string const& text, std::string_view what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("a request is answered, however it is cut on its way") {
  std::string const request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
  for (std::size_t const n : {std::size_t{1}, std::size_t{2}, std::size_t{7}, SIZE_MAX}) {
    test::memory_options memory;
    memory.max_read = memory.max_write = n;
    auto const o = ask(echo(), request, {}, memory);
    CAPTURE(n);
    CHECK(o.answer.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(body_of(o.answer) == "POST /x hello");
    CHECK(count(o.answer, "Connection: close") == 1);
    CHECK(o.observed == 1);
  }
}

TEST_CASE("RFC 9112 9.3.2: pipelined requests are answered in order, bodies and all") {
  std::string const request =
      "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
      "GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
      "PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nxy";
  for (std::size_t const n : {std::size_t{1}, std::size_t{5}, SIZE_MAX}) {
    test::memory_options memory;
    memory.max_read = n;
    auto const o = ask(echo(), request, {}, memory);
    CAPTURE(n);
    auto const one = o.answer.find("POST /1 abc"), two = o.answer.find("GET /2 "), three = o.answer.find("PUT /3 xy");
    CHECK(one < two);
    CHECK(two < three);
    CHECK(three != std::string::npos);
    CHECK(o.observed == 3);
  }
}

TEST_CASE("refusals say which rule was broken, and the connection ends") {
  struct {
    char const* request;
    int status;
  } const cases[] = {
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
      {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
      {"hello\r\n\r\n", 400},
  };
  for (auto const& c : cases) {
    CAPTURE(c.request);
    auto const o = ask(echo(), std::string(c.request) + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK(o.answer.starts_with("HTTP/1.1 " + std::to_string(c.status)));
    CHECK(count(o.answer, "HTTP/1.1 ") == 1);  // nothing behind it is taken for a request
    CHECK(o.answer.find("Connection: close") != std::string::npos);
  }
}

TEST_CASE("a head that is too large is refused") {
  auto const o = ask(echo(), "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(20'000, 'x'));
  CHECK(o.answer.starts_with("HTTP/1.1 431"));
}

TEST_CASE("a garbled body ends the connection without another request") {
  auto const o = ask(echo(), "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(o.answer.empty());
  CHECK(o.observed == 1);
}

TEST_CASE("RFC 9112 9.3: an unread body is skipped when small, and ends the connection when large") {
  auto const small = ask(hasty(), "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(count(small.answer, "HTTP/1.1 403") == 2);
  server_options tight;
  tight.max_drain = 1000;
  auto const large = ask(hasty(), "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n" + std::string(500'000, 'x'), tight);
  CHECK(count(large.answer, "HTTP/1.1 403") == 1);
}

TEST_CASE("100-continue is sent when the body is wanted, and not when it is not") {
  std::string const head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
  auto const wanted = ask(echo(), head + "hello", {}, [] {
    test::memory_options m;
    m.max_read = 1;  // the body comes after the head
    return m;
  }());
  CHECK(wanted.answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
  auto const unwanted = ask(hasty(), head);
  CHECK(unwanted.answer.starts_with("HTTP/1.1 403"));
}

TEST_CASE("RFC 9112 7.1: a streamed body is chunked, and ends with its last chunk only when it is whole") {
  auto const whole = ask(streams(3, true), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(whole.answer.ends_with("\r\n\r\n5\r\npiece\r\n5\r\npiece\r\n5\r\npiece\r\n0\r\n\r\n"));
  auto const cut = ask(streams(3, false), "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(cut.answer.ends_with("piece\r\n"));
  CHECK(count(cut.answer, "HTTP/1.1 200") == 1);
}

TEST_CASE("the last bytes of a body and its end come whole, however little the client takes at a time") {
  using http::body_kind;
  for (auto const kind : {body_kind::chunked, body_kind::length, body_kind::until_close})
    for (bool const begins : {false, true})
      for (bool const now : {false, true})
        for (auto const* request : {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n",
                                    "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"}) {
          CAPTURE(static_cast<int>(kind));
          CAPTURE(begins);
          CAPTURE(now);
          CAPTURE(request);
          ends_with_bytes const handler(kind, begins, now, begins ? 10 : 4);
          auto const whole = ask(handler, request);
          bool const chunked = kind == body_kind::chunked && std::string_view(request).find("1.1") != std::string_view::npos;
          std::string body = begins ? "first last" : "last";
          if (chunked) body = std::string(begins ? "6\r\nfirst \r\n" : "") + "4\r\nlast\r\n0\r\n\r\n";
          if (std::string_view(request).starts_with("HEAD")) body = "";
          CHECK(whole.answer.ends_with("\r\n\r\n" + body));
          CHECK(whole.end == asio::error::eof);
          for (std::size_t n = 1; n <= whole.answer.size(); ++n) {
            if (n > 8 && n + body.size() + 4 < whole.answer.size()) continue;  // in the middle of the head
            test::memory_options memory;
            memory.capacity = n;
            auto const waits = ask(handler, request, {}, memory);
            memory.capacity = whole.answer.size() + 100;
            memory.max_write = n;
            auto const pieces = ask(handler, request, {}, memory);
            bool const same = waits.answer == whole.answer && pieces.answer == whole.answer;
            if (!same) CAPTURE(n);
            REQUIRE(same);
          }
        }
}

TEST_CASE("a body that ends with another length than was promised is an error, and nothing follows it") {
  std::string const requests = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
  for (std::size_t const length : {9U, 11U})
    for (bool const now : {false, true}) {
      auto const o = ask(ends_with_bytes(http::body_kind::length, true, now, length), requests);
      CHECK(o.answer.ends_with("\r\n\r\nfirst "));
      CHECK(count(o.answer, "HTTP/1.1 200") == 1);
      CHECK(o.observed == 1);
    }
}

TEST_CASE("whichever write fails, a body that ends with its last bytes is not taken for whole") {
  for (auto const kind : {http::body_kind::chunked, http::body_kind::length}) {
    bool went_through = false;
    for (std::size_t n = 0; !went_through; ++n) {
      REQUIRE(n < 200);
      test::fail_at f(n);
      test::memory_options memory;
      memory.fail = &f;
      memory.max_write = 16;
      memory.capacity = 24;
      auto const o = ask(ends_with_bytes(kind, true, true, 10), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", {}, memory);
      went_through = !f.fired();
      CHECK(o.observed <= 1);
      if (went_through) CHECK(o.answer.ends_with(kind == http::body_kind::length ? "first last" : "4\r\nlast\r\n0\r\n\r\n"));
    }
  }
}

TEST_CASE("RFC 9112 6.1: HTTP/1.0 clients get no chunks, and a kept connection only if they ask") {
  auto const plain = ask(streams(2, true), "GET / HTTP/1.0\r\n\r\n");
  CHECK(plain.answer.ends_with("\r\n\r\npiecepiece"));
  CHECK(plain.answer.find("Transfer-Encoding") == std::string::npos);
  auto const kept = ask(echo(), "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n\r\n");
  CHECK(count(kept.answer, "200 OK") == 2);
  CHECK(count(kept.answer, "Connection: keep-alive") == 1);
}

TEST_CASE("RFC 9110 6.6.1: every response is dated, once") {
  auto const o = ask(echo(), "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(count(o.answer, "\r\nDate: ") == 1);
  auto const dates_itself = [](exchange& x) -> asio::awaitable<void> {
    x.start(204);
    x.field("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    x.end_head({});
    (void)co_await x.finish();
  };
  auto const own = ask(dates_itself, "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(own.answer.find("date: Sun, 06 Nov 1994") != std::string::npos);
  CHECK(own.answer.find("Date: ") == std::string::npos);
}

TEST_CASE("RFC 9110 9.3.2: HEAD has the length and no body") {
  auto const o = ask(echo(), "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\nGET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(count(o.answer, "HTTP/1.1 200") == 2);
  CHECK(o.answer.find("Content-Length: 8\r\n") != std::string::npos);
  CHECK(o.answer.find("HEAD /x") == std::string::npos);
}

TEST_CASE("a handler that throws closes the connection and nothing else") {
  auto const o = ask(throws(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(o.answer.empty());
  CHECK(o.observed == 1);
}

TEST_CASE("whichever operation fails, the exchange ends, once, without a crash") {
  std::string const request = "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  bool went_through = false;
  for (std::size_t n = 0; !went_through; ++n) {
    CAPTURE(n);
    REQUIRE(n < 200);
    test::fail_at f(n);
    test::memory_options memory;
    memory.fail = &f;
    memory.max_read = 16;
    auto const o = ask(echo(), request, {}, memory);
    went_through = !f.fired();
    CHECK(o.observed <= 2);
    if (went_through) CHECK(o.observed == 2);
  }
}

TEST_CASE("silence is bounded: no head, half a head, half a body") {
  server_options quick;
  quick.head_timeout = quick.idle_timeout = quick.body_silence = std::chrono::milliseconds(60);
  for (auto const* request : {"", "GET / HTTP/1.1\r\nHo", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe"}) {
    CAPTURE(request);
    net::worker w(0);
    outcome out;
    test::run_io(w.io, talk(&w, echo(), std::string(request), quick, {}, false, &out));
    CHECK(out.answer.empty());
    CHECK(out.end == asio::error::eof);
  }
}

TEST_CASE("a router picks the first rule that matches; other paths are 404, tricky ones 400") {
  router routes(when(route::path("/a"), answer_status(201)), when(route::prefix("/b") && route::method("GET"), answer_status(202)));
  auto const status = [&](std::string const& line) {
    return ask(routes, line + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").statuses.at(0);
  };
  CHECK(status("GET /a") == 201);
  CHECK(status("GET /b/c?d=e") == 202);
  CHECK(status("PUT /b/c") == 404);
  CHECK(status("GET /bc") == 404);
  CHECK(status("GET /b/../a") == 400);
  CHECK(status("GET /b%2fc") == 400);
}

TEST_CASE("middleware nests, the leftmost outside") {
  static std::string trace;
  trace.clear();
  auto const mark = [](char before, char after) {
    auto f = [before, after](exchange& x, auto const& next) {
      trace += before;
      auto inner = next(x);
      trace += after;
      return inner;
    };
    return middleware(f);
  };
  auto const handler = mark('<', '>') | (mark('(', ')') | answer_status(204));
  auto const o = ask(handler, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(o.statuses.at(0) == 204);
  CHECK(trace == "<()>");
}

}  // namespace mgw::proxy::exchange_test
