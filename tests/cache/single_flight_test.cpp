#include <mgw/cache/single_flight.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace mgw::cache::single_flight_test {
namespace {
key key_of(char c) { return *key::from_hex(std::string(64, c)); }
}  // namespace

TEST_CASE("one starts, all others join") {
  single_flight<int> flights;
  std::atomic<int> made{0}, started{0};
  auto const make = [&] {
    ++made;
    return std::make_shared<int>(7);
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        auto const t = flights.join(key_of('a'), make);
        if (t.started) ++started;
      }
    });
  for (auto& t : threads) t.join();
  CHECK(made == 1);
  CHECK(started == 1);
  CHECK(flights.size() == 1);
}

TEST_CASE("keys do not share work, and a finished one is started anew") {
  single_flight<int> flights;
  auto const make = [] { return std::make_shared<int>(0); };
  auto const a = flights.join(key_of('a'), make);
  auto const b = flights.join(key_of('b'), make);
  CHECK(a.work != b.work);
  CHECK(flights.find(key_of('a')) == a.work);
  flights.leave(key_of('a'), a.work.get());
  CHECK(flights.find(key_of('a')) == nullptr);
  auto const again = flights.join(key_of('a'), make);
  CHECK(again.started);
  flights.leave(key_of('a'), a.work.get());  // the old one's late good-bye does not end the new one
  CHECK(flights.find(key_of('a')) == again.work);
  CHECK(flights.all().size() == 2);
}

}  // namespace mgw::cache::single_flight_test
