#pragma once

#include <mgw/cache/fill.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/link_list.hpp>
#include <mgw/upstream/cancellable.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// The state of one fill that readers and the filling side share: the current generation and the links to try.
///
/// Thread rule: `offer`, `offer_from_poll`, `current`, `readers`, `stop` from any thread; the rest on the fill's worker.
class fetch_job : public std::enable_shared_from_this<fetch_job> {
  using clock = std::chrono::steady_clock;

public:
  /// `grace`: for so long nobody may follow it, then it is `abandoned`; none: it never is.
  fetch_job(cache::key const& k, asio::any_io_executor executor, std::optional<std::chrono::milliseconds> grace = {})
      : key_(k), grace_(grace), timer_(std::move(executor)), left_timer_(timer_.get_executor()) {}

  cache::key const& object_key() const noexcept { return key_; }
  asio::any_io_executor executor() { return timer_.get_executor(); }
  std::shared_ptr<cache::fill> current() const {
    std::lock_guard const lock(mutex_);
    return current_;
  }

  /// Another link for the same object; the newest few are kept.
  void offer(fetch_source source) {
    std::lock_guard const lock(mutex_);
    bool const is_new = sources_.offer(std::move(source));
    if (is_new && waits_for_newer_ && sources_.newest().url != tried_) wake();
  }
  /// The same from a server that has just been reached: a fill that has paused for a second or more tries again, so that
  /// an outage ends for all when it ends, and a fleet that polls makes it try once a second at most.
  void offer_from_poll(fetch_source source) {
    offer(std::move(source));
    if (!paused_for_long()) return;
    asio::post(timer_.get_executor(), [self = shared_from_this()] {
      if (self->paused_for_long()) self->timer_.cancel();  // another poll may have come first
    });
  }
  fetch_source freshest() {
    std::lock_guard const lock(mutex_);
    tried_ = sources_.newest().url;
    return sources_.newest();
  }
  /// The same, for somebody else than the fill.
  fetch_source newest() const {
    std::lock_guard const lock(mutex_);
    return sources_.empty() ? fetch_source() : sources_.newest();
  }
  /// Where its newest link leads: host and port; empty: nowhere.
  std::string host() const {
    std::lock_guard const lock(mutex_);
    auto const uri = http::parse_uri(sources_.empty() ? std::string_view() : sources_.newest().url);
    return uri ? std::string(uri->authority) : std::string();
  }
  /// A definite no for all who follow it; who comes from here on waits for the next one. False: a newer link has come, and
  /// nobody was told anything.
  bool refuse(int status) {
    {
      std::lock_guard const lock(mutex_);
      if (sources_.newest().url != tried_) return false;
      ended_.store(true);
    }
    current()->refuse(status);
    return true;
  }
  /// Who comes from here on waits for the next one.
  void end() noexcept { ended_.store(true); }
  bool has_newer_than_tried() const {
    std::lock_guard const lock(mutex_);
    return sources_.newest().url != tried_;
  }

  /// Somebody follows this object while he holds one of these.
  class reader_count {
  public:
    explicit reader_count(std::shared_ptr<fetch_job> job) : job_(std::move(job)) {
      if (job_->readers_.fetch_add(1) == 0 && job_->grace_) job_->wake();
    }
    reader_count(reader_count&&) noexcept = default;
    reader_count& operator=(reader_count&&) = delete;
    ~reader_count() {
      if (!job_) return;
      job_->left_.store(clock::now().time_since_epoch());  // first: without readers it is looked at
      if (job_->readers_.fetch_sub(1) == 1) job_->last_has_left();
    }

  private:
    std::shared_ptr<fetch_job> job_;
  };
  int readers() const noexcept { return readers_.load(); }

  /// What its fill is at, for people: `why` it is at nothing better. Any thread.
  enum class stage : std::uint8_t { fetching, waiting, retrying, verifying };
  struct progress {
    stage at = stage::fetching;
    std::string why;
  };
  void tell(stage at, std::string_view why = {}) {
    std::lock_guard const lock(mutex_);
    progress_.at = at;
    progress_.why = why;
  }
  progress told() const {
    std::lock_guard const lock(mutex_);
    return progress_;
  }
  /// When it was made, seconds since 1970.
  std::int64_t begun() const noexcept { return begun_; }
  /// Makes it `ended` unless somebody follows it: who offers his link, counts himself a reader and finds it ended has come
  /// too late, and waits for the next one.
  bool end_if_unread() noexcept {
    ended_.store(true);
    if (readers() != 0) ended_.store(false);
    return ended_.load();
  }
  bool ended() const noexcept { return ended_.load(); }

