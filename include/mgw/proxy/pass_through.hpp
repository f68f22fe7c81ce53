#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/http/range.hpp>
#include <mgw/body/source.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/proxy/answer_text.hpp>
#include <mgw/proxy/backoff.hpp>
#include <mgw/proxy/body_position.hpp>
#include <mgw/proxy/bypass_answer.hpp>
#include <mgw/proxy/bypass_links.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/held_requests.hpp>
#include <mgw/proxy/kept_bytes.hpp>
#include <mgw/proxy/length_question.hpp>
#include <mgw/proxy/link_list.hpp>
#include <mgw/proxy/link_promise.hpp>
#include <mgw/proxy/object_reader.hpp>
#include <mgw/proxy/origin_request.hpp>
#include <mgw/proxy/resume.hpp>
#include <mgw/proxy/slots.hpp>

#include <asio/awaitable.hpp>
#include <asio/error.hpp>
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

/// One client's own way to an object that cannot be stored (no cache, disk full, broken): a broken cache never breaks a
/// download. It may take over a response that was begun from the cache.
///
/// The same rules as with the cache: what breaks off upstream is asked for again from where it stopped, on the same
/// generation only; a passing fault is never a status: without a head the client is held up to `reader_options::hold`.
/// No head goes out before more than the reserve has come, or the whole range; where the end of a body is known, its
/// last bytes are kept back and given out one by one while it waits for the upstream or its turn (kept_bytes).
/// A range is answered with exactly what was asked for: of a 200 the bytes before it are skipped, behind the end of a
/// shorter part the rest is asked for, and any other part is a fault. To one who has begun nothing else is, either: what
/// a fault may have made of an answer is doubted as a fill doubts it (fetch), so far as that can be told without what
/// was sent.
/// A body has a length. Where a 200 does not tell it, the object is asked for once more as the range that is all of it,
/// whose total is the length; so it can be resumed, too. Only where that does not tell it either, since the upstream
/// knows no ranges or no total, the body goes out in chunks: it cannot be stored, so it cannot be fetched whole first,
/// and to fetch it twice just to count is too dear. A client sees where chunks end, and so a cut for a cut, which it
/// would not with a body that ends with its connection; one of HTTP/1.0 gets that, with a reset for a cut.
/// Each request uses the newest link that is known (bypass_links). Of a link that is refused with 403 a newer one is
/// tried, and only then it is definite; where its signature has expired (then 400 counts, too), a newer one is waited
/// for.
/// So many at once, the others are held; who has begun goes first. Back-pressure: the client's. Thread rule: the
/// exchange's worker.
class pass_through {
public:
  pass_through(exchange& x, origin_request origin, cache::key const& k, fetch_source own, bypass_links& links,
               fetch_options const& fetch, reader_options const& reader, link_promise& promise, held_requests& held,
               slots& turns, body_position begun)
      : x_(x), origin_(origin), fetch_(fetch), reader_(reader), promise_(promise), at_(std::move(begun)),
        sent_(at_.head_out), kept_(reader.reserve), turn_(turns, x.worker().io.get_executor()), bounded_(at_.head_out), timer_(x.worker().io.get_executor()),
        links_(links, k, std::move(own), x.worker().io.get_executor(), newer_link, this) {
    if (!sent_) held_.emplace(held, x.worker().io.get_executor(), promise.link(), crowd_out, this);
  }

  asio::awaitable<void> serve();
  /// The object may be in a store that cannot be read at this moment: that upstream refuses it now is no definite no.
  void doubt_refusals() noexcept { doubtful_ = true; }

private:
  using clock = std::chrono::steady_clock;
  enum class outcome { done, fault, again };  // again: at once
  enum class opening { whole, part, unsatisfiable, unusable };

