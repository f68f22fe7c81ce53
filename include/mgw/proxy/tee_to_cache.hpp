#pragma once

#include <mgw/cache/fill.hpp>
#include <mgw/cache/growth.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/cache/link_id.hpp>
#include <mgw/cache/single_flight.hpp>
#include <mgw/cache/store.hpp>
#include <mgw/http/date.hpp>
#include <mgw/http/range.hpp>
#include <mgw/proxy/ahead_reader.hpp>
#include <mgw/proxy/bypass_links.hpp>
#include <mgw/proxy/client_room.hpp>
#include <mgw/proxy/disk_threads.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch.hpp>
#include <mgw/proxy/fetch_job.hpp>
#include <mgw/proxy/first_reading.hpp>
#include <mgw/proxy/held_requests.hpp>
#include <mgw/proxy/link_promise.hpp>
#include <mgw/proxy/object_reader.hpp>
#include <mgw/proxy/origin_request.hpp>
#include <mgw/proxy/pass_through.hpp>
#include <mgw/proxy/recent_hits.hpp>
#include <mgw/proxy/slots.hpp>
#include <mgw/proxy/told_links.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::proxy {

struct tee_options {
  fetch_options fetch;
  reader_options reader;
  cache::ledger_options ledger;
  std::size_t max_clients = 8'750;  ///< served at once; one more ends the longest-held, or is closed unanswered
  std::chrono::milliseconds keep_open{1'000};  ///< so long an object that was opened is served without opening it again
  std::size_t max_kept_open = 64;              ///< objects of which that is so at once
  std::shared_ptr<client_room> room;        ///< shared by all caches of one server; null: one of its own
};

/// The streaming tee-to-cache handler: serves an object from the store and, on a miss, starts or joins its fill.
///
/// One upstream copy per object, whatever the number of clients and workers; every client, the first one too, is a
/// reader of the growing file and never throttles or ends the fill. A passing fault upstream is never a status code
/// (see object_reader), and what happens on it upstream is decided in `fetch`, on a disk that hangs in `disk_threads`.
/// Thread rule: any worker; lives longer than the workers' contexts. A Part of a running gateway.
template <cache::CacheStore Store>
class tee_to_cache {
public:
  tee_to_cache(Store& objects, upstream::pool_set& upstreams, tee_options options)
      : store_(&objects), upstreams_(upstreams), options_(std::move(options)), book_(options_.ledger, options_.fetch.log) {}
  /// Without a store: every client fetches for itself, under the same rules, as many at once as max_clients.
  tee_to_cache(upstream::pool_set& upstreams, tee_options options)
      : store_(nullptr), upstreams_(upstreams), options_(std::move(options)), book_(options_.ledger, options_.fetch.log) {}

  /// Answers a GET or HEAD for the object `k`. `source` is where it can be had, and what the client's link is: bytes of
  /// two generations are never spliced (link_promise).
  asio::awaitable<void> serve(exchange& x, cache::key k, fetch_source source);
  /// The same for the object at `root` ("https://host/prefix") with the request's path and query behind it, whose URI is
  /// its key. 400 where that makes no URI. Precondition: `root` lives as long as the exchange.
  asio::awaitable<void> serve_from(exchange& x, std::string const& root);

  /// Whether `k` is complete in the store or being filled: then another link than the one at hand is known to work.
  bool at_hand(cache::key const& k) const { return (store_ != nullptr && store_->contains(k)) || flights_.find(k) != nullptr; }

  /// Whether `k` can be served from the store: opening it finds it whole. Nothing: the exchange, which is held while that
  /// takes long, has ended meanwhile.
  asio::awaitable<std::optional<bool>> stored(exchange& x, cache::key k, std::optional<cache::link_id> link);
  /// A link for `k` from a server that has just been reached: if the object is being filled, or fetched past the store,
  /// it is tried; if it will be, it may be newer than the one that the client has.
  void offer(cache::key const& k, fetch_source source) {
    told_.offer(k, source);
    if (auto const job = flights_.find(k)) job->offer_from_poll(source);
    links_.offer(k, std::move(source));
  }
  /// What was begun, replaced and found to be bad.
  cache::ledger& book() noexcept { return book_; }
  /// With which generation the first byte on this link went out, if one did.
  std::optional<std::uint64_t> begun_with(cache::link_id const& link) const { return book_.begun_with(link); }

  /// Closes the request that has been held for the longest time; false: none is held. For server_options::make_room.
  bool end_longest_held() { return room_->held.end_longest(); }
  std::size_t held() const { return room_->held.size(); }

