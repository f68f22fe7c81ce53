#include "periodic.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>

namespace gateway {

TEST_CASE("what is done now and then is done again after an exception") {
  std::promise<void> third;
  std::atomic<int> n = 0;
  {
    periodic const p(std::chrono::milliseconds(1), [&] {
      if (++n == 3) third.set_value();
      throw std::runtime_error("no matter");
    });
    third.get_future().wait();
  }
  CHECK(n >= 3);
}
TEST_CASE("what is done now and then ends without waiting for its next time") {
  std::atomic<int> n = 0;
  {
    periodic const p(std::chrono::hours(24), [&n] { ++n; });
  }
  CHECK(n == 0);
}

}  // namespace gateway
