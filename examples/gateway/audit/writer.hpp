#pragma once

#include "audit/appender.hpp"
#include "audit/chain.hpp"
#include "audit/record.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/seldom.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace gateway::audit {

struct writer_options {
  /// When what was written is made durable.
  enum class sync { always, second, never };

  appender_options files;
  sync when = sync::second;
  std::chrono::milliseconds head_every{3'600'000};  ///< how often the head is logged
  std::chrono::milliseconds retry{1'000};           ///< after a fault of the disk
  std::size_t max_waiting = 10'000;  ///< records in memory, while those before are written; more are counted only
  mgw::log_sink log;
  std::function<void(std::string_view)> log_head;  ///< in place of `log`, which may leave out information
};

/// Takes records from any thread, and writes them on one of its own: nobody waits for the disk.
///
/// While the disk fails they wait in memory, up to a limit. How many could not be kept is recorded when it goes on.
/// The head of the chain is logged at the first writing, then now and then, and at the end.
class writer {
public:
  explicit writer(writer_options options, mgw::cache::file_ops& disk = mgw::cache::posix_file_ops())
      : options_(std::move(options)), appender_(options_.files, disk), thread_([this] { run(); }) {}
  writer(writer const&) = delete;
  writer& operator=(writer const&) = delete;
  /// Waits for the disk; `stop_for` before does so for a limited time.
  ~writer() {
    (void)stop_for(std::chrono::milliseconds(0));
    thread_.join();
  }

  void put(record r) {
    std::lock_guard const hold(mutex_);
    if (ended_ || waiting_.size() >= options_.max_waiting) {
      ++missed_;
      return;
    }
    waiting_.push_back(std::move(r));
    news_.notify_one();
  }
  /// Nothing can be written at present, or nothing was yet.
  bool failing() const noexcept { return failing_.load(std::memory_order_relaxed); }
  /// Waits until all that was put so far is written, or the disk has failed once more, or so much time is over. True:
  /// it is written.
  bool written_within(std::chrono::milliseconds limit) {
    std::unique_lock hold(mutex_);
    std::uint64_t const tries = tries_;
    news_.notify_one();
    done_.wait_for(hold, limit, [&] { return (waiting_.empty() && !busy_) || (failing_ && tries_ > tries + 1); });
    return waiting_.empty() && !busy_ && !failing_;
  }
  /// Writes what waits, and ends. False: the disk does not answer for so long, and this must not be destroyed.
  bool stop_for(std::chrono::milliseconds limit) {
    std::unique_lock hold(mutex_);
    ended_ = true;
    news_.notify_one();
    return done_.wait_for(hold, limit, [this] { return over_; });
  }

private:
  using clock = std::chrono::steady_clock;

  void run() {
    std::deque<record> batch;
    auto head_at = clock::now(), sync_at = head_at, retry_at = head_at;
    bool begun = false;
    for (;;) {
      bool last = false;
      {
        std::unique_lock hold(mutex_);
        busy_ = false;
        done_.notify_all();
        bool const again = failing_ || !begun;
        if (again && begun)
          news_.wait_until(hold, retry_at, [this] { return ended_; });
        else if (begun)
          news_.wait_until(hold, appender_.dirty() && syncs() ? std::min(head_at, sync_at) : head_at,
                           [this] { return ended_ || !waiting_.empty() || missed_ != 0; });
        last = ended_;
        busy_ = true;
        batch.insert(batch.end(), std::make_move_iterator(waiting_.begin()), std::make_move_iterator(waiting_.end()));
        waiting_.clear();
        if (missed_ != 0 && !failing_) {  // one record for all of the time
          record r("missed");
          r.add("records", std::exchange(missed_, 0));
          batch.push_back(std::move(r));
        }
      }
      begun = true;
      std::error_code ec = write(batch);
      auto const now = clock::now();
      bool const head_due = !ec && (last || now >= head_at);
      if (!ec && (head_due || options_.when == writer_options::sync::always ||
                  (options_.when == writer_options::sync::second && now >= sync_at))) {
        ec = head_due ? noted() : appender_.sync();
        sync_at = clock::now() + std::chrono::seconds(1);
      }
      if (head_due && !ec) {
        tell_head(last);
        head_at = clock::now() + options_.head_every;
      }
      retry_at = clock::now() + options_.retry;
      judge(ec);
      std::lock_guard const hold(mutex_);
      ++tries_;
      give_back(batch);
      if (last) {
        over_ = true;
        busy_ = false;
        if (!waiting_.empty() && options_.log)
          options_.log(mgw::log_level::error,
                       "audit: " + std::to_string(waiting_.size()) + " records are lost: " + ec.message());
        done_.notify_all();
        return;
      }
    }
  }
  bool syncs() const noexcept { return options_.when == writer_options::sync::second; }
  std::error_code write(std::deque<record>& batch) {
    try {
      return appender_.append(batch);
    } catch (std::exception const&) {  // no memory, no crypto
      return std::make_error_code(std::errc::resource_unavailable_try_again);
    }
  }
  std::error_code noted() { return appender_.sync_and_note(); }
  /// What is not written is the first to be written next. The appender knows these by their place.
  void give_back(std::deque<record>& batch) {
    if (batch.empty()) return;
    batch.insert(batch.end(), std::make_move_iterator(waiting_.begin()), std::make_move_iterator(waiting_.end()));
    waiting_.swap(batch);
    batch.clear();
  }
  void judge(std::error_code ec) {
    if (ec && options_.log && trouble_.due())
      options_.log(mgw::log_level::error, "audit: nothing can be recorded in " + options_.files.path + ": " + why(ec));
    if (!ec && failing_ && told_ && options_.log)
      options_.log(mgw::log_level::info, "audit: records are written again to " + options_.files.path);
    told_ = static_cast<bool>(ec);
    failing_ = static_cast<bool>(ec);
  }
  static std::string why(std::error_code ec) {
    if (ec == std::errc::bad_message)
      return "the file's last line, or the key, is none that this gateway has made; move it away";
    if (ec == std::errc::resource_unavailable_try_again || ec == std::errc::operation_would_block)
      return "another gateway writes there";
    return ec.message();
  }
  void tell_head(bool last) {
    auto const head = appender_.head();
    if (!head) return;
    std::string const line = "audit: head seq=" + std::to_string(head->seq) + " mac=" + head->mac +
                             (last ? " (the last of this run)" : "");
    if (options_.log_head)
      options_.log_head(line);
    else if (options_.log)
      options_.log(mgw::log_level::info, line);
  }

  writer_options const options_;
  appender appender_;  // of the thread alone
  mgw::seldom trouble_{std::chrono::minutes(1)};
  bool told_ = false;
  std::atomic<bool> failing_{true};  // until the first writing
  std::mutex mutex_;
  std::condition_variable news_, done_;
  std::deque<record> waiting_;
  std::uint64_t missed_ = 0, tries_ = 0;
  bool ended_ = false, over_ = false, busy_ = true;
  std::thread thread_;  // the last: it uses all the others
};

}  // namespace gateway::audit
