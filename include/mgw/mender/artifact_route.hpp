#pragma once

#include <mgw/cache/generation.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/store.hpp>
#include <mgw/core/recent.hpp>
#include <mgw/core/wall_clock.hpp>
#include <mgw/http/range.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/own_copies.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/tee_to_cache.hpp>

#include <asio/awaitable.hpp>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::mender {

/// Serves the links that device_relay made: opens the seal, recomputes the key from the sealed URL, and hands over to
/// the cache, or to the own copies where a link shares nothing. Nothing in the request steers what is fetched.
///
/// A link that is not authentic, or stands beside another object's key: 403 to a first GET, and a resume is closed,
/// since a status would end a client's download for good. `expires` bounds the first byte only: a range beyond 0 on an
/// expired link is served for `resume_life`, a first GET where the object is at hand or another link for it is known.
///
/// A link may say that an imported object stands for the download. It is served from that one for as long as it is
/// there, and from upstream otherwise; what began with one of them is never gone on with from the other, since equal
/// artifacts need not be equal bytes. Which object that is stands in the key beside the seal, which is sealed with it.
/// Thread rule: any worker.
template <cache::CacheStore Store>
class artifact_route {
public:
  artifact_route(link_sealer const& links, proxy::tee_to_cache<Store>& cache, own_copies& own)
      : links_(&links), cache_(&cache), own_(&own) {}

  asio::awaitable<void> operator()(proxy::exchange& x) const {
    auto const range = http::parse_range(x.request().fields.value("Range"));
    bool const resume = range && range->first.value_or(0) != 0;
    auto source = open(x, resume);
    if (!source) {
      if (resume)
        x.abort();
      else
        co_await refuse(x);
      co_return;
    }
    cache::key key = source->key;
    if (source->import) {
      auto const there = co_await cache_->stored(x, *source->import, source->from.link);
      if (!there) co_return;
      if (*there) key = *source->import;
    }
    proxy::fetch_source from = std::move(source->from);
    if (from.one_link_only)
      co_await own_->serve(x, std::move(from));
    else
      co_await cache_->serve(x, key, std::move(from));
  }

private:
  static constexpr std::chrono::seconds resume_life = std::chrono::hours(24 * 7);

  struct contents {
    cache::key key;  ///< in the link
    link_kind kind;
    std::optional<cache::link_id> link;
    link_claims claims;
    cache::key upstream;   ///< of the URL
    std::string leads_to;  ///< the authority if that is a gateway's link, else empty
    contents(artifact_path_parts const& p, link_claims c, cache::key k, std::string to)
        : key(p.key), kind(p.kind), link(token_id(p.token)), claims(std::move(c)), upstream(k), leads_to(std::move(to)) {}
  };
  struct opened {
    cache::key key;
    std::optional<cache::key> import;  ///< what stands for it, if that is whole
    proxy::fetch_source from;
  };

  std::optional<opened> open(proxy::exchange& x, bool resume) const {
    auto const sealed = unsealed(x);
    if (!sealed) return std::nullopt;
    link_claims const* const claims = &sealed->claims;
    x.notes().device = claims->device_id;
    cache::key const* const upstream = &sealed->upstream;
    if (sealed->leads_to == x.request().fields.value("Host") && !sealed->leads_to.empty()) {
      x.notes().failure = "artifact link refused: it leads back to this gateway";
      return std::nullopt;
    }
    auto const& link = sealed->link;
    bool const own = sealed->kind == link_kind::own;
    bool const import = claims->import && serves_import(sealed->key, link);
    auto const at_hand = [&] { return own ? link && own_->at_hand(*link) : import || cache_->at_hand(*upstream); };
    auto const now = static_cast<std::int64_t>(std::time(nullptr));
    bool const dated = claims->issued >= clocks_are_set_from;  // else it says nothing, once the clock is set
    bool const usable = !dated || now <= claims->expires || (resume && now <= claims->issued + resume_life.count()) ||
                        (!resume && at_hand());
    if (!usable) {
      x.notes().failure = "artifact link expired";
      return std::nullopt;
    }
    proxy::fetch_source from(claims->url, claims->headers, claims->issued);
    from.link = link;
    from.one_link_only = own;
    from.link_ends = claims->issued + resume_life.count();
    return opened{*upstream, import ? std::optional(sealed->key) : std::nullopt, std::move(from)};
  }
  /// What a link says, once its seal and its key have been found right. Null: they are not.
  std::shared_ptr<contents const> unsealed(proxy::exchange& x) const {
    std::string_view const path = x.target().path;
    if (!x.target().has_query)
      if (auto known = opened_->find(path)) return known;
    auto const parts = match_artifact_path(path);
    if (!parts || x.target().has_query) {
      x.notes().failure = "not an artifact link";
      return nullptr;
    }
    auto claims = links_->open(parts->key, parts->token, parts->kind);
    if (!claims) {
      x.notes().failure = "artifact link refused: " + claims.error().message();
      return nullptr;
    }
    x.notes().device = claims->device_id;
    auto const uri = http::parse_uri(claims->url);
    auto const upstream = uri ? cache::make_key(*uri, claims->headers) : result<cache::key>(uri.error());
    if (!upstream || (*upstream != parts->key && !claims->import)) {
      x.notes().failure = "artifact link refused: its key is another object's";
      return nullptr;
    }
    bool const of_gateway = uri->path.starts_with(artifact_prefix) || uri->path.starts_with(private_prefix);
    std::string gateway(of_gateway ? uri->authority : std::string_view());
    auto const out = std::make_shared<contents const>(*parts, *std::move(claims), *upstream, std::move(gateway));
    opened_->keep(path, out);
    return out;
  }
  bool serves_import(cache::key const& k, std::optional<cache::link_id> const& link) const {
    if (!cache_->at_hand(k)) return false;
    auto const begun = link ? cache_->begun_with(*link) : std::nullopt;
    return !begun || *begun == cache::import_generation(k);
  }
  static asio::awaitable<void> refuse(proxy::exchange& x) {
    std::string const text = x.options().error_body ? x.options().error_body(403, x) : std::string();
    (void)co_await x.respond(403, x.options().error_type, text);
  }

  link_sealer const* links_;
  proxy::tee_to_cache<Store>* cache_;
  own_copies* own_;
  // A download in many ranges brings the same link with each.
  std::shared_ptr<recent<contents>> opened_ = std::make_shared<recent<contents>>();
};

}  // namespace mgw::mender
