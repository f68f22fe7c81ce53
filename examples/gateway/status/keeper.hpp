#pragma once

#include "metrics/request_counts.hpp"
#include "status/device_table.hpp"
#include "status/known_objects.hpp"
#include "status/moment.hpp"
#include "status/plain_words.hpp"
#include "status/problem_list.hpp"
#include "status/rates.hpp"
#include "status/report.hpp"
#include "status/shown_devices.hpp"
#include "status/upstream_watch.hpp"

#include <mgw/cache/key.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_job.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

namespace gateway::status {

/// What the status page has to know beyond a moment: devices, problems, rates and history. Everything is bounded.
///
/// Thread rule: `ended` on the exchange's worker; `offered`, `problem`, `upstream` from any thread; the rest on one.
class keeper {
public:
  static constexpr std::size_t most_objects = 200, most_fills = 200;  ///< shown

  keeper(std::size_t workers, std::int64_t started, std::shared_ptr<problem_list> problems = {})
      : latency_(workers),
        started_(started),
        problems_(problems ? std::move(problems) : std::make_shared<problem_list>()) {
    for (std::size_t i = 0; i != workers; ++i) counts_.push_back(std::make_unique<of_worker>());
  }

  /// A request has ended.
  void ended(mgw::proxy::exchange const& x, std::int64_t now);
  /// The server has offered this object under this name.
  void offered(mgw::cache::key const& k, std::string_view name, std::string_view url) { known_.offered(k, name, url); }
  upstream_watch& upstream() noexcept { return upstream_; }
  problem_list& problems() noexcept { return *problems_; }

  /// Bytes of downloads that have ended on this worker. On its thread it goes with what runs there.
  std::uint64_t delivered(std::size_t worker) const noexcept { return counts_[worker]->delivered.value(); }
  std::uint64_t delivered() const noexcept {
    return sum([](of_worker const& w) { return w.delivered.value(); });
  }

  /// Once a second. `upstream_bytes`: what has come of artifacts.
  void tick(std::uint64_t upstream_bytes, std::chrono::steady_clock::time_point when) {
    bytes_.note(upstream_bytes, when);
    calls_.note(sum([](of_worker const& w) { return w.calls.value(); }), when);
  }
  bool history_due(std::int64_t now) const { return history_.due(now); }
  void note_history(report::point p) { history_.note(p); }

  report make(moment m);

private:
  struct alignas(64) of_worker {
    counter_cell delivered, calls;
  };
  template <class F>
  std::uint64_t sum(F of) const noexcept {
    std::uint64_t n = 0;
    for (auto const& w : counts_) n += of(*w);
    return n;
  }
  void note_upstream(mgw::proxy::exchange const& x, std::int64_t now);
  std::string name_of(mgw::cache::key const& k) const {
    auto const stored = stored_names_.find(k);
    return stored != stored_names_.end() ? stored->second : known_.find(k).name;
  }
  void add_fills(report& r, moment const& m);
  void add_objects(report& r, std::vector<cached_object>& all) const;
  void add_problems(report& r) const;

