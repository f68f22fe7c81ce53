#pragma once

#include <spdlog/sinks/base_sink.h>

#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <utility>

namespace gateway {

/// Writes lines to a descriptor. Those that may wait, the access log's, stay here where another was written less than
/// `max_wait` ago, until `flush`, another line or `max_held` bytes take them along: at a busy time one write(2) is for
/// many, and at others each line leaves at once. All lines keep their order.
/// What cannot be written is lost. Any thread. Lifetime: the descriptor's is the caller's.
class gathering_sink final : public spdlog::sinks::base_sink<std::mutex> {
public:
  static constexpr std::size_t max_held = std::size_t{16} << 10;
  static constexpr std::chrono::milliseconds max_wait{10};

  explicit gathering_sink(int fd) : fd_(fd) {}
  gathering_sink(gathering_sink const&) = delete;
  gathering_sink& operator=(gathering_sink const&) = delete;
  ~gathering_sink() override { write_all(); }

  /// While there is one, what this thread logs may wait. Afterwards `must_flush` says whether nobody has undertaken to
  /// flush yet what waits now: then it is the caller's part, after `max_wait`.
  class may_wait {
  public:
    may_wait() noexcept { now() = state::waits; }
    may_wait(may_wait const&) = delete;
    may_wait& operator=(may_wait const&) = delete;
    ~may_wait() { now() = state::none; }
    static bool must_flush() noexcept { return now() == state::first; }

  private:
    friend class gathering_sink;
    enum class state { none, waits, first };
    static state& now() noexcept {
      thread_local state s = state::none;
      return s;
    }
  };

protected:
  void sink_it_(spdlog::details::log_msg const& line) override {
    formatter_->format(line, held_);
    bool const busy = line.time - written_ < max_wait;
    if (may_wait::now() == may_wait::state::none || !busy || held_.size() >= max_held) {
      written_ = line.time;
      write_all();
    } else if (!std::exchange(promised_, true)) {
      may_wait::now() = may_wait::state::first;
    }
  }
  void flush_() override {
    promised_ = false;
    written_ = spdlog::log_clock::now();
    write_all();
  }

private:
  void write_all() noexcept {
    for (std::size_t done = 0; done != held_.size();) {
      ssize_t const n = ::write(fd_, held_.data() + done, held_.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      done += static_cast<std::size_t>(n);
    }
    held_.clear();
  }

  int fd_;
  spdlog::memory_buf_t held_;
  spdlog::log_clock::time_point written_{};
  bool promised_ = false;  // somebody will flush
};

}  // namespace gateway
