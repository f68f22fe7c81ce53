#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/http/uri.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace mgw::cache {

/// When the signature of `u` expires, in unix seconds, as far as its query tells.
///
/// | family (as in `significant_query`) | read from |
/// |---|---|
/// | S3, version 4 | `X-Amz-Date` (`20130524T000000Z`) and `X-Amz-Expires` (seconds) |
/// | Google, version 4 | `X-Goog-Date` and `X-Goog-Expires`, alike |
/// | S3 and Google, version 2 | `Expires` (unix seconds) |
/// | Azure SAS | `se`: a date, or a date and time in UTC; its colons may be percent-encoded |
///
/// Nothing where the link is not signed, is signed in two families, or where a member is absent, malformed, empty or
/// there twice. Pure: the clock is the caller's. Any thread.
std::optional<std::int64_t> signature_expires(http::uri const& u);

namespace link_expiry_detail {

/// Reads from the front of a text; what is not there makes it bad for good.
class reader {
public:
  explicit reader(std::string_view text) noexcept : rest_(text) {}
  bool good() const noexcept { return good_; }
  bool at_end() const noexcept { return good_ && rest_.empty(); }
  bool skip(std::string_view what) noexcept {
    if (!rest_.starts_with(what)) return false;
    rest_.remove_prefix(what.size());
    return true;
  }
  void need(bool there) noexcept { good_ = good_ && there; }
  /// Exactly `n` digits. Precondition: `n` is at most 18.
  std::int64_t digits(std::size_t n) noexcept {
    std::int64_t value = 0;
    for (std::size_t i = 0; i < n; ++i) {
      need(i < rest_.size() && http::uri_detail::is_digit(rest_[i]));
      if (!good_) return 0;
      value = value * 10 + (rest_[i] - '0');
    }
    rest_.remove_prefix(n);
    return value;
  }
  std::size_t size() const noexcept { return rest_.size(); }

private:
  std::string_view rest_;
  bool good_ = true;
};

inline std::optional<std::int64_t> read_number(std::string_view text) noexcept {
  reader r(text);
  r.need(!text.empty() && text.size() <= 18);  // so the sum with a date fits
  std::int64_t const n = r.good() ? r.digits(text.size()) : 0;
  return r.at_end() ? std::optional(n) : std::nullopt;
}

inline std::int64_t read_date(reader& r, std::string_view separator) noexcept {
  std::int64_t const y = r.digits(4);
  r.need(r.skip(separator));
  std::int64_t const m = r.digits(2);
  r.need(r.skip(separator));
  std::int64_t const d = r.digits(2);
  std::chrono::year_month_day const day(std::chrono::year(static_cast<int>(y)),
                                        std::chrono::month(static_cast<unsigned>(m)),
                                        std::chrono::day(static_cast<unsigned>(d)));
  r.need(day.ok());
  return r.good() ? std::int64_t{std::chrono::sys_days(day).time_since_epoch().count()} * 86'400 : 0;
}
inline std::int64_t read_two_digits(reader& r, std::int64_t below) noexcept {
  std::int64_t const n = r.digits(2);
  r.need(n < below);
  return n;
}

/// `20130524T000000Z`. Source: ISO 8601, basic format.
inline std::optional<std::int64_t> read_basic_time(std::string_view text) noexcept {
  reader r(text);
  std::int64_t t = read_date(r, "");
  r.need(r.skip("T"));
  t += read_two_digits(r, 24) * 3600;
  t += read_two_digits(r, 60) * 60;
  t += read_two_digits(r, 60);
  r.need(r.skip("Z"));
  return r.at_end() ? std::optional(t) : std::nullopt;
}

/// `2013-05-24`, `2013-05-24T00:00Z`, `2013-05-24T00:00:00Z`, `2013-05-24T00:00:00.0000000Z`.
inline std::optional<std::int64_t> read_extended_time(std::string_view text) noexcept {
  reader r(text);
  auto const colon = [&r] { return r.skip(":") || r.skip("%3A") || r.skip("%3a"); };
  std::int64_t t = read_date(r, "-");
  if (r.at_end()) return t;
  r.need(r.skip("T"));
  t += read_two_digits(r, 24) * 3600;
  r.need(colon());
  t += read_two_digits(r, 60) * 60;
  if (colon()) {
    t += read_two_digits(r, 60);
    if (r.skip(".")) {
      r.need(r.size() >= 2 && r.size() <= 8);  // up to seven digits and the Z
      if (r.good()) (void)r.digits(r.size() - 1);
    }
  }
  r.need(r.skip("Z"));
  return r.at_end() ? std::optional(t) : std::nullopt;
}

/// The value of the member `name`; nothing if it is not there, or not there once.
inline std::optional<std::string_view> value_of(std::string_view query, std::string_view name) {
  std::optional<std::string_view> value;
  std::size_t times = 0;
  key_detail::for_each_member(query, [&](std::string_view member) {
    if (key_detail::name_of(member) != name) return;
    ++times;
    member.remove_prefix(name.size());
    value = member.substr(member.empty() ? 0 : 1);
  });
  return times == 1 ? value : std::nullopt;
}

inline std::optional<std::int64_t> version_4(std::string_view query, std::string_view date_name,
                                             std::string_view expires_name) {
  auto const date = value_of(query, date_name), expires = value_of(query, expires_name);
  if (!date || !expires) return std::nullopt;
  auto const begins = read_basic_time(*date), life = read_number(*expires);
  if (!begins || !life) return std::nullopt;
  return *begins + *life;
}

}  // namespace link_expiry_detail

inline std::optional<std::int64_t> signature_expires(http::uri const& u) {
  using namespace link_expiry_detail;
  auto const found = key_detail::find_signatures(u.query);
  if (int{found.s3_v4} + int{found.google_v4} + int{found.v2} + int{found.azure} != 1) return std::nullopt;
  if (found.s3_v4) return version_4(u.query, "X-Amz-Date", "X-Amz-Expires");
  if (found.google_v4) return version_4(u.query, "X-Goog-Date", "X-Goog-Expires");
  auto const value = value_of(u.query, found.v2 ? "Expires" : "se");
  if (!value) return std::nullopt;
  return found.v2 ? read_number(*value) : read_extended_time(*value);
}

}  // namespace mgw::cache
