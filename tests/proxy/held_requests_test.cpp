#include <mgw/proxy/held_requests.hpp>

#include <mgw/proxy/object_reader.hpp>

#include <doctest/doctest.h>

#include <asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

namespace mgw::proxy::held_requests_test {
namespace {

cache::link_id link(unsigned char n) {
  cache::link_id id;
  id.bytes[0] = n;
  return id;
}
/// One who is held, and counts how often he was told to end.
struct guest {
  int ended = 0;
  std::optional<held_requests::place> place;
  guest(held_requests& all, asio::io_context& io, std::optional<cache::link_id> const& l = std::nullopt) {
    place.emplace(all, io.get_executor(), l, [](void* self) noexcept { ++static_cast<guest*>(self)->ended; }, this);
  }
};
void run(asio::io_context& io) {
  io.restart();
  io.poll();
}

}  // namespace

TEST_CASE("so many are held; for one more the longest-held ends") {
  asio::io_context io;
  held_requests all(2, std::chrono::milliseconds(0));
  guest a(all, io), b(all, io);
  run(io);
  CHECK(a.ended == 0);
  guest c(all, io);
  run(io);
  CHECK(a.ended == 1);
  CHECK(all.size() == 2);
  b.place.reset();
  guest d(all, io);
  run(io);
  CHECK(c.ended == 0);
  CHECK(all.end_longest());
  run(io);
  CHECK(c.ended == 1);
  CHECK(a.ended == 1);
  CHECK(all.end_longest());
  CHECK_FALSE(all.end_longest());
  CHECK(all.size() == 0);
}

TEST_CASE("a client that asks again on its link replaces its own request, and nobody else's") {
  asio::io_context io;
  held_requests all(10, std::chrono::milliseconds(0));
  guest a(all, io, link(1)), b(all, io, link(2)), nobody(all, io);
  guest again(all, io, link(1));
  run(io);
  CHECK(a.ended == 1);
  CHECK(b.ended == 0);
  CHECK(nobody.ended == 0);
  a.place.reset();  // its end is not that of its follower
  guest third(all, io, link(1));
  run(io);
  CHECK(again.ended == 1);
  CHECK(third.ended == 0);
  CHECK(all.size() == 3);
}

TEST_CASE("several that come on one link at once are several clients") {
  asio::io_context io;
  held_requests all(3, std::chrono::hours(1));
  guest a(all, io, link(1)), b(all, io, link(1)), c(all, io, link(1));
  b.place.reset();
  run(io);
  CHECK(a.ended + b.ended + c.ended == 0);
  CHECK(all.size() == 2);
}

TEST_CASE("a burst on one link ends the longest-held of that link, and nobody else") {
  asio::io_context io;
  reader_options const defaults;
  std::vector<std::unique_ptr<guest>> others, burst;
  auto const come = [&](held_requests& all, std::vector<std::unique_ptr<guest>>& where,
                        std::optional<cache::link_id> l) {
    where.push_back(std::make_unique<guest>(all, io, l));
    run(io);
  };
  SUBCASE("of one moment") {
    held_requests all(10, std::chrono::hours(1), 4);
    for (unsigned char i = 1; i <= 5; ++i) come(all, others, link(i));
    come(all, others, std::nullopt);
    for (int i = 0; i < 25; ++i) {
      come(all, burst, link(9));
      for (int k = 0; k <= i; ++k) CHECK(burst[static_cast<std::size_t>(k)]->ended == (i - k >= 4 ? 1 : 0));
    }
    CHECK(all.size() == 10);
    for (auto const& o : others) CHECK(o->ended == 0);
    burst[22]->place.reset();  // makes room on its link
    come(all, burst, link(9));
    CHECK(burst[21]->ended == 0);
    come(all, burst, link(9));
    CHECK(burst[21]->ended == 1);
    CHECK(burst[23]->ended == 0);
    for (auto const& o : others) CHECK(o->ended == 0);
    burst.clear();
    others.clear();
    CHECK(all.size() == 0);
  }
  SUBCASE("while none has been there for long") {
    held_requests all(10, defaults.replaced_after, 4);
    for (unsigned char i = 1; i <= 6; ++i) come(all, others, link(i));
    for (int i = 0; i < 25; ++i) come(all, burst, link(9));
    CHECK(all.size() <= 10);
    CHECK(burst.front()->ended == 1);
    CHECK(burst.back()->ended == 0);
    for (auto const& o : others) CHECK(o->ended == 0);
    burst.clear();
    others.clear();
  }
}

TEST_CASE("one who leaves before the word comes is not told") {
  asio::io_context io;
  held_requests all(1, std::chrono::milliseconds(0));
  auto a = std::make_unique<guest>(all, io);
  guest b(all, io);
  a.reset();
  run(io);
  CHECK(b.ended == 0);
  CHECK(all.size() == 1);
}

TEST_CASE("many threads hold and end at once") {
  held_requests all(5, std::chrono::milliseconds(0));
  std::vector<std::thread> threads;
  for (unsigned char t = 0; t < 4; ++t)
    threads.emplace_back([&all, t] {
      asio::io_context io;
      for (int i = 0; i < 300; ++i) {
        guest a(all, io, link(static_cast<unsigned char>(i % 3))), b(all, io, link(t)), c(all, io);
        if (i % 7 == 0) (void)all.end_longest();
        run(io);
      }
    });
  for (auto& t : threads) t.join();
  CHECK(all.size() == 0);
}

}  // namespace mgw::proxy::held_requests_test
