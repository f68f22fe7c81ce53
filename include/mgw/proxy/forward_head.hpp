#pragma once

#include <mgw/http/fields.hpp>
#include <mgw/http/framing.hpp>
#include <mgw/http/hop_by_hop.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/net/address_text.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward_options.hpp>
#include <mgw/upstream/proxy_rules.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mgw::proxy {

/// Fields by which a proxy tells who asked and how: a client's own would be believed. Also with `_` for `-`, which CGI
/// and its kin read as the same.
inline bool says_who_asked(std::string_view name) noexcept {
  constexpr std::string_view prefix = "X-Forwarded-";
  if (http::iequals(name, "Forwarded")) return true;
  if (name.size() < prefix.size()) return false;
  for (std::size_t i = 0; i < prefix.size(); ++i) {
    char const c = name[i] == '_' ? '-' : name[i];
    if (!http::iequals(std::string_view(&c, 1), prefix.substr(i, 1))) return false;
  }
  return true;
}

/// How often a request of this kind may still be forwarded; nothing if there is no bound, or none we understand.
/// Source: RFC 9110 7.6.2: of OPTIONS and TRACE alone.
inline std::optional<std::uint64_t> max_forwards(http::request_head const& r) noexcept {
  if (r.method != "OPTIONS" && r.method != "TRACE") return std::nullopt;
  auto const text = r.fields.value("Max-Forwards");
  std::uint64_t n = 0;
  if (text.empty() || http::detail::read_length(text, n) != http::detail::no_error) return std::nullopt;
  return n;
}

/// The protocol that the client asks to switch to and may: one of `options.upgrades`, or empty. Not from HTTP/1.0, nor
/// with a body on the way: its rest and the new protocol's first bytes could be told apart by one side only.
/// Source: RFC 9110 7.8.
inline std::string_view asked_upgrade(exchange const& x, forward_options const& options) noexcept {
  auto const& r = x.request();
  bool const asks = r.minor != 0 && x.request_framing().kind == http::body_kind::none && r.fields.contains("Upgrade") &&
                    r.fields.list_contains("Connection", "upgrade");
  if (!asks) return {};
  for (auto const& protocol : options.upgrades)
    if (r.fields.list_contains("Upgrade", protocol)) return protocol;
  return {};
}

/// Whether the request came through us before: our own name stands in Via. Source: RFC 9110 7.6.3.
inline bool is_loop(http::fields const& fields, std::string_view pseudonym) noexcept {
  for (auto const& f : fields) {
    if (!http::iequals(f.name, "Via")) continue;
    for (std::string_view rest = f.value; !rest.empty();) {  // protocol, blanks, name, blanks, comment
      std::string_view member = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(rest.size(), member.size() + 1));
      member = http::trim(member);
      member = http::trim(member.substr(std::min(member.size(), member.find_first_of(" \t"))));
      if (http::iequals(member.substr(0, member.find_first_of(" \t")), pseudonym)) return true;
    }
  }
  return false;
}

/// What is added to the Via of a message that came as HTTP/1.`minor`.
inline std::string via(int minor, std::string_view pseudonym) {
  std::string out(minor == 0 ? "1.0 " : "1.1 ");
  return out.append(pseudonym);
}

namespace detail {

inline void append_forwarded(std::string& out, exchange const& x, forward_options const& options, bool trusted) {
  auto const& fields = x.request().fields;
  out.append("X-Forwarded-For: ");
  if (trusted)
    for (auto const& f : fields)
      if (http::iequals(f.name, "X-Forwarded-For") && !f.value.empty()) out.append(f.value).append(", ");
  out.append(net::address_text(x.peer().address.address())).append("\r\n");
  constexpr std::string_view proto = "X-Forwarded-Proto";
  // Without trust, or where it is dropped, the client's own does not pass.
  bool const passed =
      trusted && fields.contains(proto) && !(options.drop_request_field && options.drop_request_field(proto));
  if (!passed)
    http::append_known_field(out, proto, x.peer().tls ? "https" : "http");
}

/// Whether a field of the request goes upstream as it is.
inline bool passes(http::field const& f, exchange const& x, forward_options const& options, bool trusted) {
  // Expectations in other spellings than ours have made servers take a body for the next request.
  if (http::iequals(f.name, "Host") || http::iequals(f.name, "Content-Length") || http::iequals(f.name, "Expect"))
    return false;
  if (http::is_hop_by_hop(f.name, x.request().fields)) return false;
  if (says_who_asked(f.name) && (!trusted || http::iequals(f.name, "X-Forwarded-For"))) return false;
  return !options.drop_request_field || !options.drop_request_field(f.name);
}

}  // namespace detail

