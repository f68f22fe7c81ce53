#pragma once

#include <mgw/cache/error.hpp>
#include <mgw/cache/fill.hpp>
#include <mgw/cache/generation.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/cache/read_at.hpp>
#include <mgw/cache/single_flight.hpp>
#include <mgw/cache/store.hpp>
#include <mgw/core/blocking_pool.hpp>
#include <mgw/http/range.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/proxy/fetch_job.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/origin_request.hpp>
#include <mgw/proxy/slots.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// Fills one object: asks the upstream, follows redirects, resumes by range after every fault, writes to the store and
/// publishes what is there. **What happens when the link dies is decided here**, in `run` and `judge`:
///
/// | the upstream | what the fill does |
/// |---|---|
/// | cannot be reached, is silent, breaks off, says 408, 425, 429 or 5xx | tries again after a growing pause, from the byte it has |
/// | 206 that continues the part | goes on |
/// | 200 to a range | compares with the part as it arrives and goes on behind it |
/// | another ETag, total or other bytes; 412, 416 | the object was replaced: readers are cut, a new generation begins |
/// | 403 while a newer link is known | tries that one |
/// | other 4xx | a definite refusal |
///
/// Where the store fails, readers go on by themselves (pass_through).
///
/// Thread rule: runs on one worker, the job's; disk work goes to the pools. Source: RFC 9110 14 and 13.1, RFC 9112 9.
template <cache::CacheStore Store>
class fetch {
public:
  using part = typename Store::part_type;
  using clock = std::chrono::steady_clock;

  fetch(std::shared_ptr<fetch_job> job, Store& store, cache::ledger& book, blocking_pool& disk, blocking_pool& sync,
        slots& turns, fetch_options const& options, fetch_counters& counters, net::deadline_queue& deadlines,
        std::shared_ptr<upstream::pool> pool)
      : job_(std::move(job)), store_(store), book_(book), disk_(disk), sync_(sync), turn_(turns, job_->executor()),
        options_(options), counters_(counters),
        pool_(std::move(pool)), origin_(*pool_, deadlines, options, counters) {}

  /// Until the object is complete, refused, abandoned or the job is stopped. A part is kept for later where it can be.
  asio::awaitable<void> run();

private:
  enum class verdict { whole, fault, refused, changed, try_newer, store_failed };
  struct answer {
    verdict what = verdict::fault;
    int status = 0;
    std::string why;
  };

  asio::awaitable<answer> attempt(fetch_source const& source);
  asio::awaitable<answer> judge(upstream::client_exchange& up);
  asio::awaitable<answer> take_body(upstream::client_exchange& up, std::uint64_t compare);
  asio::awaitable<std::error_code> store_batch(std::string_view bytes, std::uint64_t& compare);
  asio::awaitable<bool> begin_part(http::response_head const& head, std::optional<std::uint64_t> length);
  asio::awaitable<void> checkpoint_if_due();
  asio::awaitable<void> wait_for_turn();
  asio::awaitable<void> pause();
  asio::awaitable<void> finish();
  asio::awaitable<void> keep_part();
  std::string range_fields() const;
  bool same_generation(http::response_head const& head, std::optional<std::uint64_t> total) const;
  asio::awaitable<void> drop_generation();
  void log(log_level level, std::string const& text) const {
    if (options_.log) options_.log(level, "fill " + job_->object_key().hex().substr(0, 12) + ": " + text);
  }
  std::uint64_t have() const { return part_ ? part_->size() : 0; }

  std::shared_ptr<fetch_job> job_;
  Store& store_;
  cache::ledger& book_;
  blocking_pool& disk_;
  blocking_pool& sync_;
  slots::place turn_;
  fetch_options const& options_;
  fetch_counters& counters_;
  std::shared_ptr<upstream::pool> pool_;
  origin_request origin_;

