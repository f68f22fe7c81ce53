#include <mgw/mender/base64.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender::base64_test {

TEST_CASE("base64url is written and read back, at every length") {
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    std::string const text = encode_base64url(bytes);
    CHECK(text.size() == (bytes.size() * 4 + 2) / 3);
    auto const back = decode_base64url(text);
    REQUIRE(back.has_value());
    CHECK(*back == bytes);
    bytes.push_back(static_cast<char>(i * 37));
  }
}

TEST_CASE("the examples of RFC 4648 section 10") {
  for (auto const& [plain, text] : {std::pair<std::string_view, std::string_view>{"", ""},
                                    {"f", "Zg=="},
                                    {"fo", "Zm8="},
                                    {"foo", "Zm9v"},
                                    {"foob", "Zm9vYg=="},
                                    {"fooba", "Zm9vYmE="},
                                    {"foobar", "Zm9vYmFy"}}) {
    CHECK(decode_base64(text).value_or("?") == plain);
    std::string_view const bare = text.substr(0, text.find('='));
    CHECK(encode_base64url(plain) == bare);
    CHECK(decode_base64url(bare).value_or("?") == plain);
  }
  CHECK(encode_base64url("\xFB\xFF\xFE") == "-__-");
  CHECK(decode_base64("+//+").value_or("?") == "\xFB\xFF\xFE");
}

TEST_CASE("other spellings are refused") {
  for (std::string_view const bad : {"Z", "Zg==", "Zm9vYg==", "Zh", "Zm9", "Zm9v ", " Zm9v", "Zm9\n", "Zm+v", "Zm/v",
                                     "Zm9vZ", "Zm9v=", "Zm9v\xC3\xA4"}) {
    CAPTURE(bad);
    CHECK_FALSE(decode_base64url(bad).has_value());
  }
  for (std::string_view const bad :
       {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=", "==", "====", "Z===", "Zm8=Zm8=", "Zm-v", "Zm_v", "Zm9v\n"}) {
    CAPTURE(bad);
    CHECK_FALSE(decode_base64(bad).has_value());
  }
  for (int c = 0; c < 256; ++c) {
    bool const is_digit = base64url_alphabet.find(static_cast<char>(c)) != std::string_view::npos;
    CHECK(is_base64url_char(static_cast<char>(c)) == is_digit);
  }
}

}  // namespace mgw::mender::base64_test
