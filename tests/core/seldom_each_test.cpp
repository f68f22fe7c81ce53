#include <mgw/core/seldom_each.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <string>

namespace mgw::seldom_each_test {

TEST_CASE("each name is let through once in so much time, whatever others do") {
  seldom_each s(std::chrono::seconds(60), 10);
  auto const t = seldom_each::clock::now();
  CHECK(s.due("a", t));
  CHECK(s.due("b", t));
  CHECK_FALSE(s.due("a", t + std::chrono::seconds(59)));
  CHECK(s.due("a", t + std::chrono::seconds(60)));
  CHECK_FALSE(s.due("a", t + std::chrono::seconds(61)));
}

TEST_CASE("limit: names that are remembered; the ones beyond share one, until others are forgotten") {
  seldom_each s(std::chrono::seconds(60), 2);
  auto const t = seldom_each::clock::now();
  CHECK(s.due("a", t));
  CHECK(s.due("b", t));
  CHECK(s.due("c", t));
  CHECK_FALSE(s.due("d", t));
  CHECK_FALSE(s.due("a", t));
  auto const later = t + std::chrono::seconds(60);
  CHECK(s.due("d", later));
  CHECK(s.due("e", later));
  CHECK_FALSE(s.due("d", later));
}

}  // namespace mgw::seldom_each_test
