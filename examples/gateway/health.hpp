#pragma once

#include <mgw/mender/json_scanner.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace gateway {

/// Whether the gateway can do its work, with the reasons why not: `GET /api/internal/v1/gateway/health`.
///
/// 200 `{"ready":true}`, or 503 `{"ready":false,"reasons":["upstream: tcp: Connection refused"]}`. Upstream counts as
/// reachable while a connection to it (TLS included) is open or can be opened; what was found counts for a while, so
/// that nobody can make us connect at will. What is amiss without keeping the gateway from its work stands beside it,
/// as
/// `"warnings"`. Thread rule: any worker.
class health {
public:
  using clock = std::chrono::steady_clock;
  struct options {
    mgw::upstream::endpoint upstream;
    /// What is wrong with the cache; empty: nothing. Any thread; must not block.
    std::function<std::string()> cache_trouble;
    /// What is wrong with the management API, which is a warning; empty: nothing. Any thread; must not block.
    std::function<std::string()> management_trouble;
    std::vector<std::string> warnings;  ///< what is not as it should be, as long as the gateway runs
    /// What is wrong with the status page, which is a warning; empty: nothing. Any thread; must not block.
    std::function<std::string()> status_page_trouble;
    /// Told of what was found out about the upstream: what is wrong with it, or nothing. Any worker; must not block.
    std::function<void(std::string const&)> found;
    std::function<bool()> unrecorded;  ///< devices are not served, as nothing can be recorded; empty: no
    std::chrono::milliseconds counts_for{5'000};
    std::function<clock::time_point()> now = clock::now;
    options() = default;
  };

  health(mgw::upstream::pool_set const& upstreams, options o)
      : upstreams_(&upstreams), shared_(std::make_shared<shared>(std::move(o))) {}

  asio::awaitable<void> operator()(mgw::proxy::exchange& x) const {
    std::string const upstream = co_await upstream_trouble(x.worker());
    judgement const j = judge(upstream, x.draining());
    int const status = j.reasons.empty() ? 200 : 503;
    std::string const text = described(j.reasons, j.warnings);
    (void)co_await x.respond(status, "application/json; charset=utf-8", text, "Cache-Control", "no-store");
  }

  /// Why it cannot do its work, and what is amiss.
  struct judgement {
    std::vector<std::string> reasons, warnings;
  };
  /// `upstream`: what is wrong with it; empty: nothing. Any thread; does not block.
  judgement judge(std::string const& upstream, bool draining) const {
    auto const& o = shared_->asked;
    auto const trouble = [](auto const& of) { return of ? of() : std::string(); };
    judgement j;
    if (draining) j.reasons.emplace_back("the gateway is stopping");
    if (!upstream.empty()) j.reasons.push_back("upstream: " + upstream);
    if (auto const cache = trouble(o.cache_trouble); !cache.empty()) j.reasons.push_back("cache: " + cache);
    j.warnings = o.warnings;
    if (auto const management = trouble(o.management_trouble); !management.empty())
      j.warnings.push_back("management API: " + management);
    if (auto const page = trouble(o.status_page_trouble); !page.empty()) j.warnings.push_back("status page: " + page);
    if (o.unrecorded && o.unrecorded()) j.reasons.emplace_back("audit: nothing can be recorded");
    return j;
  }
  /// Finds out whether the upstream can be reached, unless that is known: what is wrong; empty: nothing.
  asio::awaitable<std::string> upstream_trouble(mgw::net::worker& w) const {
    auto said = known();
    if (said) co_return *std::move(said);
    answer a(shared_);
    mgw::upstream::connected c = co_await upstreams_->of(w)->connect(shared_->asked.upstream);
    std::string trouble;
    if (c.connection)
      c.connection->done();
    else
      trouble = std::string(mgw::upstream::to_string(c.failed_at)) + ": " + c.why();
    a.found = trouble;
    if (shared_->asked.found) shared_->asked.found(trouble);
    co_return trouble;
  }

private:
  struct shared {
    explicit shared(options o) : asked(std::move(o)) {}
    options const asked;
    std::mutex mutex;
    bool asking = false;
    clock::time_point found_at{};
    std::optional<std::string> trouble;  // nothing: not known yet
  };

  static std::string described(std::vector<std::string> const& reasons, std::vector<std::string> const& warnings) {
    std::string out = reasons.empty() ? "{\"ready\":true" : "{\"ready\":false";
    append_list(out, ",\"reasons\":[", reasons);
    append_list(out, ",\"warnings\":[", warnings);
    return out + '}';
  }
  static void append_list(std::string& out, char const* name, std::vector<std::string> const& texts) {
    if (texts.empty()) return;
    out += name;
    for (auto const& t : texts) {
      if (&t != &texts.front()) out += ',';
      mgw::mender::append_json_string(out, t);
    }
    out += ']';
  }

  /// What is known if that is fresh, or somebody finds out already.
  std::optional<std::string> known() const {
    std::lock_guard const lock(shared_->mutex);
    bool const fresh = shared_->trouble && shared_->asked.now() - shared_->found_at < shared_->asked.counts_for;
    if (fresh) return shared_->trouble;
    if (shared_->asking) return shared_->trouble.value_or("not known yet");
    shared_->asking = true;
    return std::nullopt;
  }
  /// Ends the asking, however it ends.
  struct answer {
    std::shared_ptr<shared> s;
    std::optional<std::string> found;
    explicit answer(std::shared_ptr<shared> p) : s(std::move(p)) {}
    answer(answer const&) = delete;
    answer& operator=(answer const&) = delete;
    ~answer() {
      std::lock_guard const lock(s->mutex);
      s->asking = false;
      if (!found) return;
      s->trouble = std::move(found);
      s->found_at = s->asked.now();
    }
  };
  mgw::upstream::pool_set const* upstreams_;
  std::shared_ptr<shared> shared_;
};

}  // namespace gateway
