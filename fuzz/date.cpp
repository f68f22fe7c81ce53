// Properties of dates: what is written reads the same; what is read is one of the three forms of its time, written by
// the C library. Input: 8 bytes, a time; then the text of a date.
#include "property.hpp"

#include <mgw/http/date.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

constexpr char const* short_days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr char const* long_days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr char const* months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

bool is_form_of(std::string_view text, std::int64_t t, bool leap) {
  std::time_t const when = static_cast<std::time_t>(leap ? t - 1 : t);
  std::tm d{};
  must(gmtime_r(&when, &d) != nullptr, "a date is a time");
  int const year = d.tm_year + 1900, second = leap ? d.tm_sec + 1 : d.tm_sec;
  char forms[4][96];
  std::snprintf(forms[0], sizeof forms[0], "%s, %02d %s %04d %02d:%02d:%02d GMT", short_days[d.tm_wday], d.tm_mday,
                months[d.tm_mon], year, d.tm_hour, d.tm_min, second);
  std::snprintf(forms[1], sizeof forms[1], "%s, %02d-%s-%02d %02d:%02d:%02d GMT", long_days[d.tm_wday], d.tm_mday,
                months[d.tm_mon], year % 100, d.tm_hour, d.tm_min, second);
  std::snprintf(forms[2], sizeof forms[2], "%s %s %2d %02d:%02d:%02d %04d", short_days[d.tm_wday], months[d.tm_mon],
                d.tm_mday, d.tm_hour, d.tm_min, second, year);
  std::snprintf(forms[3], sizeof forms[3], "%s %s %02d %02d:%02d:%02d %04d", short_days[d.tm_wday], months[d.tm_mon],
                d.tm_mday, d.tm_hour, d.tm_min, second, year);
  return std::any_of(std::begin(forms), std::end(forms), [text](char const* f) { return text == f; });
}

void check(std::string_view input) {
  std::uint64_t bits = 0;
  for (int i = 0; i < 8 && !input.empty(); ++i) {
    bits = bits << 8 | static_cast<unsigned char>(input[0]);
    input.remove_prefix(1);
  }
  constexpr std::int64_t first = -62167219200, last = 253402300799;  // the years 0 to 9999
  auto const any = static_cast<std::int64_t>(bits);
  for (std::int64_t const t : {any, any % (last + 1)}) {
    auto const back = http::parse_date(http::format_date(t));
    must(back && *back == std::clamp(t, first, last), "a date that is written reads the same");
    must(is_form_of(http::format_date(t), *back, false), "a date is written as the C library writes it");
  }
  exact_copy const text(input);
  auto const t = http::parse_date(text.view());
  if (!t) return;
  must(*t >= first && *t <= last + 1, "a date lies in the years 0 to 9999");  // :60 of the last minute is one more
  must(is_form_of(text.view(), *t, false) || is_form_of(text.view(), *t, true), "what is read is a form of its time");
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
