#include "audit/deliveries.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace gateway::audit::audit_deliveries_test {

namespace {

mgw::cache::key object(unsigned char n) {
  mgw::cache::key::bytes_type bytes{};
  bytes[0] = n;
  return mgw::cache::key(bytes);
}
piece part(std::string device, std::uint64_t from, std::uint64_t sent, bool cut = false, std::uint64_t length = 1000) {
  piece p;
  p.device = std::move(device);
  p.object = object(1);
  p.from = from;
  p.sent = sent;
  p.length = length;
  p.cut = cut;
  return p;
}

}  // namespace

TEST_CASE("an object that is sent in one answer is one whole delivery") {
  deliveries d;
  auto const got = d.take(part("a", 0, 1000));
  REQUIRE(got);
  CHECK(got->whole());
  CHECK(got->pieces == 1);
  CHECK(d.give_up(true).empty());
}
TEST_CASE("thousands of small ranges are one delivery, recorded with the last one") {
  deliveries d;
  for (std::uint64_t at = 0; at != 990; at += 10) CHECK_FALSE(d.take(part("a", at, 10)));
  auto const got = d.take(part("a", 990, 10));
  REQUIRE(got);
  CHECK(got->whole());
  CHECK(got->pieces == 100);
}
TEST_CASE("a download that breaks off is recorded as such, and as whole once the rest went after it") {
  deliveries d;
  auto got = d.take(part("a", 0, 300, true));
  REQUIRE(got);
  CHECK_FALSE(got->whole());
  CHECK(got->to == 300);
  got = d.take(part("a", 250, 750));
  REQUIRE(got);
  CHECK(got->whole());
  CHECK(got->pieces == 2);
  CHECK(d.give_up(true).empty());
}
TEST_CASE("what has a gap, or another length, or comes from elsewhere, is not put together") {
  deliveries d;
  CHECK(d.take(part("a", 0, 300, true)));
  auto got = d.take(part("a", 301, 699));
  REQUIRE(got);
  CHECK_FALSE(got->whole());
  CHECK(got->from == 301);
  CHECK(d.take(part("b", 0, 300, true)));
  got = d.take(part("b", 300, 100, false, 400));
  REQUIRE(got);
  CHECK_FALSE(got->whole());
  CHECK(d.take(part("c", 0, 300, true)));
  got = d.take(part("d", 300, 700));
  REQUIRE(got);
  CHECK_FALSE(got->whole());
}
TEST_CASE("an object of unknown length is never called whole") {
  deliveries d;
  auto const got = d.take(part("a", 0, 300, false, 0));
  REQUIRE(got);
  CHECK_FALSE(got->whole());
}
TEST_CASE("a download that nobody goes on with is given up after its time, or at the end, and told once") {
  auto const start = deliveries::clock::now();
  deliveries d(10, std::chrono::seconds(60));
  CHECK_FALSE(d.take(part("a", 0, 10), start));
  CHECK(d.take(part("b", 0, 10, true), start));  // told already
  CHECK(d.give_up(false, start + std::chrono::seconds(59)).empty());
  auto const gone = d.give_up(false, start + std::chrono::seconds(60));
  REQUIRE(gone.size() == 1);
  CHECK(gone[0].device == "a");
  CHECK(gone[0].what.to == 10);
  CHECK(d.give_up(true).empty());
  CHECK_FALSE(d.take(part("c", 0, 10)));
  CHECK(d.give_up(true).size() == 1);
}
TEST_CASE("of too many downloads under way the least recent are given up") {
  auto const start = deliveries::clock::now();
  deliveries d(8, std::chrono::hours(1));
  for (int i = 0; i != 9; ++i)
    CHECK_FALSE(d.take(part("device " + std::to_string(i), 0, 10), start + std::chrono::seconds(i)));
  CHECK(d.crowded());
  auto const gone = d.give_up(false, start + std::chrono::seconds(9));
  REQUIRE(gone.size() == 2);
  for (auto const& g : gone) CHECK((g.device == "device 0" || g.device == "device 1"));
  CHECK_FALSE(d.crowded());
}

}  // namespace gateway::audit::audit_deliveries_test
