#pragma once

#include <mgw/cache/fill.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/cache/single_flight.hpp>
#include <mgw/cache/store.hpp>
#include <mgw/http/range.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/answer_text.hpp>
#include <mgw/proxy/backoff.hpp>
#include <mgw/proxy/fetch_job.hpp>
#include <mgw/proxy/disk_threads.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/fill_disk.hpp>
#include <mgw/proxy/fill_writer.hpp>
#include <mgw/proxy/link_list.hpp>
#include <mgw/proxy/origin_request.hpp>
#include <mgw/proxy/resume.hpp>
#include <mgw/proxy/slots.hpp>
#include <mgw/upstream/cancellable.hpp>
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
/// | 206 that continues the part | goes on; behind the end of a shorter range it asks again |
/// | 200 to a range | compares with the part as it arrives and goes on behind it |
/// | 416 that has the object's length | asks for the whole, compares, and goes on behind what is equal |
/// | the same strong ETag, but another total or more bytes than that | doubts it once, tries again, and compares what it took |
/// | no ETag where the part has a strong one, and another length or other bytes: a page of somebody in between | doubts it eight times |
/// | another ETag, total or other bytes; 412, other 416 | the object was replaced: readers are cut; what comes next is another generation, unless its strong ETag is the same and no byte was seen to differ |
/// | the same again before that one is whole | each time costs a transfer: the fill ends if nobody follows it, else it goes on after a growing pause |
/// | 403 while a newer link is known | tries that one |
/// | 403 or 400 to a link whose signature has expired | the same, or else pauses until there is a newer one |
/// | other 4xx | a definite refusal |
///
/// What is stored is verified on its way (fill_writer): a body that is found to be bad is a definite refusal, and is not
/// fetched again. Where the store fails or hangs (fill_disk), readers go on by themselves (pass_through). While the link
/// is paused (rate_limit), or nobody follows the object and it is to be suspended then, it stands by: off the link,
/// without a turn. What is stored is served meanwhile.
///
/// Thread rule: runs on one worker, the job's. Source: RFC 9110 14 and 13.1, RFC 9112 9.
template <cache::CacheStore Store>
class fetch {
public:
  using clock = std::chrono::steady_clock;

  fetch(std::shared_ptr<fetch_job> job, Store& objects, cache::ledger& book, disk_threads& threads, slots& turns,
        fetch_options const& options, fetch_counters& counters, net::worker& worker, std::shared_ptr<upstream::pool> pool)
      : job_(std::move(job)), store_(objects), turn_(turns, job_->executor(), job_->host()), disk_(*job_, threads, turn_), options_(options),
        counters_(counters), pool_(std::move(pool)), origin_(*pool_, worker.deadlines, options, counters),
        backoff_(options.backoff_first, options.backoff_max), generations_(options.backoff_first, options.backoff_max),
        writer_(*job_, objects, book, disk_, options, counters, worker.io) {}

  /// Until the object is complete, refused, abandoned or the job is stopped. A part is kept for later where it can be.
  asio::awaitable<void> run();

private:
  enum class verdict { whole, done, fault, refused, changed, again, store_failed, condemned };
  struct answer {
    verdict what = verdict::fault;
    int status = 0;
    bool other_bytes = false;  // that it was replaced is seen by them, not only said
    std::string why;
    answer() = default;
    explicit answer(written const& w) : why(w.why) {
      switch (w.what) {
        case written::state::good: what = verdict::whole; break;
        case written::state::other_bytes:
          what = verdict::changed;
          other_bytes = true;
          break;
        case written::state::store_failed: what = verdict::store_failed; break;
        case written::state::condemned: what = verdict::condemned; break;
        case written::state::unverified:
        case written::state::late: what = verdict::fault; break;
      }
    }
  };

