#pragma once

#include <mgw/core/any_stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>

#include <support/fail_at.hpp>
#include <support/memory_stream.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::fuzz {

/// What one peer does, step by step.
struct step {
  enum class kind {
    send,           ///< these bytes, at once
    await_message,  ///< wait until another whole message has come from the other side
    await_bytes,    ///< wait until a client got another byte; until an upstream got another request head
    end,            ///< FIN
    break_off,      ///< RST
  };
  kind what = kind::send;
  std::string_view bytes = {};
};

/// The parts that all sides of an exchange play.
///
/// The first byte holds options. Then the client's steps. The byte 0xff begins a command: `,` cuts (what follows comes
/// apart), `u` goes on with another upstream connection, `c` with the client, `r` is await_message, `h` await_bytes,
/// `e` end, `x` break_off; before anything else it stands for itself.
struct play {
  bool small = false;           ///< small limits
  bool short_writes = false;    ///< the proxy writes a few bytes at a time
  bool short_reads = false;     ///< the proxy reads a few bytes at a time
  bool upstream_first = false;  ///< where both sides could go on, the upstream does
  bool drains = false;          ///< the server drains after the first step
  bool fold_hosts = false;      ///< equal Host lines are folded
  std::vector<step> client;
  std::vector<std::vector<step>> upstreams;

  explicit play(std::string_view in) {
    if (in.empty()) return;
    auto const options = static_cast<unsigned char>(in[0]);
    small = (options & 1) != 0;
    short_writes = (options & 2) != 0;
    short_reads = (options & 4) != 0;
    upstream_first = (options & 8) != 0;
    drains = (options & 16) != 0;
    fold_hosts = (options & 32) != 0;
    in.remove_prefix(1);
    bool with_client = true;
    auto const now = [&]() -> std::vector<step>& { return with_client ? client : upstreams.back(); };
    auto const add = [&](step::kind what, std::string_view bytes = {}) {
      if (what == step::kind::send && bytes.empty()) return;
      now().push_back(step{what, bytes});
    };
    std::size_t begin = 0;
    for (std::size_t i = 0; i + 1 < in.size(); ++i) {
      if (in[i] != '\xff') continue;
      char const c = in[i + 1];
      if (std::string_view(",ucrhex").find(c) == std::string_view::npos) continue;
      add(step::kind::send, in.substr(begin, i - begin));
      begin = i + 2;
      ++i;
      switch (c) {
        case 'u':
          with_client = upstreams.size() >= 8;
          if (!with_client) upstreams.emplace_back();
          break;
        case 'c': with_client = true; break;
        case 'r': add(step::kind::await_message); break;
        case 'h': add(step::kind::await_bytes); break;
        case 'e': add(step::kind::end); break;
        case 'x': add(step::kind::break_off); break;
        default: break;
      }
    }
    add(step::kind::send, in.substr(begin));
  }
};

/// A peer of the proxy who plays their part over a connection in memory.
class actor {
public:
  actor(asio::any_io_executor ex, std::vector<step> const& part, test::memory_options const& how) : part_(&part) {
    auto ends = test::memory_stream::pair(ex, how);
    ours_ = std::make_unique<test::memory_stream>(std::move(ends.first));
    theirs_ = std::make_unique<test::memory_stream>(std::move(ends.second));
    ours_->settings() = test::memory_options();
  }
  /// The proxy's end; once.
  any_stream give() { return any_stream(std::move(*theirs_)); }

  std::string const& got() const noexcept { return got_; }    ///< all that the proxy has written
  std::string const& sent() const noexcept { return sent_; }  ///< all that was sent to the proxy
  bool closed() const noexcept { return closed_; }            ///< the proxy has ended its direction, or broke it
  bool broken() const noexcept { return broken_; }            ///< the proxy saw, or made, a broken connection
  bool ended() const noexcept { return ended_; }              ///< a FIN was sent
  bool broke_off() const noexcept { return broke_off_; }      ///< a RST was sent

  /// Takes what the proxy has written.
  void listen() {
    std::array<char, 4096> some;
    while (!closed_ && !broke_off_) {
      io_result const r = ours_->try_read(asio::buffer(some));
      got_.append(some.data(), r.n);
      if (r.n != 0) continue;
      if (r.ec == asio::error::would_block) break;
      closed_ = true;
      broken_ = r.ec != asio::error::eof;
    }
  }
  bool done() const noexcept { return at_ == part_->size(); }
  step::kind next() const noexcept { return (*part_)[at_].what; }
  /// Does the next step; a wait is over.
  void go_on() {
    step const& s = (*part_)[at_++];
    switch (s.what) {
      case step::kind::send: send(s.bytes); break;
      case step::kind::await_message: ++messages_; break;
      case step::kind::await_bytes: break;
      case step::kind::end: end(); break;
      case step::kind::break_off: break_off(); break;
    }
    mark_ = got_.size();
  }
  /// How many messages were waited for.
  std::size_t messages() const noexcept { return messages_; }
  /// How much had come when the last step was done.
  std::size_t mark() const noexcept { return mark_; }
  void end() {
    if (ended_ || broke_off_) return;
    ours_->finish();
    ended_ = true;
  }

private:
  void send(std::string_view bytes) {
    if (ended_ || broke_off_) return;
    asio::const_buffer const one(bytes.data(), bytes.size());
    io_result const r = ours_->try_write(const_buffers(&one, 1));  // what there is no room for is lost
    sent_.append(bytes.substr(0, r.n));
  }
  void break_off() {
    if (broke_off_) return;
    listen();
    test::fail_at now(0, asio::error::connection_reset);
    ours_->settings().fail = &now;
    char const byte = 0;
    asio::const_buffer const one(&byte, 1);
    (void)ours_->try_write(const_buffers(&one, 1));
    ours_->settings().fail = nullptr;
    broke_off_ = true;
  }

  std::vector<step> const* part_;
  std::unique_ptr<test::memory_stream> ours_, theirs_;
  std::string got_, sent_;
  std::size_t at_ = 0, messages_ = 0, mark_ = 0;
  bool closed_ = false, broken_ = false, ended_ = false, broke_off_ = false;
};

}  // namespace mgw::fuzz
