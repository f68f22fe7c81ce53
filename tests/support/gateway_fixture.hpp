#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/server.hpp>
#include <mgw/proxy/tee_to_cache.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <support/blocking_socket.hpp>
#include <support/store_rigs.hpp>
#include <support/temporary_directory.hpp>

#include <asio/awaitable.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::test {

/// Collects log lines.
class log_lines {
public:
  log_sink sink() {
    return [this](log_level, std::string_view text) {
      std::lock_guard const lock(mutex_);
      lines_.emplace_back(text);
    };
  }
  std::size_t count(std::string_view what) const {
    std::lock_guard const lock(mutex_);
    std::size_t n = 0;
    for (auto const& l : lines_) n += l.find(what) != std::string::npos;
    return n;
  }
  std::vector<std::string> with(std::string_view what) const {
    std::lock_guard const lock(mutex_);
    std::vector<std::string> found;
    for (auto const& l : lines_)
      if (l.find(what) != std::string::npos) found.push_back(l);
    return found;
  }

private:
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

using any_handler = std::function<asio::awaitable<void>(proxy::exchange&)>;

/// Workers on threads of their own with a server on loopback. What a handler refers to must outlive `stop`.
class gateway {
public:
  /// What the observer saw of one exchange.
  struct record {
    int status = 0;
    bool finished = false;
    std::string failure, cache;
  };

  explicit gateway(std::size_t threads = 1, upstream::pool_options pools = {}, net::client_tls const& trust = {});
  gateway(gateway const&) = delete;
  gateway& operator=(gateway const&) = delete;
  ~gateway();

  net::worker_pool workers;
  upstream::pool_set upstreams;
  log_lines log;

  std::uint16_t start(any_handler handler, proxy::server_options options = {},
                      std::optional<net::tls_context> tls = {});
  std::uint16_t port() const noexcept { return port_; }
  proxy::server<any_handler>& server() noexcept { return *server_; }
  std::vector<record> records() const {
    std::lock_guard const lock(mutex_);
    return records_;
  }
  /// Ends the threads, then `between`, then the workers.
  void stop(std::function<void()> const& between = {});

private:
  std::optional<proxy::server<any_handler>> server_;
  std::thread thread_;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::vector<record> records_;
};

/// Options under which a fault is repaired, and what has come is sent, within milliseconds.
inline proxy::tee_options quick_tee() {
  proxy::tee_options o;
  o.reader.gather = std::chrono::milliseconds(0);
  o.fetch.backoff_first = std::chrono::milliseconds(2);
  o.fetch.backoff_max = std::chrono::milliseconds(10);
  return o;
}

template <class Rig>
class basic_caching_gateway;
template <class Rig>
struct basic_caching_options {
  proxy::tee_options tee = quick_tee();
  bool store = true;  // false: every client fetches for itself
  std::size_t threads = 1;
  std::uint64_t max_size = 1u << 30;
  cache::file_ops* ops = nullptr;  // the disk; null: the real one
  upstream::pool_options pools;
  net::client_tls trust;  // with a CA: the origin speaks TLS
  std::function<any_handler(basic_caching_gateway<Rig>&)> handler;  // in place of the one below
  basic_caching_options() = default;
};

/// A gateway that serves `origin`'s object from a cache, a Rig's, in `directory`: every target leads to the same target
/// there. `X-Issued` in a request is when its link was made, `X-Link` which one it is, `X-Source` another target for
/// the same key.
template <class Rig>
class basic_caching_gateway {
public:
  using store_type = typename Rig::store_type;

  basic_caching_gateway(std::filesystem::path const& directory, std::string const& origin_authority,
                        basic_caching_options<Rig> options = {});
  ~basic_caching_gateway();

  std::uint16_t port() const noexcept { return gateway_.port(); }
  store_type& store() noexcept { return rig_->store; }
  proxy::tee_to_cache<store_type>& tee() noexcept { return *tee_; }
  gateway& base() noexcept { return gateway_; }
  log_lines& log() noexcept { return gateway_.log; }
  cache::key key_of(std::string const& target) const {
    std::string const url = base_ + target;
    return *cache::make_key(*http::parse_uri(url), {});
  }
  bool stored(std::string const& target) const { return rig_->store.contains(key_of(target)); }

  /// For handlers: serve and serve_from of its tee_to_cache.
  asio::awaitable<void> serve(proxy::exchange& x, cache::key key, proxy::fetch_source source);
  asio::awaitable<void> serve_from_origin(proxy::exchange& x);
  /// Ends the fills and keeps what is under way for the next start. False: they do not end.
  bool suspend();
  void stop();

private:
  static asio::awaitable<void> answer(basic_caching_gateway& self, proxy::exchange& x);

  std::string base_;
  gateway gateway_;
  std::optional<Rig> rig_;
  std::optional<proxy::tee_to_cache<store_type>> tee_;
};

extern template class basic_caching_gateway<disk_rig>;
extern template class basic_caching_gateway<memory_rig>;
extern template class basic_caching_gateway<own_rig>;

using caching_options = basic_caching_options<disk_rig>;
using caching_gateway = basic_caching_gateway<disk_rig>;

}  // namespace mgw::test