  asio::awaitable<bool> begin();
  asio::awaitable<answer> step();
  asio::awaitable<bool> settle(answer const& a);
  asio::awaitable<bool> begin_anew(answer const& a);
  asio::awaitable<answer> attempt(fetch_source const& source);
  asio::awaitable<answer> judge(upstream::client_exchange& up, bool asked_for_rest);
  answer judge_refused_link(http::response_head const& head, fetch_source const& source, bool waited);
  static constexpr char const* another_length = "another length of the same object";
  answer contradicts(std::string why, unsigned bears = 1);
  asio::awaitable<answer> take_body(upstream::client_exchange& up, std::uint64_t at, std::optional<std::uint64_t> end);
  asio::awaitable<answer> begin_part(http::response_head const& head, std::optional<std::uint64_t> length);
  asio::awaitable<void> wait_for_turn();
  asio::awaitable<void> pause(std::chrono::milliseconds length);
  asio::awaitable<answer> leave_link();
  asio::awaitable<bool> stand_by();
  bool complete() const { return whole_ || (writer_.begun() && !compared_ && writer_.length() == have()); }
  bool paused() const { return options_.exchange.limit && options_.exchange.limit->paused(); }
  bool off_the_link() const { return !complete() && (job_->abandoned() || paused()); }
  std::string range_fields() const {
    return writer_.begun() && !ranges_useless_ ? resume_fields(writer_.meta(), next()) : std::string();
  }
  bool belongs(http::response_head const& head, std::optional<std::uint64_t> total) const {
    return same_generation(writer_.meta(), writer_.length(), head, total);
  }
  void log(log_level level, std::string const& text) const {
    if (options_.log) options_.log(level, "fill " + job_->object_key().hex().substr(0, 12) + ": " + text);
  }
  std::uint64_t have() const { return writer_.size(); }
  /// The byte that is asked for next.
  std::uint64_t next() const { return compared_.value_or(have()); }
  std::string told(http::response_head const& head) const {
    return answer_text(head, host_, static_cast<std::int64_t>(std::time(nullptr)));
  }

  std::shared_ptr<fetch_job> job_;
  Store& store_;
  slots::place turn_;
  fill_disk disk_;
  fetch_options const& options_;
  fetch_counters& counters_;
  std::shared_ptr<upstream::pool> pool_;
  origin_request origin_;
  backoff backoff_;
  backoff generations_;  // pauses between them; not reset: bytes that come are no progress if they are dropped
  fill_writer<Store> writer_;

  std::string host_;  // who was asked last
  std::optional<std::uint64_t> unconfirmed_end_;  // where a close-delimited body ended, if nothing else told its length
  bool was_replaced_ = false;
  unsigned doubts_ = 0;                    // how often what was told contradicted it since, by what may have been a fault
  std::optional<std::uint64_t> compared_;  // what is stored behind this byte may be wrong: it is asked for again
  bool whole_ = false;
  bool wants_newer_link_ = false;       // the last answer was that the link has expired
  bool ranges_useless_ = false;         // the upstream answered a range wrongly: ask for the whole and compare
  bool may_leave_ = false;              // the upstream is known to send the rest by itself: no byte would come twice
  std::uint64_t ever_ = 0;              // the furthest byte of this generation that ever arrived
  clock::time_point progress_ = clock::now();
};

