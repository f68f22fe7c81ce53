#pragma once

#include <mgw/core/result.hpp>
#include <mgw/core/units.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/upstream/token_bucket.hpp>

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

namespace mgw::upstream {

/// Rates by weekday and time of day: `mon-fri 08:00-18:00 512KiB; sat,sun 2MiB; 22:00-06:00 unlimited`.
///
/// ```
/// windows = window *( ";" window )
/// window  = [ days " " ] [ from "-" to " " ] rate
/// days    = day or day "-" day, several separated by ","    sun mon tue wed thu fri sat; fri-mon goes over the weekend
/// from    = HH:MM                                           to: later, or earlier: of the next day; 24:00 is midnight
/// rate    = a size of 1KiB or more in a second, or "unlimited", or "pause" or "0": not a byte
/// ```
/// The first window that is open counts. One that goes over midnight belongs to the day on which it begins. A minute
/// lies in a window from its `from` on and not at its `to`.
class rate_windows {
public:
  static constexpr std::uint64_t least = 1024;  ///< bytes per second; slower is no transfer

  /// Error: std::errc::invalid_argument.
  static result<rate_windows> parse(std::string_view text);

  /// The rate of the window that is open; none: outside of all. `weekday`: from Sunday, 0, as in std::tm; `minute`: of
  /// the day.
  std::optional<std::uint64_t> at(int weekday, int minute) const {
    for (window const& w : all_)
      if (w.open(weekday, minute)) return w.rate;
    return std::nullopt;
  }
  /// The same, now, by the local clock.
  std::optional<std::uint64_t> now() const {
    std::time_t const t = std::time(nullptr);
    std::tm local{};
    if (::localtime_r(&t, &local) == nullptr) return std::nullopt;
    return at(local.tm_wday, local.tm_hour * 60 + local.tm_min);
  }
  bool empty() const noexcept { return all_.empty(); }

private:
  static constexpr int day = 24 * 60;
  struct window {
    std::bitset<7> days = std::bitset<7>().set();
    int from = 0, to = day;  // to < from: over midnight
    std::uint64_t rate = 0;
    bool open(int weekday, int minute) const {
      auto const today = static_cast<std::size_t>(weekday);
      if (from < to) return days[today] && minute >= from && minute < to;
      return (days[today] && minute >= from) || (days[(today + 6) % 7] && minute < to);
    }
  };

  static std::optional<std::size_t> read_day(std::string_view text);
  static bool read_days(std::string_view text, std::bitset<7>& into);
  static bool read_minute(std::string_view text, int& into);
  static bool read_times(std::string_view text, window& into);
  static bool read_rate(std::string_view text, std::uint64_t& into);
  static bool read_window(std::string_view text, window& into);
  static std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
  }

  std::vector<window> all_;
};

inline std::optional<std::size_t> rate_windows::read_day(std::string_view text) {
  constexpr std::array<std::string_view, 7> names = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};
  for (std::size_t i = 0; i < names.size(); ++i)
    if (http::iequals(text, names[i])) return i;
  return std::nullopt;
}

inline bool rate_windows::read_days(std::string_view text, std::bitset<7>& into) {
  into.reset();
  for (;;) {
    auto const end = std::min(text.find(','), text.size());
    auto const one = text.substr(0, end);
    auto const dash = std::min(one.find('-'), one.size());
    auto const first = read_day(one.substr(0, dash));
    auto const last = dash == one.size() ? first : read_day(one.substr(dash + 1));
    if (!first || !last) return false;
    for (std::size_t d = *first;; d = (d + 1) % 7) {
      into.set(d);
      if (d == *last) break;
    }
    if (end == text.size()) return true;
    text.remove_prefix(end + 1);
  }
}

inline bool rate_windows::read_minute(std::string_view text, int& into) {
  auto const digit = [text](std::size_t i) { return text[i] >= '0' && text[i] <= '9' ? text[i] - '0' : 100; };
  if (text.size() != 5 || text[2] != ':') return false;
  int const hour = digit(0) * 10 + digit(1), minute = digit(3) * 10 + digit(4);
  into = hour * 60 + minute;
  return minute < 60 && (hour < 24 || (hour == 24 && minute == 0));
}

inline bool rate_windows::read_times(std::string_view text, window& into) {
  auto const dash = std::min(text.find('-'), text.size());
  if (dash == text.size() || !read_minute(text.substr(0, dash), into.from)) return false;
  return read_minute(text.substr(dash + 1), into.to) && into.from != into.to && into.from != day;
}

inline bool rate_windows::read_rate(std::string_view text, std::uint64_t& into) {
  into = unlimited;
  if (http::iequals(text, "unlimited")) return true;
  into = 0;
  if (text == "0" || http::iequals(text, "pause")) return true;
  auto const size = parse_size(text);
  if (!size || *size < least || *size == unlimited) return false;
  into = *size;
  return true;
}

inline bool rate_windows::read_window(std::string_view text, window& into) {
  text = trimmed(text);
  auto const word = [&] { return text.substr(0, text.find_first_of(" \t")); };
  auto const next = [&] { text = trimmed(text.substr(word().size())); };
  if (read_days(word(), into.days))
    next();
  else
    into.days.set();
  if (word().find(':') != std::string_view::npos) {
    if (!read_times(word(), into)) return false;
    next();
  }
  return read_rate(text, into.rate);
}

inline result<rate_windows> rate_windows::parse(std::string_view text) {
  rate_windows out;
  text = trimmed(text);
  while (!text.empty()) {
    auto const end = std::min(text.find(';'), text.size());
    window w;
    if (!read_window(text.substr(0, end), w)) return std::make_error_code(std::errc::invalid_argument);
    out.all_.push_back(w);
    text = trimmed(text.substr(std::min(end + 1, text.size())));
  }
  if (out.all_.empty()) return std::make_error_code(std::errc::invalid_argument);
  return out;
}

}  // namespace mgw::upstream
