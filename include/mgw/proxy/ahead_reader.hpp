#pragma once

#include <mgw/body/source.hpp>
#include <mgw/cache/fill.hpp>
#include <mgw/cache/generation.hpp>
#include <mgw/http/range.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/fetch_job.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/kept_bytes.hpp>
#include <mgw/proxy/origin_request.hpp>
#include <mgw/proxy/resume.hpp>
#include <mgw/proxy/slots.hpp>
#include <mgw/upstream/cancellable.hpp>
#include <mgw/upstream/client_exchange.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::proxy {

/// When a client's bytes are fetched beside the fill; object_reader's options of these names.
struct ahead_options {
  std::uint64_t far_ahead = 0;
  std::uint64_t reserve = 0;
  std::chrono::milliseconds look{0};
  std::chrono::milliseconds turn{0};
  ahead_options() = default;
};

/// One client's own way to bytes that the fill is far from: it resumed at 400 of 500 MB, and the cache had to begin
/// anew.
///
/// Its range is asked for by itself, under the condition that it belongs to exactly the generation that is being
/// filled; what is not exactly that is not used, and the client waits for the fill. These bytes cross the link twice,
/// now and with the fill, which knows nothing of this and is neither ended nor repeated. They are read as the client
/// takes them, and the last `reserve` of them are kept back until more follow.
/// Never: before the fill shows something (the head is good then), the last bytes that wait for the verifier's verdict,
/// nor where no strong ETag names the generation. After a fault it is tried again when the fill shows that the link
/// works, or after the longest pause. So many at once, with those that pass by the store; there is no line here, and
/// while others wait in theirs, a turn ends after `turn`: they have no fill to wait for. The
/// verifier does not see these bytes, only those of the fill: a client of a bad object still gets no good end.
///
/// In all functions `v` is the fill at this moment and [at, end) what the client is still to get.
/// Thread rule: the exchange's worker. Source: RFC 9110 13.1.1, 14.4, 15.3.7.
class ahead_reader {
public:
  using clock = std::chrono::steady_clock;

  ahead_reader(std::shared_ptr<fetch_job> job, origin_request origin, fetch_options const& fetch,
               fetch_counters& counters, slots& turns, net::worker& worker, ahead_options const& options)
      : job_(std::move(job)),
        origin_(origin),
        fetch_(fetch),
        counters_(counters),
        turns_(turns),
        executor_(worker.io.get_executor()),
        options_(options),
        kept_(options.reserve),
        deadlines_(worker.deadlines),
        pause_(fetch.backoff_first) {}

  /// Whether a head can go out: bytes for it are there.
  bool enough(std::uint64_t at, std::uint64_t end) const noexcept {
    return kept_.enough(at, end);
  }
  /// What may be sent at once.
  std::string_view ready(std::uint64_t at, std::uint64_t end) const noexcept {
    return kept_.ready(at, end);
  }
  /// That, and what is kept back for times when nothing comes.
  std::string_view kept() const noexcept { return kept_.all(); }
  /// So many bytes of `kept` were sent.
  void took(std::size_t n) { kept_.took(n); }

  /// Whether `fetch` has something to do now. Takes a turn for it.
  bool may_fetch(cache::fill_view const& v, std::uint64_t at, std::uint64_t end);
  /// Gets more, or finds that there is none for now, until then at the latest. Precondition: `may_fetch` was true,
  /// without a suspension since.
  asio::awaitable<void> fetch(cache::fill_view const& v, std::uint64_t at, std::uint64_t end, clock::time_point until);
  /// When `may_fetch` may have another answer without news from the fill.
  clock::time_point next_look(cache::fill_view const& v, std::uint64_t at, std::uint64_t end) const;
  /// Lets go of the link if its turn is over and others wait for one. When that should be asked again, if it has the
  /// link. Precondition: no `fetch` is under way.
  std::optional<clock::time_point> give_way() noexcept {
    if (!up_) return std::nullopt;
    if (clock::now() < turn_ends_ || turns_.waiting_now() == 0) return std::max(turn_ends_, clock::now() + options_.look);
    rest();
    retry_ = clock::now() + options_.look;
    return std::nullopt;
  }
  /// Ends a `fetch` that is under way.
  void interrupt() noexcept {
    if (!busy_) return;
    interrupted_ = true;
    asking_.cancel();
    if (up_) up_->cancel();
  }
  /// The fill has come to where the client is, or is over: what is kept is let go.
  void close() {
    kept_.clear();
    rest();
  }

private:
  /// Its time is up: an answer that is still to come is given up, one that is being read is not.
  struct ender {
    ahead_reader& me;
    void cancel() noexcept {
      if (me.up_)
        me.up_->interrupt();
      else
        me.interrupt();
    }
  };

  bool far(cache::fill_view const& v, std::uint64_t at, std::uint64_t end) const;
  /// Where what may be fetched here ends.
  std::uint64_t last(cache::fill_view const& v, std::uint64_t end) const {
    std::uint64_t const length = v.length.value_or(0);
    return std::min(end, length - std::min(length, fetch_.verifier ? fetch_.withheld : 0));
  }
  void rest() {
    up_.reset();
    if (turn_) turn_->leave();
  }
  void broke(std::uint64_t stored);
  asio::awaitable<void> ask(cache::fill_view const& v, std::uint64_t first, std::uint64_t to);
  asio::awaitable<void> read(std::uint64_t stored, net::deadline const& soft);
  static bool is_what_was_asked(upstream::client_exchange const& up, cache::fill_view const& v, std::uint64_t first,
                                std::uint64_t to);