  /// Something has happened besides the upstream: waits end, an answer that is still to come is not waited for.
  void wake() noexcept {
    turn_.wake();
    timer_.cancel();
    if (!sent_) asking_.cancel();
  }
  static void crowd_out(void* self) noexcept {
    auto& me = *static_cast<pass_through*>(self);
    me.crowded_out_ = true;
    me.wake();
  }
  static void newer_link(void* self) noexcept {
    auto& me = *static_cast<pass_through*>(self);
    if (me.waits_for_newer_) me.timer_.cancel();
  }
  bool unwanted() const noexcept { return !sent_ && (x_.draining() || crowded_out_); }
  std::string fields() const;
  asio::awaitable<outcome> attempt();
  asio::awaitable<void> refuse(int status);
  /// What upstream has said, for the log, where it is no body that goes out.
  void note_answer(origin_answer const& got) {
    auto const now = static_cast<std::int64_t>(std::time(nullptr));
    x_.notes().failure = got.up ? answer_text(got.up->head(), got.host, now) : got.why;
  }
  std::string_view why_ended() const;
  std::optional<outcome> judge_refused_link(int status, bool waited);
  asio::awaitable<void> pause(std::chrono::milliseconds length);
  asio::awaitable<bool> sleep_until(clock::time_point until);
  bool doubt(bypass_answer::continuation what);
  asio::awaitable<outcome> relay(upstream::client_exchange& up, std::uint64_t skip, std::uint64_t end);
  asio::awaitable<body::chunk> read(upstream::client_exchange& up);
  asio::awaitable<origin_answer> ask(std::string const& conditions);
  asio::awaitable<bool> send(std::string_view piece);
  asio::awaitable<bool> meanwhile();
  void forget();
  /// The byte that is asked for next.
  std::uint64_t next() const noexcept { return at_.at + kept_.size(); }
  /// When the client gets one of the kept bytes, if no others.
  clock::time_point due() const noexcept {
    return sent_ && kept_.size() != 0 ? last_sent_ + reader_.trickle : clock::time_point::max();
  }
  /// When it has been silent for too long.
  clock::time_point ends() const noexcept { return last_sent_ + reader_.hold; }
  clock::time_point next_look() const noexcept { return std::min({clock::now() + reader_.look, due(), ends()}); }
  opening open(upstream::client_exchange const& up, std::uint64_t& skip, std::uint64_t& end);
  void start(upstream::client_exchange& up, bool part);
  bool is_resume() const {
    auto const range = http::parse_range(x_.request().fields.value("Range"));
    return range && range->first.value_or(1) != 0;
  }

  exchange& x_;
  origin_request origin_;
  fetch_options const& fetch_;
  reader_options const& reader_;
  link_promise& promise_;
  body_position at_;  // `head_out`: what it is sent is settled, the head written
  bool sent_;         // the head is on its way: nothing can be taken back
  kept_bytes kept_;   // of `at_` on
  std::uint64_t generation_ = 0;
  slots::place turn_;
  std::optional<held_requests::place> held_;  // until it is sent
  upstream::cancellable asking_;
  bool late_ = false;    // the answer is given up, a byte is due
  bool gone_ = false;    // the client
  bool crowded_out_ = false;
  bool ranges_useless_ = false;  // upstream answered a range wrongly: the whole is asked for
  unsigned doubts_ = 0;          // how often it has contradicted itself since a byte has come
  bool whole_ = false;    // it asked for a range of another generation (If-Range)
  length_question length_;
  bool doubtful_ = false;
  bool bounded_ = false;  // where the body ends is known
  asio::steady_timer timer_;
  bool progress_ = false;  // bytes have come since the last fault
  clock::time_point last_sent_ = clock::now();
  bypass_links::place links_;
  fetch_source tried_;
  bool wants_newer_link_ = false;  // the last answer was that the link has expired
  bool waits_for_newer_ = false;
};

