#include <mgw/proxy/answer_text.hpp>

#include <doctest/doctest.h>

#include <string>

namespace mgw::proxy::answer_text_test {

TEST_CASE("an upstream's refusal is told with its host, and with its clock where that is far from ours") {
  http::response_head head;
  head.status = 403;
  CHECK(answer_text(head, "storage.test", 0) == "status 403 of storage.test");
  CHECK(answer_text(head, "", 0) == "status 403");
  head.fields.add("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
  constexpr std::int64_t then = 784'111'777;
  CHECK(answer_text(head, "a", then) == "status 403 of a");
  CHECK(answer_text(head, "a", then + 29) == "status 403 of a");
  CHECK(answer_text(head, "a", then + 30) == "status 403 of a, whose clock is 30 s behind ours");
  CHECK(answer_text(head, "a", then - 3'600) == "status 403 of a, whose clock is 3600 s ahead of ours");
  head.fields.add("Age", "3600");  // a cache between has kept it for an hour
  CHECK(answer_text(head, "a", then + 3'600) == "status 403 of a");
  CHECK(answer_text(head, "a", then + 3'630) == "status 403 of a, whose clock is 30 s behind ours");
  http::response_head garbled;
  garbled.status = 404;
  garbled.fields.add("Date", "yesterday");
  CHECK(answer_text(garbled, "a", then) == "status 404 of a");
  for (char const* age : {"", "old", "-1", "99999999999"}) {
    CAPTURE(age);
    http::response_head no_age;
    no_age.status = 404;
    no_age.fields.add("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    no_age.fields.add("Age", age);
    CHECK(answer_text(no_age, "a", then) == "status 404 of a");
  }
}

}  // namespace mgw::proxy::answer_text_test