  /// Ends the fill soon: a part is kept. Idempotent.
  void stop() {
    stopping_.store(true);
    wake();
  }
  /// Ends the fill as soon as nobody follows it.
  void end_with_readers() {
    ends_with_readers_.store(true);
    if (readers() == 0) stop();
  }
  bool stopping() const noexcept { return stopping_.load(); }
  /// Nobody has followed it for the whole grace: it should leave the link, and go on when somebody does again.
  bool abandoned() const noexcept {
    return grace_ && readers() == 0 && clock::now().time_since_epoch() - left_.load() >= *grace_;
  }

  /// The current generation is over, another one begins.
  void replace() {
    auto next = std::make_shared<cache::fill>();
    std::shared_ptr<cache::fill> old;
    {
      std::lock_guard const lock(mutex_);
      old = std::exchange(current_, std::move(next));
    }
    old->cut();
  }
  void publish_stored(cache::meta about, std::shared_ptr<cache::file const> body) {
    auto const f = current();
    std::uint64_t const length = about.length;
    f->begin(std::move(about), std::move(body), length);
    f->completed();
  }

  /// False: woken before.
  asio::awaitable<bool> sleep(std::chrono::milliseconds length) {
    if (stopping()) co_return false;
    std::error_code woken;
    paused_at_.store(clock::now().time_since_epoch());
    timer_.expires_after(length);
    co_await timer_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
    co_return !woken;
  }
  /// The same, but a link newer than the one tried last ends it, after a second at the earliest.
  asio::awaitable<void> sleep_until_newer(std::chrono::milliseconds length) {
    std::chrono::milliseconds const first = std::min<std::chrono::milliseconds>(length, spacing);
    bool const slept = co_await sleep(first);
    if (!slept || first == length || !wait_for_newer()) co_return;
    co_await sleep(length - first);
    std::lock_guard const lock(mutex_);
    waits_for_newer_ = false;
  }

  bool unwanted() const noexcept { return stopping() || abandoned(); }
  /// What `stop` and the end of the grace interrupt, besides a pause; null: nothing is under way.
  void watch(upstream::cancellable what) noexcept {
    running_ = what;
    if (unwanted()) what.cancel();  // it was told while there was nothing to end yet
  }

private:
  static constexpr std::chrono::seconds spacing{1};  // of tries that a new link brings about

  /// From now on a newer link wakes it. False: there is one.
  bool wait_for_newer() {
    std::lock_guard const lock(mutex_);
    waits_for_newer_ = sources_.newest().url == tried_;
    return waits_for_newer_;
  }

  bool paused_for_long() const noexcept { return clock::now().time_since_epoch() - spacing > paused_at_.load(); }

  void last_has_left() {
    if (ends_with_readers_.load()) return stop();
    if (!grace_) return;
    asio::post(timer_.get_executor(), [self = shared_from_this()] {
      self->left_timer_.expires_after(*self->grace_);
      self->left_timer_.async_wait([me = self->weak_from_this()](std::error_code ec) {
        if (auto const job = me.lock(); job && !ec && job->abandoned()) job->wake();
      });
    });
  }

  void wake() {
    asio::post(timer_.get_executor(), [self = shared_from_this()] {
      self->timer_.cancel();
      if (self->unwanted()) self->running_.cancel();
    });
  }

  cache::key const key_;
  std::int64_t const begun_ = std::time(nullptr);
  std::optional<std::chrono::milliseconds> const grace_;
  mutable std::mutex mutex_;
  std::shared_ptr<cache::fill> current_ = std::make_shared<cache::fill>();
  link_list sources_;
  std::string tried_;
  progress progress_;
  bool waits_for_newer_ = false;
  std::atomic<int> readers_{0};
  std::atomic<bool> stopping_{false}, ends_with_readers_{false}, ended_{false};
  std::atomic<clock::duration> paused_at_{};
  std::atomic<clock::duration> left_{clock::now().time_since_epoch()};  // when the last reader has left, or it began
  asio::steady_timer timer_, left_timer_;
  upstream::cancellable running_;
};

}  // namespace mgw::proxy