  std::optional<part> part_;
  std::uint64_t dropped_ = 0;           // the generation that was found to be replaced
  std::optional<std::uint64_t> length_;  // of the whole, as soon as it is known
  std::optional<std::uint64_t> unconfirmed_end_;  // where a close-delimited body ended, if nothing else told its length
  bool whole_ = false;
  bool ranges_useless_ = false;         // the upstream answered a range wrongly: ask for the whole and compare
  std::uint64_t ever_ = 0;              // the furthest byte of this generation that ever arrived
  std::uint64_t synced_ = 0;
  clock::time_point synced_when_ = clock::now();
  clock::time_point progress_ = clock::now();
  std::chrono::milliseconds backoff_{0};
  std::minstd_rand random_{std::random_device{}()};
};

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::run() {
  auto const& key = job_->object_key();
  counters_.fills.fetch_add(1, std::memory_order_relaxed);
  {  // Somebody may have completed it between our look and our start.
    auto look = [&] { return store_.open(key); };
    auto stored = co_await disk_.run(look);
    if (stored) {
      job_->publish_stored(std::move(stored->meta), std::move(stored->body));
      co_return;
    }
    auto again = [&] { return store_.resume(key); };
    auto resumed = co_await disk_.run(again);
    if (resumed) {
      part_.emplace(*std::move(resumed));
      ever_ = synced_ = part_->size();
      if (part_->meta().length_known) length_ = part_->meta().length;
      job_->current()->begin(part_->meta(), part_->body(), part_->size());
      log(log_level::info, "goes on at byte " + std::to_string(part_->size()));
    }
  }
  backoff_ = options_.backoff_first;
  while (!job_->stopping()) {
    if (whole_ || (part_ && length_ == part_->size())) {
      co_await finish();
      co_return;
    }
    co_await wait_for_turn();
    if (job_->stopping()) break;
    fetch_source const source = job_->freshest();
    std::uint64_t const before = have();
    answer const a = co_await attempt(source);
    if (have() > before) {
      progress_ = clock::now();
      backoff_ = options_.backoff_first;
    }
    if (job_->stopping()) break;
    switch (a.what) {
      case verdict::whole: continue;  // the head of the loop commits it
      case verdict::changed:
        log(log_level::warn, "the object was replaced upstream (" + a.why + "); what was stored of it is dropped");
        co_await drop_generation();
        continue;
      case verdict::try_newer: continue;
      case verdict::refused:
        log(log_level::warn, "refused: " + a.why);
        job_->current()->refuse(a.status);
        co_await keep_part();
        co_return;
      case verdict::store_failed:
        log(log_level::error, "the store failed: " + a.why);
        if (part_) part_->drop();
        part_.reset();
        job_->current()->bypass();
        co_return;
      case verdict::fault: break;
    }
    counters_.faults.fetch_add(1, std::memory_order_relaxed);
    log(log_level::warn, a.why + "; next try from byte " + std::to_string(have()));
    if (job_->readers() == 0 && clock::now() - progress_ > options_.abandon_after) break;
    co_await pause();
  }
  co_await keep_part();
  job_->current()->cut();
}

template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::attempt(fetch_source const& source) {
  answer a;
  std::string const fields = range_fields();
  auto const watch = [this](upstream::client_exchange* up) { job_->watch(up); };
  origin_answer got = co_await origin_.ask(source, fields, watch);
  if (!got.up) {
    a.what = got.forbidden ? verdict::refused : verdict::fault;
    a.status = 403;
    a.why = std::move(got.why);
    co_return a;
  }
  job_->watch(got.up.get());
  a = co_await judge(*got.up);
  job_->watch(nullptr);
  co_return a;
}

template <cache::CacheStore Store>
std::string fetch<Store>::range_fields() const {
  std::string out;
  if (!part_ || part_->size() == 0 || ranges_useless_) return out;
  auto const& m = part_->meta();
  bool const strong = m.etag.size() >= 2 && m.etag.front() == '"';
  if (!strong && m.last_modified.empty()) return out;  // nothing to hold the answer against: the whole, compared
  http::append_field(out, "Range", "bytes=" + std::to_string(part_->size()) + "-");
  // Both: If-Match stops a server that knows it (412), If-Range makes one that does not send the whole instead of a splice.
  http::append_field(out, strong ? "If-Match" : "If-Unmodified-Since", strong ? m.etag : m.last_modified);
  http::append_field(out, "If-Range", strong ? m.etag : m.last_modified);
  return out;
}

template <cache::CacheStore Store>
bool fetch<Store>::same_generation(http::response_head const& head, std::optional<std::uint64_t> total) const {
  auto const& m = part_->meta();
  auto const etag = head.fields.value("ETag");
  if (!m.etag.empty() && !etag.empty() && etag != m.etag) return false;
  auto const modified = head.fields.value("Last-Modified");
  if (m.etag.empty() && !m.last_modified.empty() && !modified.empty() && modified != m.last_modified) return false;
  return !length_ || !total || *total == *length_;
}