inline asio::awaitable<void> pass_through::serve() {
  backoff pauses(fetch_.backoff_first, fetch_.backoff_max);
  x_.on_drain([](void* self) noexcept { static_cast<pass_through*>(self)->wake(); }, this);
  for (;;) {
    auto const look = next_look();
    bool const mine = co_await turn_.wait_until(look, sent_);
    outcome o = outcome::again;
    if (mine) {
      o = co_await attempt();
      if (o == outcome::done) break;
      if (o == outcome::fault) turn_.leave();
    } else {
      bool const there = co_await meanwhile();
      gone_ = !there;
    }
    if (std::exchange(progress_, false)) {
      pauses.reset();
      doubts_ = 0;
    }
    if (unwanted() || clock::now() >= ends() || gone_ || x_.client_gone()) {
      x_.abort();
      break;
    }
    if (o == outcome::again) continue;
    auto const length = pauses.next();
    co_await pause(length);
  }
  x_.on_drain(nullptr, nullptr);
  if (x_.aborted() && x_.notes().failure.empty()) x_.notes().failure = why_ended();
}

/// False: woken before, or the client has left.
inline asio::awaitable<bool> pass_through::sleep_until(clock::time_point until) {
  for (;;) {
    std::error_code woken;
    timer_.expires_at(std::min(until, due()));
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    if (woken) co_return false;
    if (clock::now() >= until) co_return true;
    bool const there = co_await meanwhile();
    gone_ = !there;
    if (gone_) co_return false;
  }
}

/// Nothing else is to be done just now: a kept byte is sent if it is due. False: the client has left.
inline asio::awaitable<bool> pass_through::meanwhile() {
  if (x_.client_gone()) co_return false;
  if (clock::now() < due()) co_return true;
  std::string_view const one = kept_.all().substr(0, 1);
  bool const there = co_await send(one);
  kept_.took(1);
  co_return there;
}

/// Sends what comes next. False: the client has left.
inline asio::awaitable<bool> pass_through::send(std::string_view piece) {
  if (!sent_) {
    co_await promise_.begin(generation_);
    sent_ = true;
    held_.reset();
  }
  std::error_code const ec = co_await x_.write(piece);
  at_.at += piece.size();
  last_sent_ = clock::now();
  co_return !ec;
}

/// Nothing of it was sent: what is sent is open again.
inline void pass_through::forget() {
  at_ = body_position();
  kept_.clear();
  bounded_ = false;
}

/// Where a newer link is waited for, it ends the pause, after a second at the earliest.
inline asio::awaitable<void> pass_through::pause(std::chrono::milliseconds length) {
  auto const end = clock::now() + length;
  auto const first = wants_newer_link_ ? std::min(end, clock::now() + std::chrono::seconds(1)) : end;
  bool const slept = co_await sleep_until(first);
  if (!slept || first == end || links_.has_newer_than(tried_.url)) co_return;
  waits_for_newer_ = true;
  (void)co_await sleep_until(end);
  waits_for_newer_ = false;
}

inline std::string pass_through::fields() const {
  std::string out;
  if (!at_.head_out) {
    if (length_.is_next()) return length_.fields();
    auto const range = x_.request().fields.value("Range");
    if (!whole_ && !ranges_useless_ && http::parse_range(range)) http::append_field(out, "Range", range);
    return out;
  }
  if (next() == 0 || ranges_useless_) return out;
  http::append_field(out, "Range", "bytes=" + std::to_string(next()) + "-" + std::to_string(at_.end - 1));
  bool const strong = at_.strong_etag();
  http::append_field(out, strong ? "If-Match" : "If-Unmodified-Since", strong ? at_.etag : at_.modified);
  http::append_field(out, "If-Range", strong ? at_.etag : at_.modified);
  return out;
}

