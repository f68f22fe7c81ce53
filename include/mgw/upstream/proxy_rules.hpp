#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/upstream/endpoint.hpp>

#include <asio/ip/address.hpp>

#include <openssl/evp.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::upstream {

/// An HTTP proxy, and what it is told of who asks.
struct http_proxy {
  endpoint where;             ///< without TLS
  std::string authorization;  ///< the value of Proxy-Authorization; empty: none

  /// Reads `http://[USER[:PASSWORD]@]HOST[:PORT]`, as in `HTTP_PROXY`; user and password percent-encoded, `http://` may
  /// be left out, port 80. Error: std::errc::invalid_argument; also for other kinds of proxies.
  static result<http_proxy> parse(std::string_view text);
};

/// Which connections go through a proxy, and which one: the rules behind `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
///
/// An entry of `NO_PROXY`, separated by commas or blanks, is a host and the names below it, `.suffix` (also `*.suffix`)
/// for the names below alone, an address, a CIDR block, or `*` for all; hosts and addresses may have a port. Blocks and
/// addresses are held against hosts that are addresses, no name is looked up. `localhost` and loopback addresses are
/// never reached through a proxy. Source: Go's golang.org/x/net/http/httpproxy, whose rules users of the original know.
/// Thread rule: constant after construction; any thread.
class proxy_rules {
public:
  proxy_rules() = default;
  proxy_rules(std::optional<http_proxy> http, std::optional<http_proxy> https, std::string_view no_proxy);

  bool empty() const noexcept { return !http_ && !https_; }
  /// The proxy for connections to `to`; null: none. Valid as long as the rules.
  http_proxy const* of(endpoint const& to) const {
    auto const& proxy = to.tls ? https_ : http_;
    return proxy && !goes_directly(to) ? &*proxy : nullptr;
  }

private:
  struct exception {
    std::string host;  // lower case; `.suffix`; empty: the block counts
    bool below_too = false;
    std::optional<asio::ip::address> block;
    unsigned bits = 0;  // of the block's address that count
    std::optional<std::uint16_t> port;
  };
  static std::string lower(std::string_view text) {
    std::string out(text);
    for (char& c : out)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (out.ends_with('.')) out.pop_back();
    return out;
  }
  static asio::ip::address plain(asio::ip::address const& a) {
    if (a.is_v6() && a.to_v6().is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, a.to_v6());
    return a;
  }
  static bool in_block(asio::ip::address const& a, exception const& e);
  void add(std::string_view text);
  bool goes_directly(endpoint const& to) const;

  std::optional<http_proxy> http_, https_;
  bool none_ = false;
  std::vector<exception> exceptions_;
};

namespace detail {

/// Undoes percent-encoding. Error: std::errc::invalid_argument.
inline result<std::string> percent_decoded(std::string_view text) {
  auto const digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    int const high = i + 2 < text.size() ? digit(text[i + 1]) : -1, low = high < 0 ? -1 : digit(text[i + 2]);
    if (low < 0) return std::make_error_code(std::errc::invalid_argument);
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

}  // namespace detail

inline result<http_proxy> http_proxy::parse(std::string_view text) {
  auto const refused = std::make_error_code(std::errc::invalid_argument);
  auto const scheme = text.find("://");
  if (scheme != text.npos) {
    if (!http::iequals(text.substr(0, scheme), "http")) return refused;
    text.remove_prefix(scheme + 3);
  }
  text = text.substr(0, text.find_first_of("/?#"));
  http_proxy out;
  if (auto const at = text.rfind('@'); at != text.npos) {
    std::string_view const info = text.substr(0, at);
    text.remove_prefix(at + 1);
    auto const colon = info.find(':');
    auto const user = detail::percent_decoded(info.substr(0, colon));
    auto const password = detail::percent_decoded(colon == info.npos ? std::string_view() : info.substr(colon + 1));
    if (!user || !password || user->find(':') != user->npos) return refused;  // RFC 7617 2
    std::string const both = *user + ':' + *password;
    if (both.size() > 4096) return refused;
    std::string coded((both.size() + 2) / 3 * 4 + 1, '\0');
    int const length =
        ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(coded.data()),
                          reinterpret_cast<unsigned char const*>(both.data()), static_cast<int>(both.size()));
    coded.resize(static_cast<std::size_t>(length));
    out.authorization = "Basic " + coded;
  }
  std::string const url = "http://" + std::string(text);
  auto const where = http::parse_uri(url);
  if (!where) return refused;
  out.where = endpoint(*where);
  return out;
}

