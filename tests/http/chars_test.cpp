#include <mgw/http/chars.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <string>

namespace mgw::http::chars_test {

TEST_CASE("a span ends at the first byte that is not in the set, wherever that stands") {
  for (chars const set :
       {chars::token, chars::value, chars::target, chars::host, chars::hex, chars::digit, chars::path,
        chars::quoted})
    for (int byte = 0; byte < 256; ++byte) {
      char const c = static_cast<char>(byte);
      for (std::size_t before = 0; before < 10; ++before)
        for (std::size_t after = 0; after < 6; ++after) {
          std::string const text = std::string(before, '7') + c + std::string(after, '7');
          std::size_t const want = is(c, set) ? text.size() : before;
          bool const right = span_of(text, set) == want && all_of(text, set) == (want == text.size());
          CAPTURE(byte);
          CAPTURE(text);
          if (!right) CHECK(span_of(text, set) == want);
        }
    }
  for (int byte = 0; byte < 256; ++byte)
    for (std::size_t at = 0; at < 100; ++at) {  // in a long value, which is looked at in blocks
      std::string text(100, 'v');
      text[at] = static_cast<char>(byte);
      std::size_t const want = is(text[at], chars::value) ? text.size() : at;
      CAPTURE(byte);
      CAPTURE(at);
      if (span_of(text, chars::value) != want) CHECK(span_of(text, chars::value) == want);
    }
  for (int byte = 0; byte < 256; ++byte)
    CHECK(is(static_cast<char>(byte), chars::quoted) == (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\'));
  CHECK(span_of("", chars::token) == 0);
  CHECK(all_of("", chars::token));
}

}  // namespace mgw::http::chars_test