template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::judge(upstream::client_exchange& up) {
  answer a;
  auto const& head = up.head();
  a.status = head.status;
  a.why = "status " + std::to_string(head.status);
  auto const framing = up.framing();
  std::optional<std::uint64_t> const length =
      framing.kind == http::body_kind::length ? std::optional(framing.length) : std::nullopt;
  switch (head.status) {
    case 200: {
      if (have() != 0) {
        if (!same_generation(head, length)) {
          a.what = verdict::changed;
          co_return a;
        }
        a = co_await take_body(up, 0);
        co_return a;
      }
      if (part_) {  // an empty part of an earlier attempt: its promises may be other ones
        if (!same_generation(head, length)) {
          a.what = verdict::changed;
          co_return a;
        }
      } else {
        bool const begun = co_await begin_part(head, length);
        if (!begun) {
          a.what = verdict::store_failed;
          co_return a;
        }
      }
      a = co_await take_body(up, have());
      co_return a;
    }
    case 206: {
      auto const range = http::parse_content_range(head.fields.value("Content-Range"));
      // A 206 names the ETag that its 200 would have (RFC 9110 15.3.7): without it nothing says what it is a part of.
      bool const named = part_ && (!part_->meta().etag.starts_with('"') || head.fields.contains("ETag"));
      bool const continues = named && range && range->range && range->range->first == have() && range->length &&
                             range->range->last + 1 == *range->length && (!length || *length == range->range->size());
      if (!continues) {
        ranges_useless_ = true;
        a.why = "a 206 that does not continue the part";
        co_return a;
      }
      if (!same_generation(head, range->length)) {
        a.what = verdict::changed;
        a.why = "the 206 belongs to another generation";
        co_return a;
      }
      if (!length_) {
        length_ = range->length;
        job_->current()->set_length(*length_);
      }
      a = co_await take_body(up, have());
      co_return a;
    }
    case 416:
      if (auto const all = http::parse_content_range(head.fields.value("Content-Range"));
          unconfirmed_end_ == have() && all && all->length == have()) {
        whole_ = true;
        a.what = verdict::whole;
        co_return a;
      }
      [[fallthrough]];
    case 412: a.what = have() != 0 ? verdict::changed : verdict::fault; co_return a;
    case 403:
      if (job_->has_newer_than_tried()) {
        a.what = verdict::try_newer;
        co_return a;
      }
      a.what = verdict::refused;
      co_return a;
    default: break;
  }
  bool const passing = head.status >= 500 || head.status == 408 || head.status == 425 || head.status == 429;
  a.what = passing || head.status < 400 ? verdict::fault : verdict::refused;
  co_return a;
}

template <cache::CacheStore Store>
asio::awaitable<bool> fetch<Store>::begin_part(http::response_head const& head, std::optional<std::uint64_t> length) {
  cache::meta m;
  m.key = job_->object_key();
  m.length = length.value_or(0);
  m.length_known = length.has_value();
  m.etag = head.fields.value("ETag");
  m.last_modified = head.fields.value("Last-Modified");
  m.content_type = head.fields.value("Content-Type");
  m.content_disposition = head.fields.value("Content-Disposition");
  m.stored_at = static_cast<std::int64_t>(std::time(nullptr));
  m.generation = cache::generation_of(m.etag, m.last_modified, length);
  // One that nothing tells, or that is not what its name says, is like no other.
  while (m.generation == 0 || m.generation == dropped_) m.generation = std::random_device{}() * std::uint64_t{0x1'0000'0001} + 1;
  auto make = [&] { return store_.create(m); };
  auto made = co_await disk_.run(make);
  if (!made) {
    log(log_level::error, "cannot be stored: " + made.error().message());
    co_return false;
  }
  part_.emplace(*std::move(made));
  length_ = length;
  ever_ = synced_ = 0;
  if (book_.saw(m.key, m.generation)) {
    auto note = [this] { return book_.flush(); };
    (void)co_await sync_.run(note);
  }
  job_->current()->begin(part_->meta(), part_->body(), 0);
  co_return true;
}