  std::shared_ptr<fetch_job> job_;
  origin_request origin_;
  fetch_options const& fetch_;
  fetch_counters& counters_;
  slots& turns_;
  asio::any_io_executor executor_;
  ahead_options const options_;
  kept_bytes kept_;  // from the client's next one on
  net::deadline_queue& deadlines_;
  ender ender_{*this};
  std::optional<slots::place> turn_;
  std::unique_ptr<upstream::client_exchange> up_;
  upstream::cancellable asking_;  // until it has answered
  bool busy_ = false, interrupted_ = false;
  bool over_ = false;           // the answer was none that can be used
  std::uint64_t left_ = 0;      // of the answer that is being read
  std::uint64_t broke_at_ = 0;  // how far the fill was at the last fault
  clock::time_point retry_{}, late_{}, turn_ends_{};
  std::chrono::milliseconds pause_;
};

inline bool ahead_reader::far(cache::fill_view const& v, std::uint64_t at, std::uint64_t end) const {
  if (over_ || v.phase != cache::fill_phase::growing || v.stored == 0 || !v.length) return false;
  if (at < v.stored || at - v.stored <= options_.far_ahead) return false;
  std::uint64_t const to = last(v, end);
  // A head needs more than the reserve, unless the range is all there.
  if (to <= at + kept_.size() || (to != end && to - at <= options_.reserve)) return false;
  // A generation that is not the one its ETag names is one whose ETag was found to lie.
  auto const& m = *v.about;
  return m.etag.starts_with('"') && m.generation == cache::generation_of(m.etag, m.last_modified, v.length);
}

inline bool ahead_reader::may_fetch(cache::fill_view const& v, std::uint64_t at, std::uint64_t end) {
  give_way();
  if (up_) return true;
  if (!far(v, at, end)) return false;
  auto const now = clock::now();
  if (now < retry_ || (now < late_ && v.stored == broke_at_)) return false;
  if (!turn_) turn_.emplace(turns_, executor_);
  if (!turn_->try_enter()) return false;
  turn_ends_ = now + options_.turn;
  return true;
}

inline ahead_reader::clock::time_point ahead_reader::next_look(cache::fill_view const& v, std::uint64_t at,
                                                               std::uint64_t end) const {
  if (!far(v, at, end)) return clock::time_point::max();
  auto const now = clock::now();
  if (now < retry_) return retry_;
  return now < late_ && v.stored == broke_at_ ? late_ : now + options_.look;
}

inline void ahead_reader::broke(std::uint64_t stored) {
  rest();
  broke_at_ = stored;
  retry_ = clock::now() + pause_;
  late_ = clock::now() + std::max(pause_, fetch_.backoff_max);
  pause_ = std::min(pause_ * 2, fetch_.backoff_max);
}

inline bool ahead_reader::is_what_was_asked(upstream::client_exchange const& up, cache::fill_view const& v,
                                            std::uint64_t first, std::uint64_t to) {
  auto const& head = up.head();
  auto const range = http::parse_content_range(head.fields.value("Content-Range"));
  auto const framing = up.framing();
  return head.status == 206 && head.fields.value("ETag") == v.about->etag && range && range->range &&
         range->range->first == first && range->range->last + 1 == to && range->length == v.length &&
         (framing.kind != http::body_kind::length || framing.length == to - first);
}

inline asio::awaitable<void> ahead_reader::ask(cache::fill_view const& v, std::uint64_t first, std::uint64_t to) {
  std::string fields;
  http::append_field(fields, "Range", "bytes=" + std::to_string(first) + "-" + std::to_string(to - 1));
  http::append_field(fields, "If-Match", v.about->etag);
  http::append_field(fields, "If-Range", v.about->etag);
  fetch_source const source = job_->newest();
  auto const watch = [this](upstream::cancellable what) {
    asking_ = what;
    if (interrupted_) what.cancel();  // it was told while there was nothing to end yet
  };
  origin_answer got = co_await origin_.ask(source, fields, watch);
  if (got.up && is_what_was_asked(*got.up, v, first, to)) {
    up_ = std::move(got.up);
    left_ = to - first;
    co_return;
  }
  int const status = got.up ? got.up->head().status : 0;
  bool const passing = status == 0 || is_passing(status);
  over_ = got.forbidden || !passing;
  broke(v.stored);
}

inline asio::awaitable<void> ahead_reader::fetch(cache::fill_view const& v, std::uint64_t at, std::uint64_t end,
                                                 clock::time_point until) {
  using std::chrono::milliseconds;
  busy_ = true;
  interrupted_ = false;
  auto const now = clock::now();
  auto const limit = up_ ? std::min(until, now + options_.look) : until;
  net::deadline soft(deadlines_, ender_);
  soft.arm(std::chrono::duration_cast<milliseconds>(std::max<clock::duration>(limit - now, milliseconds(1))));
  if (up_) {
    co_await read(v.stored, soft);
  } else {
    std::uint64_t const first = at + kept_.size(), to = last(v, end);
    co_await ask(v, first, to);
  }
  busy_ = false;
}

inline asio::awaitable<void> ahead_reader::read(std::uint64_t stored, net::deadline const& soft) {
  body::chunk const c = co_await up_->read_body();
  auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(c.bytes.size(), left_));
  kept_.add(c.bytes.substr(0, n));
  left_ -= n;
  counters_.ahead_bytes.fetch_add(n, std::memory_order_relaxed);
  counters_.again_bytes.fetch_add(n, std::memory_order_relaxed);
  if (n != 0) pause_ = fetch_.backoff_first;
  bool const only_late = c.ec == asio::error::operation_aborted && soft.expired() && !interrupted_;
  if (left_ == 0)
    rest();
  else if (c.end || (c.ec && !only_late))
    broke(stored);
}

}  // namespace mgw::proxy