  /// Whether the store counts as failed because its disk hangs (disk_threads).
  bool hung() const noexcept { return disk_.hung(); }
  fetch_counters const& counters() const noexcept { return counters_; }
  fetch_counters& counters() noexcept { return counters_; }  ///< for what others fetch on its behalf
  std::size_t fills() const { return flights_.size(); }
  /// What is being filled, or waits for it. Any thread.
  std::vector<std::shared_ptr<fetch_job>> jobs() const { return flights_.all(); }
  /// Those of them that wait in line (fetch_options::max_fills).
  std::size_t waiting_fills() const { return fills_.waiting_now(); }
  /// Clients that wait in line to fetch past the store (fetch_options::max_pass_through).
  std::size_t waiting_clients() const { return pass_through_.waiting_now(); }
  /// Fills go on for as long as somebody follows them.
  void drain() {
    draining_.store(true);
    disk_.end_long_reads();  // what waits for them has no head yet
    for (auto const& job : flights_.all()) job->end_with_readers();
  }
  /// Ends all fills soon; their parts are kept.
  void stop() {
    draining_.store(true);
    disk_.end_long_reads();
    for (auto const& job : flights_.all()) job->stop();
  }
  bool idle() const { return fills() == 0; }
  /// Waits for disk work. After the workers' threads have ended, before their contexts go.
  void close() {
    recent_.clear();
    disk_.join();
    flights_.clear();
    readings_.clear();
  }
  /// The same, for so long at most. False: the disk hangs, and may still write into what the workers hold; so nothing may
  /// be destroyed, and a program that wants to end does it by _exit(2).
  bool close_for(disk_threads::duration limit) {
    recent_.clear();
    if (!disk_.join_for(limit)) return false;
    flights_.clear();
    readings_.clear();
    return true;
  }

private:
  bool enter(exchange& x, client_room::client const& here) {
    if (!here.too_many() || room_->held.end_longest()) return true;
    x.notes().failure = "too many downloads";
    x.abort();
    return false;
  }
  /// What an exchange follows, counted among its readers.
  struct followed {
    std::shared_ptr<fetch_job> job;
    std::optional<fetch_job::reader_count> counted;
    std::unique_ptr<object_reader> reader;
    void follow(std::shared_ptr<fetch_job> j) {
      counted.reset();
      job = std::move(j);
      if (job) counted.emplace(job);
    }
  };

  std::shared_ptr<fetch_job> find_recent(exchange& x, cache::key const& k);
  asio::awaitable<std::shared_ptr<fetch_job>> find(exchange& x, cache::key const& k, fetch_source const& source);
  asio::awaitable<void> find_unended(exchange& x, cache::key const& k, fetch_source const& source, followed& out);
  asio::awaitable<void> pass(exchange& x, cache::key k, fetch_source source, link_promise& promise, followed& begun);
  std::unique_ptr<ahead_reader> ahead_of(exchange& x, std::shared_ptr<fetch_job> const& job, cache::fill const& object);
  static asio::awaitable<void> run_fill(tee_to_cache& self, std::shared_ptr<fetch_job> job, net::worker& worker);
  bool waits_for_reading(cache::key const& k) const { return cache::opens_slowly(*store_, k) && !flights_.find(k) && !disk_.hung(); }
  asio::awaitable<bool> wait_for_reading(exchange& x, cache::key k, std::optional<cache::link_id> link);
  static asio::awaitable<void> run_reading(tee_to_cache& self, std::shared_ptr<first_reading> r, cache::key k);