/// False: there is nothing to fetch, somebody has completed it between our look and our start.
template <cache::CacheStore Store>
asio::awaitable<bool> fetch<Store>::begin() {
  auto const& key = job_->object_key();
  auto look = [&] { return store_.open(key); };
  bool const much = cache::opens_slowly(store_, key);
  auto stored = co_await disk_.read(much, look);
  if (stored) {
    job_->publish_stored(std::move(stored->meta), disk_.shared(std::move(stored->body)));
    co_return false;
  }
  if (disk_.late()) co_return true;
  // What may be there, but cannot be had at this moment (too many open files, say), is neither fetched again nor dropped.
  std::string why;
  if (stored.error() != std::errc::no_such_file_or_directory) why = stored.error().message();
  if (why.empty()) {
    written const w = co_await writer_.resume();
    if (!w) why = w.why;
  }
  if (!why.empty()) {
    if (counters_.store_trouble.due()) log(log_level::error, "cannot be opened, clients go past the store: " + why);
    job_->current()->bypass();
    co_return false;
  }
  ever_ = have();
  if (writer_.begun()) log(log_level::info, "goes on at byte " + std::to_string(have()));
  co_return true;
}

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::run() {
  counters_.fills.fetch_add(1, std::memory_order_relaxed);
  bool const wanted = co_await begin();
  if (!wanted) co_return;
  while (!job_->stopping() && !disk_.late()) {
    std::uint64_t const before = have();
    bool const off = off_the_link();
    answer a;
    if (off)
      a = co_await leave_link();
    else
      a = co_await step();
    if (have() > before) {
      progress_ = clock::now();
      backoff_.reset();
    }
    if (a.what == verdict::done) co_return;
    if (job_->stopping()) break;
    bool const over = co_await settle(a);
    if (over) co_return;
    if (off && a.what == verdict::whole) {
      bool const on = co_await stand_by();
      if (!on) break;
      continue;
    }
    if (a.what == verdict::changed) {
      bool const on = co_await begin_anew(a);
      if (!on) break;
    }
    if (a.what != verdict::fault || (!off && off_the_link()) || disk_.late()) continue;
    counters_.faults.fetch_add(1, std::memory_order_relaxed);
    bool const longest = backoff_.at_most();
    auto const length = backoff_.next();
    job_->tell(fetch_job::stage::retrying, a.why);
    log(log_level::warn, a.why + "; next try from byte " + std::to_string(have()) + " in " + std::to_string(length.count()) + " ms");
    if (clock::now() - progress_ > options_.abandon_after && job_->end_if_unread()) break;
    if (longest) writer_.rest();
    co_await pause(length);
  }
  std::uint64_t const reached = have();
  co_await writer_.keep();
  if (!disk_.late()) co_return job_->current()->cut();
  log(log_level::info, "the disk took too long, ended at byte " + std::to_string(reached));
  job_->current()->bypass();
}

/// An attempt to get further, or, when all is there, to finish.
template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::step() {
  auto const begun = clock::now();
  bool const all = complete();
  if (all || !writer_.resting()) {
    written const ready = co_await writer_.prepare();
    if (!ready) co_return answer(ready);
  }
  if (all) {
    job_->tell(fetch_job::stage::verifying);
    written const w = co_await writer_.finish();
    answer a(w);
    if (w) a.what = verdict::done;
    co_return a;
  }
  co_await wait_for_turn();
  progress_ += clock::now() - begun;  // in line, and while the verifier is fed, nothing can come
  if (job_->unwanted()) co_return answer();
  fetch_source const source = job_->freshest();
  answer const a = co_await attempt(source);
  co_return a;
}

/// Does what the answer asks for. True: the fill is over.
template <cache::CacheStore Store>
asio::awaitable<bool> fetch<Store>::settle(answer const& a) {
  switch (a.what) {
    case verdict::changed:
      log(log_level::warn, "the object was replaced upstream (" + a.why + "); what was stored of it is dropped");
      co_await writer_.drop(!a.other_bytes);
      ever_ = 0;
      ranges_useless_ = false;
      doubts_ = 0;
      compared_.reset();
      unconfirmed_end_.reset();
      if (!options_.whole_only) job_->replace();  // else nobody has seen anything of it
      co_return false;
    case verdict::refused:
      if (!job_->refuse(a.status)) co_return false;
      log(log_level::warn, "refused: " + a.why);
      co_await writer_.keep();
      co_return true;
    case verdict::condemned:
      // An error once, with the reason; devices that go on asking are no news.
      log(writer_.begun() ? log_level::error : log_level::info, "condemned: " + a.why);
      job_->end();
      co_await writer_.condemn();
      if (options_.condemned) options_.condemned(job_->object_key(), a.why);
      co_return true;
    case verdict::store_failed:
      if (counters_.store_trouble.due()) log(log_level::error, "cannot be stored, clients go past the store: " + a.why);
      co_await writer_.drop();
      job_->current()->bypass();
      co_return true;
    case verdict::whole:  // the next step finishes it
    case verdict::done:
    case verdict::again:
    case verdict::fault: break;
  }
  co_return false;
}

