#include "periodic.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <stdexcept>

namespace gateway::periodic_test {

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
TEST_CASE("what is done now and then is done at once when it is asked for") {
  std::promise<void> once;
  periodic p(std::chrono::hours(24), [&] { once.set_value(); });
  p.wake();
  once.get_future().wait();
}
TEST_CASE("the end of what is done now and then waits for a call that runs, for so long at most") {
  std::promise<void> begun, release;
  periodic p(std::chrono::milliseconds(1), [&, once = false]() mutable {
    if (once) return;
    once = true;
    begun.set_value();
    release.get_future().wait();
  });
  begun.get_future().wait();
  CHECK_FALSE(p.stop_for(std::chrono::milliseconds(1)));
  release.set_value();
  CHECK(p.stop_for(std::chrono::hours(1)));
}

}  // namespace gateway::periodic_test