/// What can go out of a 200 or 206; of a part where it begins and ends, and how much of the answer comes before it.
inline pass_through::opening pass_through::open(upstream::client_exchange const& up, std::uint64_t& skip, std::uint64_t& end) {
  auto const& answer = up.head().fields;
  auto const framing = up.framing();
  bool const partial = up.head().status == 206;
  auto const got = partial ? http::parse_content_range(answer.value("Content-Range")) : std::nullopt;
  std::optional<std::uint64_t> length = got ? got->length : std::nullopt;
  if (!partial && framing.kind == http::body_kind::length) length = framing.length;
  if (is_coded(answer)) return opening::unusable;
  auto const wanted = bypass_answer::wanted_range(x_.request().fields, answer);
  whole_ = !wanted;
  end = length.value_or(0);
  if (!wanted && partial) {
    bool const all = got && got->range && got->range->first == 0 && got->range->size() == got->length &&
                     (framing.kind != http::body_kind::length || framing.length == got->length);
    return all ? opening::whole : opening::unusable;
  }
  if (!wanted) return opening::whole;
  if (!length) return partial || is_resume() ? opening::unusable : opening::whole;
  auto const r = http::resolve(wanted, *length);
  if (r.outcome == http::range_outcome::unsatisfiable) return opening::unsatisfiable;
  if (partial) {
    bool const whole_range = got->range && (framing.kind != http::body_kind::length || framing.length == got->range->size());
    // It may end before (RFC 9110 15.3.7), where the rest can be asked for.
    bool const mendable = answer.value("ETag").starts_with('"') || answer.contains("Last-Modified");
    bool const fits = whole_range && is_one_part(answer) && got->range->first == r.range.first &&
                      (got->range->last == r.range.last || (mendable && got->range->last < r.range.last));
    if (!fits) return opening::unusable;
    end = got->range->last + 1;
  }
  skip = partial ? 0 : r.range.first;
  at_.at = r.range.first;
  at_.end = r.range.last + 1;
  at_.length = *length;
  return opening::part;
}

inline void pass_through::start(upstream::client_exchange& up, bool part) {
  auto const& head = up.head();
  x_.start(part ? 206 : 200);
  x_.notes().more = part && at_.end != at_.length;
  for (auto const* name : {"Content-Type", "Content-Disposition", "ETag", "Last-Modified"})
    if (auto const* f = head.fields.find(name)) x_.field(name, f->value);
  x_.field("Cache-Status", "mgw; fwd=bypass");
  auto framing = up.framing();
  if (part) {
    std::string numbers;
    http::append_content_range(numbers, {at_.at, at_.end - 1}, at_.length);
    x_.field("Content-Range", numbers);
    framing.kind = http::body_kind::length;
    framing.length = at_.end - at_.at;
  } else {
    at_.at = 0;
    if (head.status == 206) {  // it is all of it
      framing.kind = http::body_kind::length;
      framing.length = bypass_answer::length_of(up);
    }
    at_.length = at_.end = framing.length;
    if (framing.kind == http::body_kind::until_close) framing.kind = http::body_kind::chunked;
  }
  x_.notes().from = at_.at;
  x_.notes().length = at_.length;
  at_.etag = head.fields.value("ETag");
  at_.modified = head.fields.value("Last-Modified");
  bounded_ = framing.kind == http::body_kind::length;
  if (bounded_) x_.field("Accept-Ranges", "bytes");
  at_.resumable = bounded_ && (at_.strong_etag() || !at_.modified.empty());
  x_.end_head(framing);
  at_.head_out = true;
}

/// Asks the upstream. An answer that is still to come is given up when a byte is due.
inline asio::awaitable<origin_answer> pass_through::ask(std::string const& conditions) {
  struct ender {
    pass_through& me;
    void cancel() noexcept {
      me.late_ = true;
      me.asking_.cancel();
    }
  } ender_of_it{*this};
  late_ = false;
  net::deadline soft(x_.worker().deadlines, ender_of_it);
  soft.arm_at(std::min(due(), ends()));
  auto const watch = [this](upstream::cancellable what) {
    asking_ = what;
    if (late_ || unwanted()) what.cancel();  // it was told while there was nothing to end yet
  };
  origin_answer got = co_await origin_.ask(tried_, conditions, watch);
  co_return got;
}