/// Before the next generation: at once for the first. False: nobody follows the fill, and it ends.
template <cache::CacheStore Store>
asio::awaitable<bool> fetch<Store>::begin_anew(answer const& a) {
  if (!std::exchange(was_replaced_, true)) co_return true;
  auto const length = generations_.next();
  job_->tell(fetch_job::stage::retrying, a.why);
  log(log_level::warn, "replaced again before it was whole; next try in " + std::to_string(length.count()) + " ms, if anybody follows it");
  co_await pause(length);
  co_return !job_->end_if_unread();
}

template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::attempt(fetch_source const& source) {
  answer a;
  bool const waited = std::exchange(wants_newer_link_, false);
  std::string const fields = range_fields();
  auto const watch = [this](upstream::cancellable what) { job_->watch(what); };
  origin_answer got = co_await origin_.ask(source, fields, watch);
  host_ = std::move(got.host);
  if (!got.up) {
    a.what = got.forbidden ? verdict::refused : verdict::fault;
    a.status = 403;
    a.why = std::move(got.why);
    co_return a;
  }
  int const status = got.up->head().status;
  if (status == 403 || status == 400) co_return judge_refused_link(got.up->head(), source, waited);
  job_->watch(got.up.get());
  a = co_await judge(*got.up, !fields.empty());
  job_->watch(nullptr);
  co_return a;
}

template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::judge(upstream::client_exchange& up, bool asked_for_rest) {
  answer a;
  auto const& head = up.head();
  a.status = head.status;
  a.why = told(head);
  auto const framing = up.framing();
  std::optional<std::uint64_t> const length =
      framing.kind == http::body_kind::length ? std::optional(framing.length) : std::nullopt;
  if ((head.status == 200 || head.status == 206) && is_coded(head.fields)) {
    a.why = "a content coding that was not asked for";
    co_return a;
  }
  switch (head.status) {
    case 200: {
      ranges_useless_ = false;  // what comes now may break off, and be resumed
      may_leave_ = !asked_for_rest && offers_ranges(head.fields);
      // What nobody has seen, and nothing names, need not be what comes now.
      if (writer_.begun() && options_.whole_only && !writer_.meta().etag.starts_with('"')) co_await writer_.drop();
      // A page of somebody in between has no ETag, where the object's own answers have.
      bool const nameless =
          writer_.begun() && writer_.meta().etag.starts_with('"') && !head.fields.contains("ETag");
      unsigned const bears = nameless ? max_nameless : 1;
      if (writer_.begun()) {  // also an empty part of an earlier attempt: its promises may be other ones
        if (!belongs(head, length)) {
          a.what = verdict::changed;
          if (belongs(head, std::nullopt)) a = contradicts(another_length, bears);
          co_return a;
        }
        if (nameless && have() == 0) co_return contradicts("a 200 that does not name the object", bears);
      } else {
        answer const begun = co_await begin_part(head, length);
        if (begun.what != verdict::whole) co_return begun;
      }
      std::optional<std::uint64_t> const end = writer_.length();
      a = co_await take_body(up, 0, end);
      if (nameless && a.other_bytes) {
        a = contradicts(std::move(a.why), bears);
        a.other_bytes = true;
      }
      co_return a;
    }
    case 206: {
      auto const range = http::parse_content_range(head.fields.value("Content-Range"));
      bool const fits = range && (!length || (range->range && *length == range->range->size()));
      if (!fits || !writer_.begun() || !continues_part(writer_.meta(), next(), head, *range)) {
        ranges_useless_ = true;
        a.why = "a 206 that does not continue the part";
        co_return a;
      }
      if (!belongs(head, range->length)) {
        a.what = verdict::changed;
        a.why = "the 206 belongs to another generation";
        if (belongs(head, std::nullopt)) a = contradicts(another_length);
        co_return a;
      }
      if (!writer_.length()) writer_.set_length(*range->length);
      may_leave_ = true;
      std::optional<std::uint64_t> const end = range->range->last + 1;
      a = co_await take_body(up, next(), end);
      co_return a;
    }
    case 416:
      if (auto const all = http::parse_content_range(head.fields.value("Content-Range")); all && all->length) {
        if (unconfirmed_end_ == have() && all->length == have()) {
          whole_ = true;
          a.what = verdict::whole;
          co_return a;
        }
        if (all->length == writer_.length() && next() < *all->length) {
          ranges_useless_ = true;
          a.why += ", though the range lies within the object";
          co_return a;
        }
      }
      [[fallthrough]];
    case 412: a.what = have() != 0 ? verdict::changed : verdict::fault; co_return a;
    default: break;
  }
  a.what = is_passing(head.status) || head.status < 400 ? verdict::fault : verdict::refused;
  co_return a;
}

