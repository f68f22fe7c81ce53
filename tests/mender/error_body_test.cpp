#include <mgw/mender/error_body.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>

namespace mgw::mender::error_body_test {

TEST_CASE("an error body is Mender's") {
  CHECK(error_body("upstream does not answer", "id-1") ==
        R"({"error":"upstream does not answer","request_id":"id-1"})");
  CHECK(error_body("no \"id\"\n", "") == R"({"error":"no \"id\"\u000a"})");
  std::string const any = error_body("\xFF\\", "\"}");
  json_scanner json(any);
  CHECK(json.skip());
  CHECK(json.at_end());
}

TEST_CASE("request ids of our own are random UUIDs and valid") {
  std::string const id = make_request_id();
  REQUIRE(id.size() == 36);
  CHECK(is_valid_request_id(id));
  CHECK(id[14] == '4');
  CHECK(std::string_view("89ab").find(id[19]) != std::string_view::npos);
  for (std::size_t const i : {8U, 13U, 18U, 23U}) CHECK(id[i] == '-');
  CHECK(make_request_id() != id);
}

TEST_CASE("request ids from outside are taken only if they are harmless") {
  CHECK(is_valid_request_id("a"));
  CHECK(is_valid_request_id("req_1.2-3"));
  CHECK(is_valid_request_id(std::string(64, 'a')));
  CHECK_FALSE(is_valid_request_id(""));
  CHECK_FALSE(is_valid_request_id(std::string(65, 'a')));
  for (int c = 0; c < 256; ++c) {
    char const ch = static_cast<char>(c);
    bool const good = std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.").find(ch) !=
                      std::string_view::npos;
    CHECK(is_valid_request_id(std::string(1, ch)) == good);
  }
}

}  // namespace mgw::mender::error_body_test
