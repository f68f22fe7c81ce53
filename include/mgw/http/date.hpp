#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mgw::http {

/// The length of an HTTP date as it is written: `Sun, 06 Nov 1994 08:49:37 GMT`.
constexpr std::size_t date_length = 29;

/// Reads an HTTP date in any of the three forms of RFC 9110 5.6.7 and returns seconds since 1970, UTC.
///
/// Strict: exact case, exact blanks, real days only, and the weekday must be the date's. In the RFC 850 form, which
/// has two digits for the year, the weekday tells 19xx from 20xx (36525 days are no whole weeks), so no clock is
/// needed. A leap second (`:60`) counts as the second after it. nullopt: anything else; such a field is ignored.
std::optional<std::int64_t> parse_date(std::string_view text) noexcept;

/// Writes an IMF-fixdate without terminator. Times outside the years 0 to 9999 are clamped to them.
void format_date(std::int64_t unix_seconds, char (&out)[date_length]) noexcept;
/// The same as a string.
std::string format_date(std::int64_t unix_seconds);

namespace date_detail {

constexpr std::string_view short_days[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
constexpr std::string_view long_days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
constexpr std::string_view months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/// Takes a date apart from the left. After the first part that is not there `ok` is false and stays so.
struct reader {
  std::string_view text;
  bool ok = true;

  void literal(std::string_view s) noexcept {
    ok = ok && text.starts_with(s);
    if (ok) text.remove_prefix(s.size());
  }
  int number(std::size_t digits) noexcept {
    int n = 0;
    ok = ok && text.size() >= digits;
    for (std::size_t i = 0; ok && i < digits; ++i) {
      ok = text[i] >= '0' && text[i] <= '9';
      if (ok) n = n * 10 + (text[i] - '0');
    }
    if (ok) text.remove_prefix(digits);
    return n;
  }
  template <std::size_t N>
  unsigned name(std::string_view const (&names)[N]) noexcept {
    for (unsigned i = 0; ok && i < N; ++i)
      if (text.starts_with(names[i])) {
        text.remove_prefix(names[i].size());
        return i;
      }
    ok = false;
    return 0;
  }
};

struct parts {
  unsigned weekday = 0, month = 0;  // from 0
  int day = 0, year = 0, hour = 0, minute = 0, second = 0;
};

inline void read_time(reader& r, parts& p) noexcept {
  p.hour = r.number(2);
  r.literal(":");
  p.minute = r.number(2);
  r.literal(":");
  p.second = r.number(2);
}

inline std::optional<std::int64_t> to_seconds(parts const& p) noexcept {
  std::chrono::year_month_day const date{std::chrono::year(p.year), std::chrono::month(p.month + 1),
                                         std::chrono::day(static_cast<unsigned>(p.day))};
  if (!date.ok() || p.hour > 23 || p.minute > 59 || p.second > 60) return std::nullopt;
  std::chrono::sys_days const days = date;
  if (std::chrono::weekday(days).c_encoding() != p.weekday) return std::nullopt;
  return std::int64_t{days.time_since_epoch().count()} * 86400 + p.hour * 3600 + p.minute * 60 + p.second;
}

}  // namespace date_detail

inline std::optional<std::int64_t> parse_date(std::string_view text) noexcept {
  using namespace date_detail;
  parts p;
  reader r{text};
  if (text.size() > 3 && text[3] == ',') {  // Sun, 06 Nov 1994 08:49:37 GMT
    p.weekday = r.name(short_days);
    r.literal(", ");
    p.day = r.number(2);
    r.literal(" ");
    p.month = r.name(months);
    r.literal(" ");
    p.year = r.number(4);
    r.literal(" ");
    read_time(r, p);
    r.literal(" GMT");
  } else if (text.size() > 3 && text[3] == ' ') {  // Sun Nov  6 08:49:37 1994
    p.weekday = r.name(short_days);
    r.literal(" ");
    p.month = r.name(months);
    r.literal(" ");
    bool const one_digit = r.text.starts_with(' ');
    if (one_digit) r.literal(" ");
    p.day = r.number(one_digit ? 1 : 2);
    r.literal(" ");
    read_time(r, p);
    r.literal(" ");
    p.year = r.number(4);
  } else {  // Sunday, 06-Nov-94 08:49:37 GMT
    p.weekday = r.name(long_days);
    r.literal(", ");
    p.day = r.number(2);
    r.literal("-");
    p.month = r.name(months);
    r.literal("-");
    p.year = 1900 + r.number(2);
    r.literal(" ");
    read_time(r, p);
    r.literal(" GMT");
    if (!r.ok || !r.text.empty()) return std::nullopt;
    if (auto const last_century = to_seconds(p)) return last_century;
    p.year += 100;
  }
  if (!r.ok || !r.text.empty()) return std::nullopt;
  return to_seconds(p);
}

inline void format_date(std::int64_t unix_seconds, char (&out)[date_length]) noexcept {
  using namespace std::chrono;
  constexpr std::int64_t first = -62167219200, last = 253402300799;  // 0000-01-01 00:00:00, 9999-12-31 23:59:59
  sys_seconds const when{seconds(std::clamp(unix_seconds, first, last))};
  sys_days const days = floor<std::chrono::days>(when);
  year_month_day const date(days);
  hh_mm_ss const time(when - days);
  char* at = out;
  auto const text = [&at](std::string_view s) { at = std::copy(s.begin(), s.end(), at); };
  auto const number = [&at](long n, int digits) {
    for (int i = digits; i-- > 0; n /= 10) at[i] = static_cast<char>('0' + n % 10);
    at += digits;
  };
  text(date_detail::short_days[weekday(days).c_encoding()]);
  text(", ");
  number(static_cast<long>(static_cast<unsigned>(date.day())), 2);
  text(" ");
  text(date_detail::months[static_cast<unsigned>(date.month()) - 1]);
  text(" ");
  number(static_cast<int>(date.year()), 4);
  text(" ");
  number(time.hours().count(), 2);
  text(":");
  number(time.minutes().count(), 2);
  text(":");
  number(static_cast<long>(time.seconds().count()), 2);
  text(" GMT");
}

inline std::string format_date(std::int64_t unix_seconds) {
  char text[date_length];
  format_date(unix_seconds, text);
  return std::string(text, date_length);
}

}  // namespace mgw::http
