#include <mgw/core/result.hpp>

#include <doctest/doctest.h>

#include <memory>
#include <ostream>
#include <string>

namespace mgw::result_test {

TEST_CASE("a result holds a value or an error") {
  result<std::string> good{std::string("x")};
  CHECK(bool(good));
  CHECK(*good == "x");
  CHECK(good->size() == 1);
  CHECK_FALSE(good.error());
  result<std::string> bad = std::make_error_code(std::errc::io_error);
  CHECK_FALSE(bool(bad));
  CHECK(bad.error() == std::errc::io_error);
}
TEST_CASE("a result of a move-only value gives it away once") {
  result<std::unique_ptr<int>> r(std::make_unique<int>(7));
  std::unique_ptr<int> const p = *std::move(r);
  CHECK(*p == 7);
}

}  // namespace mgw::result_test