inline proxy_rules::proxy_rules(std::optional<http_proxy> http, std::optional<http_proxy> https,
                                std::string_view no_proxy)
    : http_(std::move(http)), https_(std::move(https)) {
  constexpr std::string_view between = ", \t\r\n;";
  while (!no_proxy.empty()) {
    auto const end = std::min(no_proxy.find_first_of(between), no_proxy.size());
    if (end != 0) add(no_proxy.substr(0, end));
    no_proxy.remove_prefix(std::min(end + 1, no_proxy.size()));
  }
}

inline void proxy_rules::add(std::string_view text) {
  if (text == "*") {
    none_ = true;
    return;
  }
  exception e;
  std::error_code ec;
  if (auto const slash = text.find('/'); slash != text.npos) {
    auto const address = asio::ip::make_address(std::string(text.substr(0, slash)), ec);
    std::string_view const bits = text.substr(slash + 1);
    auto const [end, bad] = std::from_chars(bits.data(), bits.data() + bits.size(), e.bits);
    if (ec || bad != std::errc() || end != bits.data() + bits.size() || e.bits > (address.is_v4() ? 32u : 128u)) return;
    e.block = address;
    exceptions_.push_back(std::move(e));
    return;
  }
  auto const bare = asio::ip::make_address(std::string(text), ec);
  bool const bare_v6 = !ec && bare.is_v6();
  auto const colon = text.rfind(':');
  if (!bare_v6 && colon != text.npos && text.find(']') + 1 <= colon + 1) {
    std::uint16_t port = 0;
    std::string_view const digits = text.substr(colon + 1);
    auto const [end, bad] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
    if (!digits.empty() && bad == std::errc() && end == digits.data() + digits.size()) {
      e.port = port;
      text = text.substr(0, colon);
    }
  }
  if (text.starts_with('[') && text.ends_with(']')) text = text.substr(1, text.size() - 2);
  if (auto const address = asio::ip::make_address(std::string(text), ec); !ec) {
    e.block = plain(address);
    e.bits = e.block->is_v4() ? 32 : 128;
  } else {
    if (text.starts_with("*.")) text.remove_prefix(1);
    e.host = lower(text);
    if (e.host.empty() || e.host == ".") return;
    e.below_too = !e.host.starts_with('.');
  }
  exceptions_.push_back(std::move(e));
}

inline bool proxy_rules::in_block(asio::ip::address const& a, exception const& e) {
  if (a.is_v4() != e.block->is_v4()) return false;
  auto const equal = [&e](auto const& x, auto const& y) {
    for (unsigned i = 0; i < e.bits; ++i)
      if (((x[i / 8] ^ y[i / 8]) >> (7 - i % 8) & 1) != 0) return false;
    return true;
  };
  return a.is_v4() ? equal(a.to_v4().to_bytes(), e.block->to_v4().to_bytes())
                   : equal(a.to_v6().to_bytes(), e.block->to_v6().to_bytes());
}

inline bool proxy_rules::goes_directly(endpoint const& to) const {
  if (none_) return true;
  std::string const host = lower(to.host);
  if (host == "localhost") return true;
  std::error_code not_numeric;
  auto const address = plain(asio::ip::make_address(host, not_numeric));
  if (!not_numeric && address.is_loopback()) return true;
  for (exception const& e : exceptions_) {
    if (e.port && *e.port != to.port) continue;
    if (e.block) {
      if (!not_numeric && in_block(address, e)) return true;
    } else if (host == e.host) {
      return true;
    } else if (host.size() > e.host.size() && host.ends_with(e.host) &&
               (!e.below_too || host[host.size() - e.host.size() - 1] == '.')) {
      return true;
    }
  }
  return false;
}

}  // namespace mgw::upstream