inline asio::awaitable<pass_through::outcome> pass_through::attempt() {
  if (at_.head_out && next() != 0 && !at_.resumable) {
    x_.notes().failure = "nothing tells whether the rest belongs to what was sent";
    x_.abort();
    co_return outcome::done;
  }
  std::string const conditions = fields();
  tried_ = links_.newest();
  bool const waited = std::exchange(wants_newer_link_, false);
  origin_answer got = co_await ask(conditions);
  int const status = got.up ? got.up->head().status : got.forbidden ? 403 : 0;
  if (status != 200 && status != 206) note_answer(got);
  if (status == 200 || status == 206) {
    std::uint64_t skip = 0, end = 0;  // of the answer's body, in the object's bytes
    if (!at_.head_out) {
      opening const o = open(*got.up, skip, end);
      bool const question = length_.is_next();
      if (question && o != opening::whole) {
        note_answer(got);
        length_.not_told(status);
        co_return outcome::again;
      }
      length_.withdraw();
      if (o == opening::whole && !bypass_answer::tells_length(*got.up)) {
        if (question || !conditions.empty()) length_.give_up();  // also who knows no ranges
        if (!length_.given_up()) {
          note_answer(got);
          length_.ask(got.up->head().fields);
          co_return outcome::again;
        }
      }
      if (o == opening::unusable) {
        ranges_useless_ = status == 206;
        x_.notes().failure = "upstream's answer is not what was asked for";
        co_return outcome::fault;
      }
      if (o == opening::unsatisfiable) {
        note_answer(got);
        x_.start(416);
        x_.field("Content-Range", "bytes */" + std::to_string(bypass_answer::length_of(*got.up)));
        x_.end_head({});
        (void)co_await x_.finish();
        co_return outcome::done;
      }
      std::uint64_t const generation = bypass_answer::generation_of(*got.up);
      if (promise_.is_condemned(generation)) {
        x_.notes().failure = "the object was condemned";
        co_await refuse(403);
        co_return outcome::done;
      }
      if (o == opening::part && is_resume() && !promise_.allows_resume(generation)) {
        x_.notes().failure = "a resume of an object that was replaced";
        x_.abort();
        co_return outcome::done;
      }
      generation_ = generation;
      start(*got.up, o == opening::part);
    } else {
      using bypass_answer::continuation;
      auto const what = bypass_answer::judge(*got.up, at_, next(), skip, end);
      if (what != continuation::follows) {
        note_answer(got);
        if (!sent_) {
          forget();
          co_return outcome::fault;
        }
        if (what == continuation::unusable && status == 206) ranges_useless_ = true;
        if (doubt(what)) co_return outcome::fault;
        x_.notes().failure = "the object was replaced upstream";
        x_.abort();
        co_return outcome::done;
      }
    }
    if (status == 200) ranges_useless_ = false;  // what comes now may break off, and be resumed
    x_.notes().failure.clear();
    asking_ = got.up.get();
    outcome const o = co_await relay(*got.up, skip, end);
    asking_ = nullptr;
    co_return o;
  }
  if (status < 400 || is_passing(status)) co_return outcome::fault;
  if (length_.is_next()) {
    length_.not_told(status);
    co_return outcome::again;
  }
  if (auto const o = judge_refused_link(got.up ? status : 0, waited)) co_return *o;
  if (at_.head_out && !sent_ && (status == 412 || status == 416)) {
    forget();
    co_return outcome::fault;
  }
  if (status == 416 && !at_.head_out) {
    x_.start(416);
    x_.field("Content-Range", got.up->head().fields.value("Content-Range"));
    x_.end_head({});
    (void)co_await x_.finish();
    co_return outcome::done;
  }
  if (doubtful_ && !sent_) co_return outcome::fault;
  co_await refuse(status);
  co_return outcome::done;
}

/// Where upstream is not the reason.
inline std::string_view pass_through::why_ended() const {
  if (turn_.has_slot() || x_.client_gone()) return "the client left";
  if (crowded_out_) return "held while others came";
  return x_.draining() ? "draining" : "held too long in line: others fetch past the cache (MaxPassThrough)";
}

/// What a fault may have done costs the client nothing at first, see fetch's table. False: it is believed.
inline bool pass_through::doubt(bypass_answer::continuation what) {
  using bypass_answer::continuation;
  if (what == continuation::unusable) return true;
  if (what == continuation::replaced) return false;
  return doubts_++ < (what == continuation::nameless ? max_nameless : 1U);
}

