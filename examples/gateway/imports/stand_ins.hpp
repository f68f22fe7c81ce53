#pragma once

#include "artifact/labels.hpp"
#include "imports/artifact_start.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/growth.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/single_flight.hpp>
#include <mgw/core/log.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/deployments.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/first_bytes.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <ctime>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace gateway {

struct stand_in_options {
  mgw::proxy::fetch_options fetch;
  mgw::proxy::first_bytes::sizes sizes;         ///< what may be read of an artifact upstream to compare it
  std::chrono::milliseconds keep{600'000};      ///< for how long an answer holds: artifacts do not change
  std::chrono::milliseconds keep_none{60'000};  ///< the same when nothing stands in: something may be imported
  std::size_t most = 1024;                      ///< answers that are remembered
  std::chrono::milliseconds patience{10'000};   ///< for a comparison: devices wait for their polls' answers meanwhile
  stand_in_options() = default;
};

/// Finds the imported artifact that may stand for a download: it has the name that the server gives, and begins with
/// the same entries as the one upstream, of which the first kilobytes are fetched to compare them. Equal manifests mean
/// that the same is installed; they do not mean equal bytes, so the answer is sealed into the device's link.
///
/// Whatever goes wrong, nothing stands in. One comparison at a time for each object, however many devices ask.
/// Thread rule: any worker; lives longer than the workers' contexts.
class stand_ins {
public:
  stand_ins(mgw::cache::disk_store& objects, mgw::upstream::pool_set& upstreams, mgw::proxy::fetch_counters& counters,
            stand_in_options options)
      : store_(objects), upstreams_(upstreams), counters_(counters), options_(std::move(options)) {
    auto& e = options_.fetch.exchange;
    e.response_timeout = std::min(e.response_timeout, options_.patience);
    options_.fetch.can_wait = false;
  }

  /// The key of the object that stands for what `wanted` leads to, if there is one.
  asio::awaitable<std::optional<mgw::cache::key>> find(mgw::proxy::exchange& x,
                                                       mgw::mender::artifact_source const& wanted);

private:
  using clock = std::chrono::steady_clock;
  struct candidate {
    mgw::cache::key key;
    std::string head;
  };
  /// A comparison under way.
  struct question {
    std::mutex mutex;
    bool answered = false;
    std::optional<mgw::cache::key> answer;
    mgw::cache::growth asking;
  };
  struct remembered {
    std::optional<mgw::cache::key> answer;
    clock::time_point until;
  };

  std::vector<candidate> imports_of(std::string_view name) const;
  std::optional<remembered> known(mgw::cache::key const& k);
  void remember(mgw::cache::key const& k, std::optional<mgw::cache::key> const& what);
  void answer(mgw::cache::key const& k, question& q, std::optional<mgw::cache::key> what, bool certain);
  static asio::awaitable<std::optional<mgw::cache::key>> answer_of(mgw::proxy::exchange& x,
                                                                   std::shared_ptr<question> q);
  asio::awaitable<bool> compare(mgw::proxy::exchange& x, mgw::mender::artifact_source const& wanted,
                                std::vector<candidate> const& among, std::optional<mgw::cache::key>& found);

  mgw::cache::disk_store& store_;
  mgw::upstream::pool_set& upstreams_;
  mgw::proxy::fetch_counters& counters_;
  stand_in_options options_;
  mgw::cache::single_flight<question> questions_;
  std::mutex mutex_;
  std::unordered_map<mgw::cache::key, remembered> known_;
};

inline std::vector<stand_ins::candidate> stand_ins::imports_of(std::string_view name) const {
  std::vector<candidate> out;
  for (auto const& meta : store_.list()) {
    bool const imported = !label_value(meta.labels, label::imported).empty();
    std::string_view const head = label_value(meta.labels, label::artifact_head);
    if (imported && !head.empty() && label_value(meta.labels, label::artifact_name) == name)
      out.push_back({meta.key, std::string(head)});
  }
  return out;
}

inline std::optional<stand_ins::remembered> stand_ins::known(mgw::cache::key const& k) {
  std::lock_guard const lock(mutex_);
  auto const it = known_.find(k);
  if (it == known_.end() || clock::now() >= it->second.until) return std::nullopt;
  // What was removed meanwhile stands for nothing; it may have been imported again under another key.
  if (it->second.answer && !store_.contains(*it->second.answer)) return std::nullopt;
  return it->second;
}

inline void stand_ins::remember(mgw::cache::key const& k, std::optional<mgw::cache::key> const& what) {
  std::lock_guard const lock(mutex_);
  if (known_.size() >= options_.most) known_.clear();
  known_[k] = {what, clock::now() + (what ? options_.keep : options_.keep_none)};
}

inline void stand_ins::answer(mgw::cache::key const& k, question& q, std::optional<mgw::cache::key> what,
                              bool certain) {
  if (certain) remember(k, what);
  questions_.leave(k, &q);
  std::lock_guard const lock(q.mutex);
  q.answered = true;
  q.answer = what;
  q.asking.ring();
}

inline asio::awaitable<std::optional<mgw::cache::key>> stand_ins::answer_of(mgw::proxy::exchange& x,
                                                                            std::shared_ptr<question> q) {
  mgw::cache::growth_ticket ticket(x.worker().io.get_executor());
  for (;;) {
    {
      std::lock_guard const lock(q->mutex);
      if (q->answered) co_return q->answer;
      q->asking.enlist(ticket);
    }
    constexpr std::chrono::seconds look{1};
    co_await ticket.wait_until(clock::now() + look);
    if (x.draining() || x.client_gone()) co_return std::nullopt;
  }
}

inline asio::awaitable<std::optional<mgw::cache::key>> stand_ins::find(mgw::proxy::exchange& x,
                                                                       mgw::mender::artifact_source const& wanted) {
  auto const uri = mgw::http::parse_uri(wanted.uri);
  auto const key = uri ? mgw::cache::make_key(*uri, wanted.headers) : mgw::result<mgw::cache::key>(uri.error());
  if (!key || wanted.artifact_name.empty()) co_return std::nullopt;
  if (auto const before = known(*key)) co_return before->answer;
  auto const among = imports_of(wanted.artifact_name);
  if (among.empty()) {
    remember(*key, std::nullopt);
    co_return std::nullopt;
  }
  auto const ask = [] { return std::make_shared<question>(); };
  auto const ticket = questions_.join(*key, ask);
  if (!ticket.started) {
    auto const theirs = co_await answer_of(x, ticket.work);
    co_return theirs;
  }
  std::optional<mgw::cache::key> found;
  bool certain = false;
  try {
    certain = co_await compare(x, wanted, among, found);
  } catch (std::exception const&) {
    found.reset();  // no memory, or the like: nothing stands in
  }
  answer(*key, *ticket.work, found, certain);
  co_return found;
}

/// False: nothing was found out.
inline asio::awaitable<bool> stand_ins::compare(mgw::proxy::exchange& x, mgw::mender::artifact_source const& wanted,
                                                std::vector<candidate> const& among,
                                                std::optional<mgw::cache::key>& found) {
  using state = artifact_start::state;
  mgw::proxy::first_bytes start(*upstreams_.of(x.worker()), x.worker().deadlines, options_.fetch, counters_);
  mgw::proxy::fetch_source const from(wanted.uri, wanted.headers, static_cast<std::int64_t>(std::time(nullptr)));
  artifact_start seen;
  auto const enough = [&seen](std::string_view bytes) {
    seen = read_artifact_start(bytes);
    return seen.what != state::more;
  };
  mgw::net::deadline limit(x.worker().deadlines, start);
  limit.arm(options_.patience);
  bool const read = co_await start.read(from, options_.sizes, enough);
  std::string result = "could not be compared with the one upstream: it is fetched";
  if (read) result = "is another one than upstream: that is fetched";
  if (read && seen.what == state::whole && !seen.digest.empty())
    for (candidate const& c : among)
      if (c.head == seen.digest) found = c.key;
  if (found) result = "stands for the one upstream";
  if (options_.fetch.log)
    options_.fetch.log(mgw::log_level::info, "imported artifact " + wanted.artifact_name + ' ' + result);
  co_return read;
}

}  // namespace gateway
