#pragma once

#include <mgw/cache/fill.hpp>
#include <mgw/cache/growth.hpp>
#include <mgw/http/range.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/proxy/ahead_reader.hpp>
#include <mgw/proxy/body_position.hpp>
#include <mgw/proxy/disk_threads.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/held_requests.hpp>
#include <mgw/proxy/link_promise.hpp>
#include <mgw/proxy/read_blocks.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <array>
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

struct reader_options {
  std::chrono::milliseconds hold{270'000};    ///< how long a request without a head may wait: then it is closed unanswered
  std::chrono::milliseconds look{5'000};      ///< how often the connection of one who waits is looked at: has he left?
  std::chrono::milliseconds trickle{60'000};  ///< a begun body that has nothing new gives one byte so often
  /// At the growing edge less than `gather_bytes` is sent so often at most: one wake-up of many clients for many bytes.
  std::chrono::milliseconds gather{40};
  std::uint64_t gather_bytes = 256 * 1024;
  std::size_t max_held = 6'000;               ///< requests held at once; beyond, the longest-held is closed
  std::chrono::milliseconds replaced_after{1'000};  ///< one that has waited for so long gives way to a new one on its link
  std::size_t max_held_per_link = 0;          ///< of those on one link; beyond, that one's longest-held is closed; 0: a quarter
  std::uint64_t reserve = 4096;               ///< bytes withheld at the growing edge, to be trickled during an outage
  std::chrono::milliseconds ahead_turn{30'000};  ///< so long may such a one keep others waiting who go past the store
  std::uint64_t far_ahead = std::uint64_t{8} << 20;  ///< bytes beyond what is stored from which a range is fetched for itself
};

namespace reader_detail {

/// Whether a list of entity tags has this one, compared weakly. Source: RFC 9110 8.8.3, 13.1.2.
inline bool lists_etag(std::string_view list, std::string_view etag) noexcept {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  for (;;) {
    while (!list.empty() && (list.front() == ' ' || list.front() == '\t' || list.front() == ',')) list.remove_prefix(1);
    if (list.starts_with("W/")) list.remove_prefix(2);
    std::size_t const end = list.starts_with('"') ? list.find('"', 1) : std::string_view::npos;
    if (end == std::string_view::npos) return false;
    if (list.substr(0, end + 1) == etag) return true;
    list.remove_prefix(end + 1);
  }
}

}  // namespace reader_detail

/// One client following one object, complete or growing. **What a client sees when the link is down is decided here:**
///
/// - no head goes out before it can be followed by bytes: until then the request is held, and after `hold` closed
///   without a response (clients retry that; a status would end their deployment);
/// - a begun body is never silent: the last `reserve` bytes before the growing edge are withheld and given out one
///   every `trickle` while nothing new comes;
/// - when the object is replaced, the connection is cut, and a resume gets the generation that was begun or nothing:
///   bytes of two generations never follow each other (link_promise);
/// - only a definite refusal is a status, and only to a first GET: a resume is closed;
/// - when the object is found to be bad, a begun body is filled up with zeros;
/// - what cannot be read, or not while the disk hangs, is fetched past the store, behind what was sent.
/// - what begins more than `far_ahead` beyond what is stored is fetched beside the fill, if somebody can (ahead_reader).
///
/// Answers GET and HEAD, single ranges (RFC 9110 14), If-Range (13.1.5), If-None-Match (13.1.2).
/// Thread rule: the exchange's worker.
class object_reader {
public:
  object_reader(exchange& x, std::shared_ptr<cache::fill> object, disk_threads& disk, reader_options const& options,
                link_promise& promise, held_requests& held, ahead_reader* ahead = nullptr)
      : x_(x), object_(std::move(object)), disk_(disk), options_(options), promise_(promise), held_(held), ahead_(ahead),
        ticket_(x.worker().io.get_executor()) {}

  /// Serves the exchange to its end, or up to where the object cannot be followed any more because the store has failed:
  /// then somebody else has to go on from `position()`.
  enum class outcome { done, bypassed };
  asio::awaitable<outcome> serve();
  body_position position() const;

private:
  using clock = std::chrono::steady_clock;
  enum class step { go_on, done, bypassed };
  asio::awaitable<step> wait_for_head();
  asio::awaitable<step> send_body();
  asio::awaitable<std::error_code> send_ahead(std::size_t n);
  std::size_t straight(cache::fill_view const& v, std::uint64_t limit) const;
  asio::awaitable<bool> send_zeros();
  asio::awaitable<void> wait(cache::fill_view const& seen, clock::time_point until);
  void wake() noexcept {
    ticket_.wake();
    if (ahead_ != nullptr && !x_.responding()) ahead_->interrupt();  // what was begun is finished
  }
  static void crowd_out(void* self) noexcept {
    auto& me = *static_cast<object_reader*>(self);
    me.crowded_out_ = true;
    me.wake();
  }
  bool not_modified(cache::meta const& about) const;
  void write_head(cache::meta const& about);
  bool is_resume() const noexcept { return range_ && range_->first.value_or(1) != 0; }

  exchange& x_;
  std::shared_ptr<cache::fill> object_;
  disk_threads& disk_;
  reader_options const& options_;
  link_promise& promise_;
  held_requests& held_;
  ahead_reader* ahead_;
  bool crowded_out_ = false;
  cache::growth_ticket ticket_;
  std::optional<http::range_spec> range_;
  bool partial_ = false;
  std::uint64_t length_ = 0, at_ = 0, end_ = 0;  // what is sent: [at_, end_)
  bool from_file_ = true;                        // it can be sent straight from its file,
  std::uint64_t piece_ = 1024 * 1024;            // and so much went so last
  read_blocks blocks_;
};

inline asio::awaitable<void> object_reader::wait(cache::fill_view const& seen, clock::time_point until) {
  blocks_.reset();
  // The views are compared under the object's lock, and no suspension lies between enlisting and waiting.
  bool const enlisted = object_->wait_for_news(ticket_, seen);
  if (enlisted) co_await ticket_.wait_until(until);
}

inline asio::awaitable<object_reader::outcome> object_reader::serve() {
  bool const get = x_.request().method == "GET";
  if (!get && x_.request().method != "HEAD") {
    x_.start(405);
    x_.field("Allow", "GET, HEAD");
    x_.end_head({});
    (void)co_await x_.finish();
    co_return outcome::done;
  }
  if (get) range_ = http::parse_range(x_.request().fields.value("Range"));
  x_.on_drain([](void* self) noexcept { static_cast<object_reader*>(self)->wake(); }, this);
  step s = co_await wait_for_head();
  if (s == step::go_on && get && at_ < end_) s = co_await send_body();
  if (s == step::go_on) (void)co_await x_.finish();
  x_.on_drain(nullptr, nullptr);
  co_return s == step::bypassed ? outcome::bypassed : outcome::done;
}

inline body_position object_reader::position() const {
  body_position p;
  p.head_out = x_.responding();
  if (!p.head_out) return p;
  p.at = at_;
  p.end = end_;
  p.length = length_;
  auto const v = object_->view();
  if (v.about) {
    p.etag = v.about->etag;
    p.modified = v.about->last_modified;
  }
  p.resumable = p.strong_etag() || !p.modified.empty();
  return p;
}

/// Waits until a head can go out and writes it, or answers otherwise.
inline asio::awaitable<object_reader::step> object_reader::wait_for_head() {
  auto const until = clock::now() + options_.hold;
  std::optional<held_requests::place> held;
  for (;;) {
    cache::fill_view const v = object_->view();
    bool fetches = false;
    switch (v.phase) {
      case cache::fill_phase::refused:
      case cache::fill_phase::condemned: {
        bool const refused = v.phase == cache::fill_phase::refused;
        x_.notes().failure = refused ? "upstream refused with " + std::to_string(v.status) : "the object is condemned";
        if (is_resume()) {
          x_.abort();
          co_return step::done;
        }
        std::string const text = x_.options().error_body ? x_.options().error_body(v.status, x_) : std::string();
        (void)co_await x_.respond(v.status, x_.options().error_type, text);
        co_return step::done;
      }
      case cache::fill_phase::cut: x_.abort(); co_return step::done;
      case cache::fill_phase::bypassed: co_return step::bypassed;
      case cache::fill_phase::pending: break;
      case cache::fill_phase::growing:
      case cache::fill_phase::complete: {
        auto const if_range = x_.request().fields.value("If-Range");
        bool const strong = v.about->etag.starts_with('"');  // a weak one holds no range (RFC 9110 13.1.5)
        bool const applies = if_range.empty() || (strong && if_range == v.about->etag) || if_range == v.about->last_modified;
        if (applies && is_resume() && !promise_.allows_resume(v.about->generation)) {
          x_.notes().failure = "a resume of an object that was replaced";
          x_.abort();
          co_return step::done;
        }
        if (!v.length) break;
        length_ = *v.length;
        if (not_modified(*v.about)) {
          x_.start(304);
          x_.field("ETag", v.about->etag);
          x_.end_head({});
          (void)co_await x_.finish();
          co_return step::done;
        }
        auto const resolved = http::resolve(applies ? range_ : std::nullopt, length_);
        if (resolved.outcome == http::range_outcome::unsatisfiable) {
          x_.start(416);
          x_.field("Content-Range", "bytes */" + std::to_string(length_));
          x_.end_head({});
          (void)co_await x_.finish();
          co_return step::done;
        }
        partial_ = resolved.outcome == http::range_outcome::partial;
        at_ = partial_ ? resolved.range.first : 0;
        end_ = partial_ ? resolved.range.last + 1 : length_;
        bool const follows = x_.request().method == "HEAD" || v.stored >= end_ || v.stored > at_ + options_.reserve ||
                             (ahead_ != nullptr && ahead_->enough(at_, end_));
        if (!follows) {
          fetches = ahead_ != nullptr && ahead_->may_fetch(v, at_, end_);
          break;
        }
        if (x_.request().method == "GET" && at_ < end_) co_await promise_.begin(v.about->generation);
        write_head(*v.about);
        co_return step::go_on;
      }
    }
    if (clock::now() >= until || x_.draining() || crowded_out_ || x_.client_gone()) {
      x_.notes().failure = x_.draining()           ? "draining"
                           : crowded_out_          ? "held while others came"
                           : clock::now() >= until ? "held too long"
                                                   : "the client left";
      x_.abort();
      co_return step::done;
    }
    if (disk_.hung()) co_return step::bypassed;
    if (!held) held.emplace(held_, x_.worker().io.get_executor(), promise_.link(), crowd_out, this);
    if (fetches) {
      co_await ahead_->fetch(v, at_, end_, until);
      continue;
    }
    auto next_look = std::min(until, clock::now() + options_.look);
    if (ahead_ != nullptr) next_look = std::min(next_look, ahead_->next_look(v, at_, end_));
    co_await wait(v, next_look);
  }
}

inline bool object_reader::not_modified(cache::meta const& about) const {
  auto const wanted = x_.request().fields.value("If-None-Match");
  return !about.etag.empty() && (wanted == "*" || reader_detail::lists_etag(wanted, about.etag));
}

inline void object_reader::write_head(cache::meta const& about) {
  x_.start(partial_ ? 206 : 200);
  x_.notes().more = end_ != length_;
  x_.notes().from = at_;
  x_.notes().length = length_;
  if (!about.content_type.empty()) x_.field("Content-Type", about.content_type);
  if (!about.content_disposition.empty()) x_.field("Content-Disposition", about.content_disposition);
  if (!about.etag.empty()) x_.field("ETag", about.etag);
  if (!about.last_modified.empty()) x_.field("Last-Modified", about.last_modified);
  x_.field("Accept-Ranges", "bytes");
  if (partial_) {
    std::string value;
    http::byte_range sent;
    sent.first = at_;
    sent.last = end_ - 1;
    http::append_content_range(value, sent, length_);
    x_.field("Content-Range", value);
  }
  auto const now = static_cast<std::int64_t>(std::time(nullptr));
  x_.field("Age", static_cast<std::uint64_t>(std::max<std::int64_t>(0, now - about.stored_at)));
  bool const hit = x_.notes().cache == "hit";
  x_.field("Cache-Status", hit ? "mgw; hit" : x_.notes().cache == "miss" ? "mgw; fwd=miss; stored" : "mgw; fwd=miss; collapsed");
  http::framing f;
  f.kind = http::body_kind::length;
  f.length = end_ - at_;
  x_.end_head(f);
}

inline asio::awaitable<object_reader::step> object_reader::send_body() {
  auto last_sent = clock::now(), next_piece = last_sent;
  while (at_ < end_) {
    cache::fill_view const v = object_->view();
    bool const grows = v.phase == cache::fill_phase::growing;
    std::uint64_t limit = std::min(v.stored, end_);
    if (grows && limit < end_) limit -= std::min(limit, options_.reserve);
    if (ahead_ != nullptr && (at_ < limit || !grows)) ahead_->close();
    if (at_ >= limit && v.phase == cache::fill_phase::bypassed) co_return step::bypassed;
    if (at_ >= limit && v.phase == cache::fill_phase::condemned) {
      bool const ended = co_await send_zeros();
      if (!ended) x_.abort();
      co_return ended ? step::go_on : step::done;
    }
    if (at_ >= limit && !grows) {
      x_.notes().failure = "the object ended before its end";
      x_.abort();
      co_return step::done;
    }
    bool const crumb = grows && limit < end_ && at_ < limit && limit - at_ < options_.gather_bytes;
    if (crumb && clock::now() < next_piece) {
      co_await wait(v, next_piece);
      continue;
    }
    std::size_t ahead = at_ >= limit && ahead_ != nullptr ? ahead_->ready(at_, end_).size() : 0;
    if (at_ >= limit && ahead == 0) {
      if (x_.client_gone()) {
        x_.notes().failure = "the client left";
        x_.abort();
        co_return step::done;
      }
      bool const fetches = ahead_ != nullptr && ahead_->may_fetch(v, at_, end_);
      auto const due = last_sent + options_.trickle;
      if (clock::now() < due && fetches) {
        std::size_t const had = ahead_->kept().size();
        co_await ahead_->fetch(v, at_, end_, due);
        if (ahead_->kept().size() != had || !x_.client_gone()) continue;
        x_.abort();
        co_return step::done;
      }
      if (clock::now() < due) {
        auto next_look = std::min(due, clock::now() + options_.look);
        if (ahead_ != nullptr) next_look = std::min(next_look, ahead_->next_look(v, at_, end_));
        co_await wait(v, next_look);
        continue;
      }
      last_sent = clock::now();
      ahead = ahead_ != nullptr && !ahead_->kept().empty() ? 1 : 0;
      if (ahead == 0 && at_ >= v.stored) continue;  // the reserve is used up, too
      limit = at_ + 1;
    }
    std::error_code ec;
    if (ahead != 0) {
      ec = co_await send_ahead(ahead);
    } else if (std::size_t const whole = straight(v, limit); whole != 0) {
      io_result const r = co_await x_.write_file(v.body->fd(), at_, whole);
      at_ += r.n;
      if (r.n != 0) piece_ = r.n;
      from_file_ = r.ec != std::errc::io_error;
      if (from_file_) ec = r.ec;
    } else {
      std::size_t n = blocks_.load_resident(*v.body, at_, limit - at_);
      if (n == 0) n = co_await blocks_.load(disk_, v.body, at_, limit - at_);
      if (n == 0) {
        // What was condemned is not to be had anywhere else, either.
        if (object_->view().phase != cache::fill_phase::condemned) co_return step::bypassed;
        x_.abort();
        co_return step::done;
      }
      ec = co_await x_.write(blocks_.buffers(), blocks_);
      at_ += n;
    }
    if (ec) {
      x_.abort();
      co_return step::done;
    }
    last_sent = clock::now();
    next_piece = last_sent + options_.gather;
  }
  co_return step::go_on;
}

/// How many bytes can be sent straight from the file now, if that is worth it. Only what is in memory: all others would
/// wait. And not much more than the connection takes at once: before the rest of it that is looked at again. What is shown
/// of a fill does not change any more either: a part that is taken up again is written anew in its place, not cut off.
inline std::size_t object_reader::straight(cache::fill_view const& v, std::uint64_t limit) const {
  static constexpr std::uint64_t least = 16 * 1024, most = 2 * 1024 * 1024;
  std::uint64_t const n = std::min(limit - at_, std::clamp(2 * piece_, least, most));
  bool const complete = v.phase == cache::fill_phase::complete;
  bool const free = complete || (v.phase == cache::fill_phase::growing && v.body->read_beside_writes());
  bool const can = from_file_ && free && n >= least && x_.sends_files();
  return can && v.body->lately_resident(at_, n) ? n : 0;
}

/// Sends what was fetched beside the fill.
inline asio::awaitable<std::error_code> object_reader::send_ahead(std::size_t n) {
  std::string_view const piece = ahead_->kept().substr(0, n);
  struct way_giver {  // again and again while the client takes nothing
    ahead_reader& ahead;
    std::optional<clock::time_point> put_off(clock::time_point) noexcept { return ahead.give_way(); }
    void cancel() noexcept {}
  } slow{*ahead_};
  net::deadline patience(x_.worker().deadlines, slow);
  if (auto const next = ahead_->give_way()) patience.arm_at(*next);
  std::error_code const ec = co_await x_.write(piece);
  ahead_->took(n);
  at_ += n;
  co_return ec;
}

/// What must not be seen is zeros: the client's own check fails at once, and says so, where a cut would make it try for
/// an hour.
inline asio::awaitable<bool> object_reader::send_zeros() {
  static constexpr std::array<char, 16 * 1024> zeros{};
  x_.notes().failure = "the object was condemned";
  while (at_ < end_) {
    auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(end_ - at_, zeros.size()));
    std::string_view const piece(zeros.data(), n);
    std::error_code const ec = co_await x_.write(piece);
    if (ec) co_return false;
    at_ += n;
  }
  co_return true;
}

}  // namespace mgw::proxy