/// 403, or 400, which Google says to a signature that has expired, and S3 where the credentials behind it have. A newer
/// link is tried at once, but not after one that has expired, too: else each new link would be a request at once.
template <cache::CacheStore Store>
typename fetch<Store>::answer fetch<Store>::judge_refused_link(http::response_head const& head, fetch_source const& source,
                                                               bool waited) {
  answer a;
  a.status = head.status;
  a.why = told(head);
  a.what = verdict::refused;
  wants_newer_link_ = has_expired(source);
  if (job_->has_newer_than_tried() && (wants_newer_link_ ? !waited : head.status == 403)) {
    a.what = verdict::again;
  } else if (wants_newer_link_) {
    a.what = verdict::fault;
    a.why += ": the link's signature has expired; a newer one is waited for";
  }
  return a;
}

template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::begin_part(http::response_head const& head,
                                                                        std::optional<std::uint64_t> length) {
  cache::meta about = meta_of(job_->object_key(), head, length);
  written const begun = co_await writer_.begin(std::move(about), length);
  ever_ = 0;
  co_return answer(begun);
}

/// The upstream says something that cannot be true of this generation, under its name. What a fault may have done once
/// costs nobody his connection: it is believed when it has come more than `bears` times while the object has not grown.
template <cache::CacheStore Store>
typename fetch<Store>::answer fetch<Store>::contradicts(std::string why, unsigned bears) {
  answer a;
  a.why = std::move(why);
  bool const doubted = writer_.meta().etag.starts_with('"') && doubts_++ < bears;
  a.what = doubted ? verdict::fault : verdict::changed;
  a.other_bytes = compared_.has_value();  // it was more than said
  return a;
}

