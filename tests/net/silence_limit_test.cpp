#include <mgw/net/silence_limit.hpp>

#include <mgw/core/any_stream.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/tcp_stream.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/tls_stream.hpp>

#include <asio/io_context.hpp>

#include <doctest/doctest.h>

#include <support/memory_stream.hpp>
#include <support/slow_link.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <utility>

namespace mgw::net::silence_limit_test {
namespace {

using std::chrono::seconds;

/// A stream in memory that says what the test lets it say.
struct talking_stream : test::memory_stream {
  std::int64_t const* got;
  talking_stream(test::memory_stream s, std::int64_t const& g) : test::memory_stream(std::move(s)), got(&g) {}
  std::optional<std::int64_t> acknowledged() noexcept { return *got; }
};
static_assert(Stream<talking_stream>);

struct watched {
  asio::io_context io{1};
  deadline_queue deadlines{io.get_executor()};
  deadline_queue::clock::time_point now = deadline_queue::clock::now();
  any_stream stream;
  silence_limit<any_stream> limit{deadlines, stream};

  explicit watched(std::int64_t const& got)
      : stream(talking_stream(test::memory_stream::pair(io.get_executor()).first, got)) {}
  watched() : stream(test::memory_stream::pair(io.get_executor()).first) {}

  void pass(seconds t) {
    for (auto const end = now + t; now < end;) deadlines.advance(now += seconds(1));
  }
};

}  // namespace

TEST_CASE("a silence limit ends nothing that gets on, at whatever rate, and ends what does not") {
  std::int64_t got = 0;
  watched w(got);
  w.limit.arm(seconds(80));
  for (int i = 0; i < 20; ++i) {
    w.pass(seconds(70));
    ++got;
  }
  CHECK_FALSE(w.limit.expired());
  w.pass(seconds(11));  // sees the last one
  w.pass(seconds(68));
  CHECK_FALSE(w.limit.expired());
  w.pass(seconds(14));
  CHECK(w.limit.expired());
  CHECK(w.deadlines.armed() == 0);
}

TEST_CASE("a silence limit over a stream that says nothing of its bytes is a plain one") {
  watched w;
  w.limit.arm(seconds(80));
  w.pass(seconds(79));
  CHECK_FALSE(w.limit.expired());
  w.pass(seconds(3));
  CHECK(w.limit.expired());
}

TEST_CASE("a silence limit that is armed for reading does not look at what was written") {
  std::int64_t got = 0;
  watched w(got);
  w.limit.arm(seconds(80));
  w.limit.arm_plain(seconds(20));
  for (int i = 0; i < 22 && !w.limit.expired(); ++i, ++got) w.pass(seconds(1));
  CHECK(w.limit.expired());
}

TEST_CASE("a disarmed silence limit does nothing, and can be armed again") {
  std::int64_t got = 0;
  watched w(got);
  w.limit.arm(seconds(8));
  w.pass(seconds(5));
  w.limit.disarm();
  w.pass(seconds(100));
  CHECK_FALSE(w.limit.expired());
  CHECK(w.deadlines.armed() == 0);
  w.limit.arm(seconds(8));
  w.pass(seconds(11));
  CHECK(w.limit.expired());
}

TEST_CASE("a socket says what its peer has got, under TLS, too; a stream in memory does not") {
  test::slow_link plain(1 << 18), secured(1 << 18);
  any_stream tcp{tcp_stream(std::move(plain.near))};
  CHECK(tcp.acknowledged() == 0);
  CHECK(plain.taken.empty());
  any_stream tls{
      tls_stream<tcp_stream>(tcp_stream(std::move(secured.near)), tls_context::client({}), tls_role::client)};
  CHECK(tls.acknowledged() == 0);
  asio::io_context io(1);
  any_stream memory{test::memory_stream::pair(io.get_executor()).first};
  CHECK_FALSE(memory.acknowledged());
}

}  // namespace mgw::net::silence_limit_test