  Store* store_;
  upstream::pool_set& upstreams_;
  tee_options options_;
  cache::ledger book_;
  std::shared_ptr<client_room> room_ =
      options_.room ? options_.room : std::make_shared<client_room>(options_.reader, options_.max_clients);
  told_links told_;
  bypass_links links_;
  slots fills_{options_.fetch.max_fills};
  // Without a store each client fetches for itself anyway: there are as many as there may be clients.
  slots pass_through_{store_ != nullptr ? options_.fetch.max_pass_through : std::max<std::size_t>(1, options_.max_clients)};
  disk_threads disk_{options_.fetch.disk_deadline, options_.fetch.log, [this] { (void)book_.flush(); }};
  recent_hits recent_{options_.keep_open, cache::tells_opened<Store> ? options_.max_kept_open : 0};
  cache::single_flight<fetch_job> flights_;
  cache::single_flight<first_reading> readings_;
  fetch_counters counters_;
  std::atomic<bool> draining_{false};
};

template <cache::CacheStore Store>
asio::awaitable<void> tee_to_cache<Store>::run_fill(tee_to_cache& self, std::shared_ptr<fetch_job> job, net::worker& worker) {
  auto f = std::make_unique<proxy::fetch<Store>>(job, *self.store_, self.book_, self.disk_, self.fills_, self.options_.fetch,
                                                 self.counters_, worker, self.upstreams_.of(worker));
  try {
    co_await f->run();
  } catch (std::exception const& e) {
    if (self.options_.fetch.log) self.options_.fetch.log(log_level::error, std::string("a fill ended: ") + e.what());
    job->current()->cut();
  }
  f.reset();
  self.flights_.leave(job->object_key(), job.get());
}

/// Reads the object, which is noted where it is found to be whole, or gone where it is not.
template <cache::CacheStore Store>
asio::awaitable<void> tee_to_cache<Store>::run_reading(tee_to_cache& self, std::shared_ptr<first_reading> r, cache::key k) {
  try {
    auto read = [store = self.store_, k] { return static_cast<bool>(store->open(k)); };
    (void)co_await self.disk_.ask(self.disk_.long_reads, read);
  } catch (std::exception const& e) {
    if (self.options_.fetch.log) self.options_.fetch.log(log_level::error, std::string("an object was not read: ") + e.what());
  }
  self.readings_.leave(k, r.get());
  r->done();
}

/// Until the object, which has to be read before it can be served, was read. False: the exchange has ended.
template <cache::CacheStore Store>
asio::awaitable<bool> tee_to_cache<Store>::wait_for_reading(exchange& x, cache::key k, std::optional<cache::link_id> link) {
  auto const make = [] { return std::make_shared<first_reading>(); };
  auto const ticket = readings_.join(k, make);
  first_reading::reader me(x, ticket.work, options_.reader);
  if (ticket.started) asio::co_spawn(x.worker().io.get_executor(), run_reading(*this, ticket.work, k), asio::detached);
  bool const read = co_await me.wait(disk_, room_->held, link);
  co_return read;
}

template <cache::CacheStore Store>
asio::awaitable<std::optional<bool>> tee_to_cache<Store>::stored(exchange& x, cache::key k, std::optional<cache::link_id> link) {
  if (store_ == nullptr) co_return false;
  if (waits_for_reading(k)) {
    client_room::client const here(*room_);
    bool const goes_on = enter(x, here);
    if (!goes_on) co_return std::nullopt;
    bool const read = co_await wait_for_reading(x, k, link);
    if (!read) co_return std::nullopt;
    if (cache::opens_slowly(*store_, k)) co_return false;  // it could not be read
  }
  auto look = [store = store_, k] { return static_cast<bool>(store->open(k)); };
  auto const answer = co_await disk_.ask(disk_.io, look);
  co_return answer.value_or(false);
}

/// A complete object that was opened a moment ago, if the store still has it; or null.
template <cache::CacheStore Store>
std::shared_ptr<fetch_job> tee_to_cache<Store>::find_recent(exchange& x, cache::key const& k) {
  auto job = recent_.find(k);
  if (!job) return nullptr;
  auto const object = job->current()->view();
  if (!cache::opens_as(*store_, k, *object.about, *object.body)) {
    recent_.drop(k);
    return nullptr;
  }
  x.notes().cache = "hit";
  (void)book_.saw(k, object.about->generation);
  return job;
}

/// Null: the disk hangs.
template <cache::CacheStore Store>
asio::awaitable<std::shared_ptr<fetch_job>> tee_to_cache<Store>::find(exchange& x, cache::key const& k,
                                                                     fetch_source const& source) {
  auto job = flights_.find(k);
  auto const executor = x.worker().io.get_executor();
  if (!job && !cache::opens_slowly(*store_, k)) {  // else it could not be read just now, and a fill says why
    auto look = [store = store_, k] { return store->open(k); };
    auto answer = co_await disk_.ask(disk_.io, look);
    if (!answer) co_return nullptr;
    auto& stored = *answer;
    if (stored) {
      x.notes().cache = "hit";
      (void)book_.saw(k, stored->meta.generation);
      job = std::make_shared<fetch_job>(k, executor);
      job->publish_stored(std::move(stored->meta), disk_.closed_on_pool(std::move(stored->body)));
      recent_.keep(k, job, executor);
      co_return job;
    }
  }
  if (!job) {
    auto const make = [&] {
      bool const suspends = options_.fetch.abandoned == when_abandoned::suspend;
      auto made = std::make_shared<fetch_job>(k, executor, suspends ? std::optional(options_.fetch.reconnect_grace) : std::nullopt);
      made->offer(source);
      if (auto told = told_.newest(k)) made->offer(*std::move(told));
      return made;
    };
    auto const ticket = flights_.join(k, make);
    job = ticket.work;
    x.notes().cache = ticket.started ? "miss" : "joined";
    if (ticket.started) {
      recent_.clear();  // what is open is not evicted to make room for this
      if (draining_.load()) job->stop();
      asio::co_spawn(executor, run_fill(*this, job, x.worker()), asio::detached);
      co_return job;
    }
  } else {
    x.notes().cache = "joined";
  }
  job->offer(source);
  co_return job;
}

/// Leaves `out` without a job where the disk hangs.
template <cache::CacheStore Store>
asio::awaitable<void> tee_to_cache<Store>::find_unended(exchange& x, cache::key const& k, fetch_source const& source,
                                                        followed& out) {
  while (!disk_.hung()) {
    auto job = co_await find(x, k, source);
    out.follow(std::move(job));
    if (!out.job || !out.job->ended()) co_return;
    out.follow(nullptr);  // its part is being put away: the next one goes on with it
    asio::steady_timer soon(x.worker().io.get_executor(), std::chrono::milliseconds(5));
    std::error_code ignored;
    co_await soon.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
}

/// Null: all of it is there.
template <cache::CacheStore Store>
std::unique_ptr<ahead_reader> tee_to_cache<Store>::ahead_of(exchange& x, std::shared_ptr<fetch_job> const& job,
                                                           cache::fill const& object) {
  if (object.view().phase == cache::fill_phase::complete) return nullptr;
  ahead_options o;
  o.far_ahead = options_.reader.far_ahead;
  o.reserve = options_.reader.reserve;
  o.look = options_.reader.look;
  o.turn = options_.reader.ahead_turn;
  origin_request const origin(*upstreams_.of(x.worker()), x.worker().deadlines, options_.fetch, counters_);
  return std::make_unique<ahead_reader>(job, origin, options_.fetch, counters_, pass_through_, x.worker(), o);
}

template <cache::CacheStore Store>
asio::awaitable<void> tee_to_cache<Store>::serve_from(exchange& x, std::string const& root) {
  fetch_source from;
  from.url = root + std::string(x.target().path);
  if (x.target().has_query) from.url.append("?").append(x.target().query);
  auto const uri = http::parse_uri(from.url);
  auto const key = uri ? cache::make_key(*uri, from.headers) : result<cache::key>(uri.error());
  if (key) {
    co_await serve(x, *key, std::move(from));
    co_return;
  }
  std::string const text = x.options().error_body ? x.options().error_body(400, x) : std::string();
  (void)co_await x.respond(400, x.options().error_type, text);
}

template <cache::CacheStore Store>
asio::awaitable<void> tee_to_cache<Store>::serve(exchange& x, cache::key k, fetch_source source) {
  x.notes().object = k;
  client_room::client const here(*room_);
  bool const goes_on = enter(x, here);
  if (!goes_on) co_return;
  if (store_ != nullptr && waits_for_reading(k)) {
    bool const read = co_await wait_for_reading(x, k, source.link);
    if (!read) co_return;
  }
  link_promise promise(book_, disk_, k, source);
  followed it;
  if (store_ != nullptr && !disk_.hung() && !flights_.find(k)) it.follow(find_recent(x, k));
  if (store_ != nullptr && !it.job) co_await find_unended(x, k, source, it);
  if (it.job) {
    auto const object = it.job->current();
    auto const ahead = ahead_of(x, it.job, *object);
    it.reader = std::make_unique<object_reader>(x, object, disk_, options_.reader, promise, room_->held, ahead.get());
    auto const outcome = co_await it.reader->serve();
    if (outcome == object_reader::outcome::done) co_return;
  }
  co_await pass(x, k, std::move(source), promise, it);
}

/// Past the store, behind what has been sent.
template <cache::CacheStore Store>
asio::awaitable<void> tee_to_cache<Store>::pass(exchange& x, cache::key k, fetch_source source, link_promise& promise,
                                                followed& begun) {
  x.notes().cache = "bypass";
  body_position at;
  if (begun.reader) at = begun.reader->position();
  begun.reader.reset();  // gives its blocks back
  origin_request origin(*upstreams_.of(x.worker()), x.worker().deadlines, options_.fetch, counters_);
  auto own = std::make_unique<pass_through>(x, origin, k, std::move(source), links_, options_.fetch, options_.reader, promise,
                                            room_->held, pass_through_, std::move(at));
  if (begun.job) links_.offer(k, begun.job->newest());
  if (auto told = told_.newest(k)) links_.offer(k, *std::move(told));
  if (disk_.hung()) own->doubt_refusals();
  co_await own->serve();
}

}  // namespace mgw::proxy
