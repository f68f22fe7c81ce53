#include <mgw/proxy/backoff.hpp>

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace mgw::proxy::backoff_test {

using std::chrono::milliseconds;

TEST_CASE("pauses double up to the most, begin anew after progress, and differ by chance") {
  std::set<milliseconds::rep> first_pauses;
  for (unsigned seed = 1; seed <= 50; ++seed) {
    CAPTURE(seed);
    backoff b(milliseconds(100), milliseconds(1'000), seed);
    for (int round = 0; round < 2; ++round) {
      for (int due : {100, 200, 400, 800, 1'000, 1'000, 1'000}) {
        CHECK(b.at_most() == (due == 1'000));
        auto const pause = b.next();
        CHECK(pause > milliseconds(due / 2));
        CHECK(pause <= milliseconds(due + 1));
        if (due == 100) first_pauses.insert(pause.count());
      }
      b.reset();
    }
  }
  CHECK(first_pauses.size() > 20);
}

TEST_CASE("the longest pause is never exceeded, however odd the numbers") {
  backoff b(milliseconds(7), milliseconds(20));
  for (int i = 0; i < 100; ++i) CHECK(b.next() <= milliseconds(21));
  backoff longest(milliseconds(1), milliseconds::max() / 2);  // doubling does not overflow
  for (int i = 0; i < 100; ++i) CHECK(longest.next() > milliseconds(0));
  backoff same(milliseconds(5), milliseconds(5));
  CHECK(same.at_most());
}

TEST_CASE("a fill's pauses grow while nothing comes, and are short again after progress") {
  constexpr std::size_t faults = 12, size = 100'000;
  test::origin origin(test::pattern(size));
  for (std::size_t n = 0; n < 2 * faults; ++n) {
    test::mishap m;  // half of it comes with the answer in the middle
    m.cut_after = n == faults ? size / 2 : 0;
    origin.script(n, m);
  }
  test::temporary_directory directory;
  test::caching_gateway g(directory.path(), origin.authority());  // 2 ms, and 10 ms at most
  auto const r = test::get(g.port(), "/o");
  CHECK(r.status() == 200);
  CHECK((r.whole && r.body == test::pattern(size)));
  std::vector<int> longest;  // ms, of each pause: it is given with what it is due to
  for (std::string const& line : g.log().with("next try from byte ")) {
    auto const at = line.rfind(" in ");
    REQUIRE(at != std::string::npos);
    CHECK(line.ends_with(" ms"));
    longest.push_back(std::stoi(line.substr(at + 4)));
  }
  REQUIRE(longest.size() == 2 * faults);
  for (std::size_t n = 0; n < longest.size(); ++n) {
    CAPTURE(n);
    std::size_t const since = n < faults ? n : n - faults;  // the one with progress is the first of the second half
    int const due = since == 0 ? 2 : since == 1 ? 4 : since == 2 ? 8 : 10;
    CHECK(longest[n] > due / 2);
    CHECK(longest[n] <= due + 1);
  }
}

}  // namespace mgw::proxy::backoff_test