/// Writes the body, whose first byte is the one at `at`, as it comes. `end`: one past its last byte.
template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::take_body(upstream::client_exchange& up, std::uint64_t at,
                                                                       std::optional<std::uint64_t> end) {
  answer a;
  std::uint64_t const begin = at;
  written const ready = co_await writer_.prepare();
  if (!ready) co_return answer(ready);
  std::size_t const whole = std::max<std::size_t>(options_.batch, 1);
  std::string batch;
  batch.reserve(whole);
  body::chunk c;
  for (;;) {
    if (c.bytes.empty()) c = co_await up.read_body();
    // A batch ends at a multiple of its size: what is written from page to page, the system keeps in larger pieces, which
    // costs a third less to write and a fifth less to read.
    std::size_t const room = whole - static_cast<std::size_t>((at + batch.size()) % whole);
    std::size_t const taken = std::min(room, c.bytes.size());
    batch.append(c.bytes.substr(0, taken));
    c.bytes.remove_prefix(taken);
    bool const more_at_once = taken < room && !c.end && !c.ec && up.ready();
    if (more_at_once) continue;
    if (end && at + batch.size() > *end) {
      ever_ = counters_.arrived(at, batch.size(), ever_);
      compared_ = 0;  // what came before this was of the same body
      co_await writer_.doubt();
      co_return contradicts("more bytes than announced");
    }
    if (!batch.empty()) {
      std::uint64_t const before = have();
      written const w = co_await writer_.write(batch, at);
      ever_ = counters_.arrived(at, batch.size(), ever_);
      at += batch.size();
      if (compared_) compared_ = at;
      if (have() > before) {
        doubts_ = 0;
        job_->tell(fetch_job::stage::fetching);
      }
      batch.clear();
      if (!w) co_return answer(w);
      bool const idle = c.bytes.empty() && !up.ready();  // which reads, where the rest of the piece is
      co_await writer_.checkpoint_if_due(idle);
    }
    if (!c.bytes.empty()) continue;
    if (c.ec) {
      counters_.errors.count(c.ec, upstream::hop::response);
      a.why = "the body broke off: " + c.ec.message();
      co_return a;
    }
    if (c.end) break;
    if (job_->unwanted() || disk_.late()) co_return a;
    if (may_leave_ && up.narrowed() && !range_fields().empty()) {
      a.what = verdict::again;
      co_return a;
    }
  }
  bool const shorter_range = end && at == *end && *end != writer_.length();
  if (shorter_range) {
    a.why = "a range shorter than asked for";
    if (at - begin >= options_.batch) a.what = verdict::again;  // else it pauses: no request for each byte
    co_return a;
  }
  if (at < have() || (writer_.length() && writer_.length() != have())) {
    a.why = "the body ended early";
    co_return a;
  }
  a.what = verdict::whole;
  compared_.reset();
  writer_.trust();
  if (!writer_.length() && up.framing().kind == http::body_kind::until_close && unconfirmed_end_ != have())
    unconfirmed_end_ = have();  // an end like a cut: the upstream has to say it twice
  else
    whole_ = true;
  co_return a;
}

/// While others fetch, this one waits in line; the turn is kept until the next pause.
template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::wait_for_turn() {
  struct waker {
    slots::place& turn;
    void cancel() noexcept { turn.wake(); }
  } wakes{turn_};
  job_->watch(&wakes);
  auto const before = job_->told();
  if (!turn_.try_enter()) job_->tell(fetch_job::stage::waiting, "other artifacts are fetched first");
  for (bool mine = false; !mine && !job_->unwanted();) mine = co_await turn_.wait_until(clock::time_point::max());
  job_->tell(before.at, before.why);
  job_->watch(nullptr);
}

/// Makes safe what is there, and shows it; the turn is another one's. `whole`: so it is.
template <cache::CacheStore Store>
asio::awaitable<typename fetch<Store>::answer> fetch<Store>::leave_link() {
  turn_.leave();
  co_await writer_.checkpoint();
  written shown;
  if (!writer_.resting()) shown = co_await writer_.prepare();
  co_return answer(shown);
}

/// Until the link may be used and somebody wants the object. False: nobody has wanted it for long.
template <cache::CacheStore Store>
asio::awaitable<bool> fetch<Store>::stand_by() {
  std::string const why = paused() ? "the link is paused" : "nobody follows it";
  job_->tell(fetch_job::stage::waiting, why);
  log(log_level::info, why + "; stands by at byte " + std::to_string(have()));
  auto const begun = clock::now();
  for (auto unwanted_since = begun; !job_->stopping() && !disk_.late();) {
    auto const now = clock::now();
    if (paused())
      unwanted_since = now;
    else if (!job_->abandoned())
      break;
    else if (now - unwanted_since > options_.abandon_after && job_->end_if_unread())
      co_return false;
    if (now - begun >= options_.backoff_max) writer_.rest();
    co_await job_->sleep(options_.stand_by_look);
  }
  job_->tell(fetch_job::stage::fetching);
  progress_ = clock::now();
  co_return true;
}

template <cache::CacheStore Store>
asio::awaitable<void> fetch<Store>::pause(std::chrono::milliseconds length) {
  turn_.leave();
  if (length >= options_.checkpoint_every) co_await writer_.checkpoint();
  if (wants_newer_link_)
    co_await job_->sleep_until_newer(length);
  else
    co_await job_->sleep(length);
}

}  // namespace mgw::proxy
