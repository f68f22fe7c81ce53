#pragma once

#include <mgw/http/date.hpp>
#include <mgw/http/response_parser.hpp>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace mgw::proxy {

/// An upstream's answer that helped nobody, for the log: status and host, and how far its clock is from ours where that
/// is much, since links expire by it. `now`: unix seconds. Source: RFC 9110 6.6.1.
inline std::string answer_text(http::response_head const& head, std::string_view host, std::int64_t now) {
  constexpr std::int64_t much = 30;
  std::string out = "status " + std::to_string(head.status);
  if (!host.empty()) out.append(" of ").append(host);
  auto const theirs = http::parse_date(head.fields.value("Date"));
  if (!theirs) return out;
  std::int64_t const ahead = *theirs - now;
  if (std::abs(ahead) >= much)
    out +=
        ", whose clock is " + std::to_string(std::abs(ahead)) + " s " + (ahead > 0 ? "ahead of" : "behind") + " ours";
  return out;
}

}  // namespace mgw::proxy
