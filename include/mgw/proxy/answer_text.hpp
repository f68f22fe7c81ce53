#pragma once

#include <mgw/http/date.hpp>
#include <mgw/http/response_parser.hpp>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace mgw::proxy {

/// An upstream's answer that helped nobody, for the log: status and host, and how far its clock is from ours where that
/// is much, since links expire by it; an answer that a cache has kept says for how long. `now`: unix seconds.
/// Source: RFC 9110 6.6.1; RFC 9111 5.1.
inline std::string answer_text(http::response_head const& head, std::string_view host, std::int64_t now) {
  constexpr std::int64_t much = 30;
  std::string out = "status " + std::to_string(head.status);
  if (!host.empty()) out.append(" of ").append(host);
  auto const theirs = http::parse_date(head.fields.value("Date"));
  if (!theirs) return out;
  std::string_view const age = head.fields.value("Age");
  std::uint32_t kept = 0;
  std::from_chars(age.data(), age.data() + age.size(), kept);  // 0 where it is none
  std::int64_t const ahead = *theirs + kept - now;
  if (std::abs(ahead) >= much)
    out +=
        ", whose clock is " + std::to_string(std::abs(ahead)) + " s " + (ahead > 0 ? "ahead of" : "behind") + " ours";
  return out;
}

}  // namespace mgw::proxy