  latency_window latency_;
  std::int64_t const started_;
  std::vector<std::unique_ptr<of_worker>> counts_;
  device_table devices_;
  known_objects known_;
  upstream_watch upstream_;
  std::shared_ptr<problem_list> const problems_;
  rate_meter bytes_, calls_;
  savings_history history_;
  std::map<mgw::cache::key, rate_meter> fill_rates_;
  std::unordered_map<mgw::cache::key, std::string> stored_names_;  // of the moment
};

namespace keeper_detail {

inline std::string_view name(mgw::proxy::fetch_job::stage s) noexcept {
  using stage = mgw::proxy::fetch_job::stage;
  switch (s) {
    case stage::fetching: break;
    case stage::waiting: return "waiting";
    case stage::retrying: return "retrying";
    case stage::verifying: return "verifying";
  }
  return "fetching";
}

/// A URL without what may be a secret: credentials and query.
inline std::string shown_url(std::string_view url) {
  url = url.substr(0, url.find_first_of("?#"));
  std::size_t const begin = url.find("://");
  if (begin == std::string_view::npos) return std::string(url);
  std::size_t const end = std::min(url.find('/', begin + 3), url.size());
  std::size_t const at = url.substr(0, end).rfind('@');
  if (at == std::string_view::npos || at < begin) return std::string(url);
  return std::string(url.substr(0, begin + 3)) + std::string(url.substr(at + 1));
}

}  // namespace keeper_detail

/// The call was relayed: what does that say about the server?
inline void keeper::note_upstream(mgw::proxy::exchange const& x, std::int64_t now) {
  auto const& n = x.notes();
  if (n.upstream.count() == 0 && n.upstream_error.empty()) return;
  of_worker& mine = *counts_[x.worker().index];
  mine.calls.add();
  // An answer that broke off, or was none that we understand, came from somebody.
  bool const silent = n.upstream_error == "http_response_timeout";
  if (n.upstream_error.empty() || (n.upstream_error.starts_with("http_") && !silent)) {
    upstream_.reached(now);
    if (n.upstream.count() != 0) latency_.count(x.worker().index, n.upstream, now);
    return;
  }
  upstream_.failed(n.failure.empty() ? n.upstream_error : std::string_view(n.failure), now);
}

inline void keeper::ended(mgw::proxy::exchange const& x, std::int64_t now) {
  auto const& n = x.notes();
  if (n.route.empty()) return;
  device_table::request r;
  r.device = n.device;
  r.route = n.route;
  r.now = now;
  if (!is_download(n.route)) {
    note_upstream(x, now);
    // Anybody may name a device; the server knows whether it is one.
    if (x.status() != 401 && x.status() != 403) devices_.note(r);
    return;
  }
  if (!n.object) return;
  r.object = n.object;
  bool const sent = x.responding() && (x.status() == 200 || x.status() == 206) && x.request().method == "GET";
  if (sent) {
    counts_[x.worker().index]->delivered.add(x.body_out());
    if (n.cache == "hit" && n.from == 0) known_.hit(*n.object);
    r.bytes = n.from + x.body_out();
    r.size = n.length;
    bool const cut = x.aborted() || !x.finished() || !n.failure.empty();
    r.state = cut ? download_state::cut : r.bytes == r.size ? download_state::done : download_state::part;
    if (cut) r.why = n.failure.empty() ? std::string_view("the connection ended") : std::string_view(n.failure);
  } else {
    if (x.request().method != "GET" || x.status() == 304) return;
    r.state = download_state::cut;
    r.why = n.failure;
  }
  devices_.note(r);
}

inline void keeper::add_fills(report& r, moment const& m) {
  std::map<mgw::cache::key, rate_meter> rates;
  for (auto const& f : m.fills) {
    auto& rate = rates[f.object];
    if (auto const before = fill_rates_.find(f.object); before != fill_rates_.end()) rate = std::move(before->second);
    rate.note(f.have, m.when);
    report::fill out;
    auto const known = known_.find(f.object);
    out.name = name_of(f.object);
    out.host = f.host.empty() ? known.host : f.host;
    out.size = f.size;
    out.have = f.have;
    out.bytes_per_second = rate.per_second();
    out.seconds_left = seconds_left(f.have, f.size, out.bytes_per_second);
    out.readers = f.readers;
    out.state = keeper_detail::name(f.at);
    out.why = f.why;
    out.started = f.started;
    r.fills.push_back(std::move(out));
  }
  fill_rates_ = std::move(rates);
  std::sort(r.fills.begin(), r.fills.end(), [](auto const& a, auto const& b) {
    return std::tuple(b.readers, a.started, a.have) < std::tuple(a.readers, b.started, b.have);
  });
  r.more_fills = r.fills.size() - std::min(r.fills.size(), most_fills);
  r.fills.resize(r.fills.size() - r.more_fills);
}

/// Those used last, of these the largest.
inline void keeper::add_objects(report& r, std::vector<cached_object>& all) const {
  std::size_t const shown = std::min(all.size(), most_objects);
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(shown), all.end(),
                    [](auto const& a, auto const& b) {
                      return std::tuple(b.used, b.size, b.key) < std::tuple(a.used, a.size, a.key);
                    });
  r.cache.more = all.size() - shown;
  for (std::size_t i = 0; i != shown; ++i) {
    auto& o = all[i];
    auto known = known_.find(o.key);
    report::object out;
    out.verified = !o.name.empty();
    out.name = o.name.empty() ? std::move(known.name) : std::move(o.name);
    out.host = std::move(known.host);
    out.size = o.size;
    out.added = o.added;
    out.used = o.used;
    out.hits = known.hits;
    out.pinned = o.pinned;
    r.cache.list.push_back(std::move(out));
  }
}

inline report keeper::make(moment m) {
  report r = std::move(m.about);
  r.now = m.now;
  r.started = started_;
  r.upstream.url = keeper_detail::shown_url(r.upstream.url);
  auto found = upstream_.now();
  r.upstream.state = upstream_watch::name(found.what);
  r.upstream.since = found.since;
  r.upstream.reason = std::move(found.reason);
  r.upstream.took = latency_.sum(m.now);
  r.link.bytes_per_second = bytes_.per_second();
  r.link.requests_per_second = calls_.per_second();
  r.saved.upstream = m.upstream_bytes;
  r.saved.again = m.again_bytes;
  r.saved.delivered = m.delivered;
  r.saved.history = history_.all({m.now, m.upstream_bytes, m.delivered});
  stored_names_.clear();
  for (auto const& o : m.objects)
    if (!o.name.empty()) stored_names_.emplace(o.key, o.name);
  add_fills(r, m);
  show_devices(r, devices_.all(), m, [this](mgw::cache::key const& k) { return name_of(k); });
  add_objects(r, m.objects);
  add_problems(r);
  return r;
}

inline void keeper::add_problems(report& r) const {
  r.problems = problems_->all();
  std::optional<std::unordered_map<std::string, std::string>> names;  // by the beginning of the key; made if it is needed
  auto const named = [&](std::string_view digits) {
    if (!names) {
      names.emplace();
      auto const add = [&](mgw::cache::key const& k, std::string const& name) {
        names->emplace(k.hex().substr(0, digits.size()), name);
      };
      for (auto const& [k, name] : stored_names_) add(k, name);
      known_.each_name(add);
    }
    auto const at = names->find(std::string(digits));
    return at == names->end() ? std::string() : at->second;
  };
  for (auto& p : r.problems) p.text = in_plain_words(p.text, named);
}

}  // namespace gateway::status