/// What a request becomes on its way: end-to-end fields as they came, those of this hop made anew.
struct forward_head {
  http::framing framing;          ///< of the body that will be sent
  bool expect = false;            ///< the client's expectation is passed on
  std::string_view upgrade = {};  ///< the protocol that is asked for
  upstream::http_proxy const* proxy = nullptr;  ///< whom it is sent to instead of the upstream
};

/// Writes the request's head for the upstream into `out`. Source: RFC 9112 3.2.1 and 3.2.2 (the target's form), RFC 9110 7.6, 10.1.1.
inline void append_forward_head(std::string& out, exchange const& x, forward_options const& options,
                                forward_call const& call, forward_head const& head) {
  auto const& r = x.request();
  bool const trusted = options.trusts && options.trusts(x.peer());
  auto const hops = max_forwards(r);
  out.append(r.method).append(" ");
  bool const all = x.target().path == "*";
  if (head.proxy != nullptr) out.append("http://").append(options.host);
  if (!all) out.append(options.path_prefix);
  if (!all || head.proxy == nullptr) out.append(x.target().path);
  if (x.target().has_query) out.append("?").append(x.target().query);
  out.append(" HTTP/1.1\r\n");
  http::append_field(out, "Host", options.host);
  if (head.proxy != nullptr && !head.proxy->authorization.empty())
    http::append_field(out, "Proxy-Authorization", head.proxy->authorization);
  for (auto const& f : r.fields) {
    if (!detail::passes(f, x, options, trusted)) continue;
    if (call.want_identity && http::iequals(f.name, "Accept-Encoding")) continue;
    if (!call.without.empty() && http::iequals(f.name, call.without)) continue;
    if (hops && http::iequals(f.name, "Max-Forwards")) continue;
    http::append_known_field(out, f.name, f.value);
  }
  if (call.want_identity) http::append_known_field(out, "Accept-Encoding", "identity");
  detail::append_forwarded(out, x, options, trusted);
  http::append_field(out, "Via", via(r.minor, options.pseudonym));
  if (!head.upgrade.empty()) {
    http::append_field(out, "Connection", "Upgrade");
    http::append_field(out, "Upgrade", head.upgrade);
  }
  if (hops) http::append_field(out, "Max-Forwards", std::max<std::uint64_t>(*hops, 1) - 1);
  if (head.expect) http::append_field(out, "Expect", "100-continue");
  if (!call.extra.name.empty()) http::append_field(out, call.extra.name, call.extra.value);
  if (head.framing.kind == http::body_kind::length)
    http::append_field(out, "Content-Length", head.framing.length);
  else if (head.framing.kind == http::body_kind::chunked)
    http::append_field(out, "Transfer-Encoding", "chunked");
  http::end_head(out);
}

/// An interim response as it is passed on: fields of this hop and of framing left out. Source: RFC 9110 15.2.
inline std::string interim_head(http::response_head const& r) {
  std::string out;
  http::append_status_line(out, r.status, r.reason);
  for (auto const& f : r.fields)
    if (!http::iequals(f.name, "Content-Length") && !http::is_hop_by_hop(f.name, r.fields))
      http::append_field(out, f.name, f.value);
  http::end_head(out);
  return out;
}

}  // namespace mgw::proxy
