#include <mgw/core/recent.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <string>

namespace mgw::recent_test {

TEST_CASE("what was worked out for a text is found by that text alone") {
  recent<int> r;
  CHECK(r.find("a") == nullptr);
  r.keep("a", std::make_shared<int const>(1));
  r.keep("", std::make_shared<int const>(2));
  REQUIRE(r.find("a") != nullptr);
  CHECK(*r.find("a") == 1);
  REQUIRE(r.find("") != nullptr);
  CHECK(*r.find("") == 2);
  CHECK(r.find("A") == nullptr);
  r.keep("a", std::make_shared<int const>(3));
  CHECK(*r.find("a") == 3);
}

TEST_CASE("so many are kept as there are places, and the newer one stays") {
  recent<int> r(1, 4);
  r.keep("a", std::make_shared<int const>(1));
  r.keep("b", std::make_shared<int const>(2));
  CHECK(r.find("a") == nullptr);
  CHECK(*r.find("b") == 2);
  r.keep("12345", std::make_shared<int const>(3));  // too long
  CHECK(r.find("12345") == nullptr);
  CHECK(*r.find("b") == 2);
  r.keep("1234", std::make_shared<int const>(4));
  CHECK(*r.find("1234") == 4);
}

}  // namespace mgw::recent_test