/// None: it is no refusal of the link, or a definite one. See fetch::judge_refused_link.
inline std::optional<pass_through::outcome> pass_through::judge_refused_link(int status, bool waited) {
  if (status != 403 && status != 400) return std::nullopt;
  wants_newer_link_ = has_expired(tried_);
  if (links_.has_newer_than(tried_.url) && (wants_newer_link_ ? !waited : status == 403)) return outcome::again;
  if (!wants_newer_link_) return std::nullopt;
  x_.notes().failure += ": the link's signature has expired";
  return outcome::fault;
}

/// A definite no: told to a first GET, everything else is closed.
inline asio::awaitable<void> pass_through::refuse(int status) {
  if (sent_ || is_resume()) {
    x_.abort();
    co_return;
  }
  std::string const text = x_.options().error_body ? x_.options().error_body(status, x_) : std::string();
  (void)co_await x_.respond(status, x_.options().error_type, text);
}

/// Until the answer's body ends, whose last byte is the one before `end` where `bounded_`.
inline asio::awaitable<pass_through::outcome> pass_through::relay(upstream::client_exchange& up, std::uint64_t skip,
                                                                  std::uint64_t end) {
  std::uint64_t const begin = next(), last = std::min(end, at_.end);
  if (x_.request().method == "HEAD") {
    (void)co_await x_.finish();
    co_return outcome::done;
  }
  for (;;) {
    body::chunk c = co_await read(up);
    bool const nothing = c.bytes.empty() && !c.ec && !c.end;
    auto const skipped = static_cast<std::size_t>(std::min<std::uint64_t>(skip, c.bytes.size()));
    c.bytes.remove_prefix(skipped);
    skip -= skipped;
    progress_ = progress_ || !c.bytes.empty();
    bool there = true;
    if (nothing) {
      there = co_await meanwhile();
      if (there && clock::now() >= ends()) co_return outcome::fault;
    } else if (!bounded_) {
      if (!c.bytes.empty()) there = co_await send(c.bytes);
    } else {
      // A whole object may have more than the range that was begun.
      kept_.add(c.bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(c.bytes.size(), last - next()))));
      std::string_view const piece = kept_.ready(at_.at, at_.end);
      std::size_t const n = piece.size();
      if (n != 0)
        there = co_await send(piece);
      else if (clock::now() >= due())  // what comes is skipped
        there = co_await meanwhile();
      if (n != 0) kept_.took(n);
    }
    if (!there) {
      x_.abort();
      co_return outcome::done;
    }
    if (bounded_ && at_.at == at_.end) {
      (void)co_await x_.finish();
      co_return outcome::done;
    }
    if (bounded_ && next() == last && last != at_.end) {
      x_.notes().failure = "upstream's range is shorter than asked for";
      co_return next() - begin >= fetch_.batch ? outcome::again : outcome::fault;  // no request for each byte
    }
    bool const broke = c.ec || (c.end && bounded_);
    if (broke) x_.notes().failure = "upstream's body: " + (c.ec ? c.ec.message() : std::string("ended early"));
    if (broke && at_.resumable) co_return outcome::fault;
    if (broke && !sent_) {
      forget();
      co_return outcome::fault;
    }
    if (broke) {
      x_.abort();
      co_return outcome::done;
    }
    if (c.end) {
      (void)co_await x_.finish();
      co_return outcome::done;
    }
  }
}

/// Nothing at all: there is something else to look at.
inline asio::awaitable<body::chunk> pass_through::read(upstream::client_exchange& up) {
  struct ender {
    upstream::client_exchange& up;
    void cancel() noexcept { up.interrupt(); }
  } ender_of_it{up};
  net::deadline soft(x_.worker().deadlines, ender_of_it);
  soft.arm_at(next_look());
  body::chunk c = co_await up.read_body();
  if (c.ec == asio::error::operation_aborted && soft.expired() && !unwanted()) c.ec.clear();
  co_return c;
}

}  // namespace mgw::proxy
