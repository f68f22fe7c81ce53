#pragma once

#include <asio/ip/address.hpp>
#include <asio/ip/network_v4.hpp>
#include <asio/ip/network_v6.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <variant>
#include <vector>

namespace gateway {

/// Addresses and blocks of them: `10.0.0.1`, `10.0.0.0/8`, `fd00::/8`. Thread rule: constant after construction; any
/// thread.
class address_list {
public:
  address_list() = default;

  /// Nothing if one of the items is neither an address nor a block.
  static std::optional<address_list> parse(std::vector<std::string> const& items) {
    address_list out;
    for (std::string const& item : items)
      if (!out.add(item)) return std::nullopt;
    return out;
  }

  bool empty() const noexcept { return blocks_.empty(); }

  /// An IPv4 address in IPv6's form, as a listener of both sees it, counts as the IPv4 address.
  bool contains(asio::ip::address a) const {
    if (a.is_v6() && a.to_v6().is_v4_mapped()) a = asio::ip::make_address_v4(asio::ip::v4_mapped, a.to_v6());
    return std::any_of(blocks_.begin(), blocks_.end(), [&](block const& b) {
      if (auto const* const four = std::get_if<asio::ip::network_v4>(&b))
        return a.is_v4() && four->network() == asio::ip::network_v4(a.to_v4(), four->prefix_length()).network();
      auto const& six = std::get<asio::ip::network_v6>(b);
      auto const bytes = [](asio::ip::network_v6 const& n) { return n.network().to_bytes(); };  // without its scope
      return a.is_v6() && bytes(six) == bytes(asio::ip::network_v6(a.to_v6(), six.prefix_length()));
    });
  }

  /// Who asked, as proxies of this list say in X-Forwarded-For: the last address there that is not of the list, since
  /// what stands before it may be made up. Nothing if there is none, or what stands there is no address.
  std::optional<asio::ip::address> who_asked(std::string_view forwarded_for) const {
    while (!forwarded_for.empty()) {
      auto const comma = forwarded_for.rfind(',');
      std::string_view item = forwarded_for.substr(comma == std::string_view::npos ? 0 : comma + 1);
      forwarded_for = forwarded_for.substr(0, comma == std::string_view::npos ? 0 : comma);
      item.remove_prefix(std::min(item.find_first_not_of(" \t"), item.size()));
      item = item.substr(0, item.find_last_not_of(" \t") + 1);
      std::error_code ec;
      auto const address = asio::ip::make_address(std::string(item), ec);
      if (ec || item.find('%') != std::string_view::npos) return std::nullopt;
      if (!contains(address)) return address;
    }
    return std::nullopt;
  }

private:
  using block = std::variant<asio::ip::network_v4, asio::ip::network_v6>;

  bool add(std::string const& item) {
    std::error_code ec;
    bool const alone = item.find('/') == std::string::npos;
    if (item.find('%') != std::string::npos) return false;  // a scope is a name of this machine's alone
    if (auto const four = asio::ip::make_network_v4(alone ? item + "/32" : item, ec); !ec) {
      blocks_.emplace_back(four);
      return true;
    }
    auto const six = asio::ip::make_network_v6(alone ? item + "/128" : item, ec);
    if (ec) return false;
    blocks_.emplace_back(six);
    return true;
  }

  std::vector<block> blocks_;
};

}  // namespace gateway
