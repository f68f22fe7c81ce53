#pragma once

#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::upstream {

/// Names to addresses, remembered for a short life, the address that worked last first.
///
/// Numeric addresses need no lookup. Thread rule: one per worker thread. Errors: what getaddrinfo says.
class resolver {
public:
  using list = std::vector<asio::ip::tcp::endpoint>;
  struct answer {
    std::error_code ec;
    std::shared_ptr<list const> addresses;
  };

  explicit resolver(std::chrono::seconds life = std::chrono::seconds(30)) : life_(life) {}

  asio::awaitable<answer> resolve(std::string host, std::uint16_t port) {
    answer out;
    std::error_code not_numeric;
    auto const numeric = asio::ip::make_address(host, not_numeric);
    if (!not_numeric) {
      out.addresses = std::make_shared<list const>(1, asio::ip::tcp::endpoint(numeric, port));
      co_return out;
    }
    if (auto const it = known_.find({host, port}); it != known_.end() && it->second.until > clock::now()) {
      out.addresses = it->second.addresses;
      co_return out;
    }
    auto const executor = co_await asio::this_coro::executor;
    asio::ip::tcp::resolver lookup(executor);
    std::string const service = std::to_string(port);
    auto const found = co_await lookup.async_resolve(
        host, service, asio::ip::resolver_base::numeric_service, asio::redirect_error(asio::use_awaitable, out.ec));
    if (out.ec) co_return out;
    auto addresses = std::make_shared<list>();
    for (auto const& one : found) addresses->push_back(one.endpoint());
    out.addresses = addresses;
    if (known_.size() >= max_known) known_.clear();
    known_.insert_or_assign({host, port}, entry{std::move(addresses), clock::now() + life_});
    co_return out;
  }

  /// The address that worked is tried first next time.
  void prefer(std::string const& host, std::uint16_t port, asio::ip::tcp::endpoint const& good) {
    auto const it = known_.find({host, port});
    if (it == known_.end() || it->second.addresses->front() == good) return;
    auto moved = std::make_shared<list>(*it->second.addresses);
    auto const at = std::find(moved->begin(), moved->end(), good);
    if (at != moved->end()) std::rotate(moved->begin(), at, at + 1);
    it->second.addresses = std::move(moved);
  }
  /// Nothing there worked: ask again next time.
  void forget(std::string const& host, std::uint16_t port) { known_.erase({host, port}); }

private:
  using clock = std::chrono::steady_clock;
  struct entry {
    std::shared_ptr<list const> addresses;
    clock::time_point until;
  };
  static constexpr std::size_t max_known = 1024;
  std::chrono::seconds life_;
  std::map<std::pair<std::string, std::uint16_t>, entry> known_;
};

}  // namespace mgw::upstream