/// Takes the body into the part. `compare` is the offset of the body's first byte: what lies before the part's end is
/// compared instead of stored.
template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::take_body(upstream::client_exchange& up, std::uint64_t compare) {
  answer a;
  std::string batch;
  batch.reserve(options_.batch + lent_buffer::capacity);
  for (;;) {
    body::chunk const c = co_await up.read_body();
    batch.append(c.bytes);
    bool const more_at_once = !c.end && !c.ec && batch.size() < options_.batch && up.ready();
    if (more_at_once) continue;
    if (!batch.empty()) {
      std::uint64_t const at = compare;
      std::error_code const ec = co_await store_batch(batch, compare);
      std::uint64_t const again = std::min<std::uint64_t>(batch.size(), ever_ > at ? ever_ - at : 0);
      counters_.again_bytes.fetch_add(again, std::memory_order_relaxed);
      counters_.first_time_bytes.fetch_add(batch.size() - again, std::memory_order_relaxed);
      ever_ = std::max(ever_, at + batch.size());
      batch.clear();
      if (ec == std::errc::bad_message || ec == make_error_code(cache::error::length_mismatch)) {
        a.what = verdict::changed;
        a.why = ec == std::errc::bad_message ? "other bytes in the same place" : "more bytes than announced";
        co_return a;
      }
      if (ec) {
        a.what = verdict::store_failed;
        a.why = ec.message();
        co_return a;
      }
      co_await checkpoint_if_due();
    }
    if (c.ec) {
      a.why = "the body broke off: " + c.ec.message();
      co_return a;
    }
    if (c.end) break;
    if (job_->stopping()) co_return a;
  }
  if (compare < have() || (length_ && *length_ != have())) {
    a.why = "the body ended early";
    co_return a;
  }
  a.what = verdict::whole;
  if (!length_ && up.framing().kind == http::body_kind::until_close && unconfirmed_end_ != have())
    unconfirmed_end_ = have();  // an end like a cut: the upstream has to say it twice
  else
    whole_ = true;
  co_return a;
}

template <cache::CacheStore Store>
asio::awaitable<std::error_code> fetch<Store>::store_batch(std::string_view bytes, std::uint64_t& compare) {
  std::uint64_t const at = compare;
  compare += bytes.size();
  auto write = [this, bytes, at]() -> std::error_code {
    std::string_view rest = bytes;
    if (at < part_->size()) {
      auto const overlap = static_cast<std::size_t>(std::min<std::uint64_t>(rest.size(), part_->size() - at));
      std::string stored(overlap, '\0');
      if (auto ec = cache::read_exactly(*part_->body(), stored, at)) return ec;
      if (stored != rest.substr(0, overlap)) return std::make_error_code(std::errc::bad_message);
      rest.remove_prefix(overlap);
    }
    return rest.empty() ? std::error_code{} : part_->append(rest);
  };
  std::error_code const ec = co_await disk_.run(write);
  if (!ec) job_->current()->grew(part_->size());
  co_return ec;
}

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::checkpoint_if_due() {
  auto const now = clock::now();
  std::uint64_t const fresh = have() - std::min(synced_, have());
  if (fresh == 0 || now - synced_when_ < options_.checkpoint_every) co_return;
  auto sync = [this] { return part_->checkpoint(); };
  std::error_code const ec = co_await sync_.run(sync);
  if (ec) log(log_level::warn, "no checkpoint: " + ec.message());
  synced_ = have();
  synced_when_ = clock::now();
}

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::finish() {
  std::uint64_t const length = have();
  auto commit = [this, length] { return part_->commit(length); };
  std::error_code const ec = co_await sync_.run(commit);
  // Readers have the bytes on their descriptor either way; only the next start would have to fetch them again.
  if (ec) log(log_level::error, "complete, but not kept: " + ec.message());
  job_->current()->completed();
  part_.reset();
  if (!ec) log(log_level::info, "complete, " + std::to_string(length) + " bytes");
}

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::keep_part() {
  if (!part_) co_return;
  auto suspend = [this] {
    part_->suspend();
    return 0;
  };
  (void)co_await sync_.run(suspend);
  part_.reset();
}

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::drop_generation() {
  if (part_) {
    dropped_ = part_->meta().generation;
    auto drop = [this] {
      part_->drop();
      return 0;
    };
    (void)co_await disk_.run(drop);
    part_.reset();
  }
  ever_ = synced_ = 0;
  ranges_useless_ = false;
  length_.reset();
  unconfirmed_end_.reset();
  job_->replace();
}

/// While others fetch, this one waits in line; the turn is kept until the next pause.
template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::wait_for_turn() {
  job_->watch(&turn_, [](void* p) noexcept { static_cast<slots::place*>(p)->wake(); });
  for (bool mine = false; !mine && !job_->stopping();) mine = co_await turn_.wait_until(clock::time_point::max());
  job_->watch(nullptr);
}

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::pause() {
  turn_.leave();
  auto const jitter = std::chrono::milliseconds(std::uniform_int_distribution<int>(0, static_cast<int>(backoff_.count() / 2))(random_));
  auto const length = backoff_ / 2 + jitter + std::chrono::milliseconds(1);
  backoff_ = std::min(backoff_ * 2, options_.backoff_max);
  co_await job_->sleep(length);
}

}  // namespace mgw::proxy
