#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/cache/link_id.hpp>
#include <mgw/cache/memory_store.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/tee_to_cache.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace mgw::mender {

struct own_copy_options {
  std::uint64_t max_object = std::uint64_t{1} << 20;  ///< bytes of one artifact; larger ones pass through, not kept
  std::uint64_t max_size = std::uint64_t{64} << 20;   ///< bytes of all: the least recently used make room
  std::size_t max_objects = 1024;                     ///< kept at once; each holds a descriptor
  own_copy_options() = default;
};

/// Artifacts that are made for one device (configurations): one copy for each link, in memory.
///
/// The server ignores ranges and may make other bytes for each request. So two links never share a fetch or a byte, a
/// body goes out when it is whole, and is kept: a client that resumes on its link gets the rest of what it began with,
/// or nothing, if that copy is gone. Nothing is on disk.
/// Thread rule: any worker; lives longer than the workers' contexts. A Part of a running gateway.
class own_copies {
public:
  using cache_type = proxy::tee_to_cache<cache::memory_store>;

  /// `tee` is as for the shared cache; what is different here is set here.
  own_copies(upstream::pool_set& upstreams, proxy::tee_options tee, own_copy_options const& limits = {})
      : store_(store_options(limits)), cache_(store_, upstreams, adapted(std::move(tee))) {}

  /// Answers a GET or HEAD on the source's link. Precondition: it has one.
  asio::awaitable<void> serve(proxy::exchange& x, proxy::fetch_source source) {
    source.one_link_only = true;
    cache::key const key = key_of(*source.link);
    return cache_.serve(x, key, std::move(source));
  }
  /// Whether this link's copy is there or being fetched.
  bool at_hand(cache::link_id const& link) const { return cache_.at_hand(key_of(link)); }

  cache::memory_store const& store() const noexcept { return store_; }
  cache_type const& cache() const noexcept { return cache_; }

  void drain() { cache_.drain(); }
  void stop() { cache_.stop(); }
  bool idle() const { return cache_.idle(); }
  void close() { cache_.close(); }

private:
  static cache::memory_store::options store_options(own_copy_options const& limits) {
    cache::memory_store::options o;
    o.max_size = limits.max_size;
    o.max_objects = limits.max_objects;
    o.max_object = limits.max_object;
    return o;
  }
  static proxy::tee_options adapted(proxy::tee_options o) {
    o.fetch.whole_only = true;
    o.ledger.path.clear();  // no link outlives its copy
    return o;
  }
  /// Of one link and no other: the id is random, and this store has no keys of another kind.
  static cache::key key_of(cache::link_id const& link) noexcept {
    cache::key::bytes_type bytes{};
    std::memcpy(bytes.data(), link.bytes.data(), link.bytes.size());
    return cache::key(bytes);
  }

  cache::memory_store store_;
  cache_type cache_;
};

}  // namespace mgw::mender
