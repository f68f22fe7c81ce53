#include <mgw/body/pump.hpp>

#include <doctest/doctest.h>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <ostream>
#include <string>
#include <vector>

namespace mgw::body::pump_test {
namespace {

/// Gives its pieces, then the end; fails at the n-th read (counted from 1; 0: never).
struct listed_source {
  std::vector<std::string> pieces;
  std::size_t fail_at = 0, reads = 0;
  asio::awaitable<chunk> read_body() {
    chunk c;
    ++reads;
    if (reads == fail_at) c.ec = std::make_error_code(std::errc::connection_reset);
    if (!c.ec && reads <= pieces.size()) c.bytes = pieces[reads - 1];
    c.end = !c.ec && reads >= pieces.size();
    co_return c;
  }
};
/// Takes what it is given; fails at the n-th operation.
struct recording_sink {
  std::string bytes;
  std::size_t fail_at = 0, operations = 0;
  int commits = 0, aborts = 0;
  asio::awaitable<std::error_code> write(std::string_view b) {
    if (++operations == fail_at) co_return std::make_error_code(std::errc::no_space_on_device);
    bytes += b;
    co_return std::error_code{};
  }
  asio::awaitable<std::error_code> commit() {
    if (++operations == fail_at) {
      abort();
      co_return std::make_error_code(std::errc::io_error);
    }
    ++commits;
    co_return std::error_code{};
  }
  void abort() noexcept {
    if (commits == 0) aborts = 1;
  }
};

/// Takes the last bytes with the end.
struct gathering_sink : recording_sink {
  using recording_sink::commit;
  asio::awaitable<std::error_code> commit(std::string_view last) {
    std::string const taken(last);
    std::error_code const ec = co_await recording_sink::commit();
    if (!ec) bytes += taken;
    co_return ec;
  }
};

asio::awaitable<void> run(listed_source* from, recording_sink* to, pump_result* out) { *out = co_await pump(*from, *to); }
asio::awaitable<void> run_gathered(listed_source* from, gathering_sink* to, chunk begun, pump_result* out) {
  *out = co_await pump(*from, *to, begun);
}

pump_result pumped(listed_source& from, gathering_sink& to, chunk begun) {
  asio::io_context io;
  pump_result r;
  asio::co_spawn(io, run_gathered(&from, &to, begun, &r), asio::detached);
  io.run();
  return r;
}
pump_result pumped(listed_source& from, recording_sink& to) {
  asio::io_context io;
  pump_result r;
  asio::co_spawn(io, run(&from, &to, &r), asio::detached);
  io.run();
  return r;
}

}  // namespace

TEST_CASE("a body arrives whole and is committed once") {
  for (auto const& pieces : std::vector<std::vector<std::string>>{{"abc", "def"}, {"abcdef"}, {"abc", "", "def", ""}}) {
    listed_source from{pieces};
    recording_sink to;
    pump_result const r = pumped(from, to);
    CHECK(bool(r));
    CHECK(r.bytes == 6);
    CHECK(to.bytes == "abcdef");
    CHECK(to.commits == 1);
    CHECK(to.aborts == 0);
  }
}
TEST_CASE("whichever read fails, the sink is aborted and never committed") {
  for (std::size_t n = 1; n <= 3; ++n) {
    CAPTURE(n);
    listed_source from{{"a", "b", "c"}, n};
    recording_sink to;
    pump_result const r = pumped(from, to);
    CHECK(r.source_error == std::errc::connection_reset);
    CHECK_FALSE(r.sink_error);
    CHECK(to.commits == 0);
    CHECK(to.aborts == 1);
    CHECK(r.bytes == n - 1);
  }
}
TEST_CASE("whichever operation of the sink fails, the source is left alone") {
  for (std::size_t n = 1; n <= 4; ++n) {
    CAPTURE(n);
    listed_source from{{"a", "b", "c"}};
    recording_sink to;
    to.fail_at = n;
    pump_result const r = pumped(from, to);
    CHECK(bool(r.sink_error));
    CHECK(to.commits == 0);
    CHECK(to.aborts == 1);
    CHECK(from.reads <= n);
  }
}

TEST_CASE("what was read before is sent first, and the last bytes go with the end where the sink takes them so") {
  for (std::size_t fail_at = 0; fail_at <= 3; ++fail_at) {
    CAPTURE(fail_at);
    listed_source from{{"b", "c"}};
    gathering_sink to;
    to.fail_at = fail_at;
    chunk begun;
    begun.bytes = "a";
    auto const r = pumped(from, to, begun);
    bool const whole = fail_at == 0;
    CHECK(static_cast<bool>(r) == whole);
    CHECK(to.operations == (whole ? 3 : fail_at));  // two writes, and the end
    CHECK(to.commits == (whole ? 1 : 0));
    CHECK(to.aborts == (whole ? 0 : 1));
    if (whole) CHECK(to.bytes == "abc");
    CHECK(r.bytes == (whole ? 3 : fail_at - 1));
  }
  listed_source from{{"never read"}};
  gathering_sink to;
  chunk all;
  all.bytes = "all";
  all.end = true;
  auto const r = pumped(from, to, all);
  CHECK(static_cast<bool>(r));
  CHECK(r.bytes == 3);
  CHECK(to.bytes == "all");
  CHECK(to.operations == 1);
  CHECK(from.reads == 0);
}

}  // namespace mgw::body::pump_test
