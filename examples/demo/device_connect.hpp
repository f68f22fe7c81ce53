#pragma once

#include "api.hpp"
#include "json.hpp"
#include "msgpack.hpp"
#include "websocket.hpp"

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

/// The server's end of `deviceconnect/connect`: a WebSocket for each device, and terminal sessions on it.
///
/// A command that is to be run opens a session (control message `open`, answered by `accept`), then a shell in it
/// (`new`), and is typed there; what the shell writes is collected. Thread rule: any thread.
class device_connect {
public:
  explicit device_connect(std::chrono::milliseconds ping) : ping_(ping) {}

  /// GET /api/devices/v1/deviceconnect/connect
  asio::awaitable<void> connect(exchange& x, std::string device) {
    auto const& fields = x.request().fields;
    auto const key = fields.value("Sec-WebSocket-Key");
    bool const asked = fields.list_contains("Connection", "upgrade") && fields.list_contains("Upgrade", "websocket");
    if (!asked || key.empty()) {
      co_await refuse(x, 400, "a WebSocket is expected");
      co_return;
    }
    std::string const accept = websocket_accept(key);
    x.start(101);
    x.field("Connection", "Upgrade");
    x.field("Upgrade", "websocket");
    x.field("Sec-WebSocket-Accept", accept);
    x.end_head({});
    x.close_after();
    std::error_code const ec = co_await x.finish();
    if (ec) co_return;
    auto const s = std::make_shared<session>(x);
    {
      std::lock_guard const lock(mutex_);
      ++connections_;
      terminals_[device].live = s;
    }
    s->frames.add(x.take_unread());
    co_await serve(x, *s, terminal_of(device));
    std::lock_guard const lock(mutex_);
    s->x = nullptr;
    if (terminals_[device].live == s) terminals_[device].live.reset();
  }

  /// Runs a command on every device that is connected. How many these are.
  std::size_t run(std::string const& command) {
    std::lock_guard const lock(mutex_);
    std::size_t n = 0;
    for (auto& [id, t] : terminals_) {
      if (!t.live) continue;
      ++n;
      t.commands.push_back(command);
      wake(t.live);
    }
    return n;
  }
  json::object described() const {
    std::lock_guard const lock(mutex_);
    json::object out, devices;
    for (auto const& [id, t] : terminals_) {
      json::object one;
      one["connected"] = t.live != nullptr;
      one["output"] = t.output;
      one["pongs"] = t.pongs;
      one["close"] = t.close;
      devices[id] = std::move(one);
    }
    out["connections"] = connections_;
    out["devices"] = std::move(devices);
    return out;
  }

private:
  static constexpr std::size_t max_output = 64 * 1024;
  struct session {
    explicit session(exchange& e) : x(&e), executor(e.worker().io.get_executor()), timer(executor) {}
    exchange* x;  // null: it has ended
    asio::any_io_executor executor;
    asio::steady_timer timer;  // these two on its own thread only
    client_frames frames;
    std::string message;  // its frames so far
    bool ping_due = false;
  };
  enum class stage : std::uint8_t { none, opening, accepted, starting, running };
  struct terminal {  // the mutex'
    std::shared_ptr<session> live;
    std::deque<std::string> commands;
    std::string output;
    stage at = stage::none;
    int pongs = 0;
    int close = 0;  // the status of the last close frame
  };

  terminal& terminal_of(std::string const& device) {
    std::lock_guard const lock(mutex_);
    auto& t = terminals_[device];
    t.at = stage::none;
    return t;
  }
  static void wake(std::shared_ptr<session> s) {
    auto const executor = s->executor;
    asio::post(executor, [s = std::move(s)] {
      if (s->x != nullptr) s->x->stream().interrupt();
    });
  }
  void arm(session& s) const {
    s.timer.expires_after(ping_);
    s.timer.async_wait([&s](std::error_code ec) {
      if (ec || s.x == nullptr) return;
      s.ping_due = true;
      s.x->stream().interrupt();
    });
  }

  asio::awaitable<void> serve(exchange& x, session& s, terminal& t) {
    std::error_code ec;
    arm(s);
    bool open = true;
    while (!ec && open) {
      std::string out = s.ping_due ? server_frame(frame::ping, "60") : std::string();
      if (s.ping_due) {
        s.ping_due = false;
        arm(s);
      }
      while (auto const f = s.frames.next()) {
        open = open && take(s, t, *f, out);
        if (!open) break;
      }
      if (s.frames.broken()) open = false;
      if (open) out += due(t);
      ec = co_await write_all(x, out);
      if (ec || !open) break;
      std::array<char, 4096> piece;
      auto const r = co_await x.stream().read_some(asio::buffer(piece));
      s.frames.add({piece.data(), r.n});
      if (r.ec != asio::error::operation_aborted) ec = r.ec;
    }
    s.timer.cancel();
  }
  static asio::awaitable<std::error_code> write_all(exchange& x, std::string_view bytes) {
    std::error_code ec;
    while (!bytes.empty() && !ec) {
      asio::const_buffer const one(bytes.data(), bytes.size());
      mgw::const_buffers const all(&one, 1);
      auto const r = co_await x.stream().write_some(all);
      bytes.remove_prefix(r.n);
      if (r.ec != asio::error::operation_aborted) ec = r.ec;  // woken: it goes on
    }
    co_return ec;
  }

  /// False: the connection ends.
  bool take(session& s, terminal& t, client_frames::one const& f, std::string& out) {
    std::lock_guard const lock(mutex_);
    switch (f.what) {
      case frame::close:
        if (f.payload.size() >= 2)
          t.close = static_cast<unsigned char>(f.payload[0]) << 8 | static_cast<unsigned char>(f.payload[1]);
        out += server_frame(frame::close, f.payload.substr(0, 2));
        return false;
      case frame::ping: out += server_frame(frame::pong, f.payload); return true;
      case frame::pong: ++t.pongs; return true;
      case frame::more:
      case frame::text:
      case frame::binary: break;
    }
    s.message += f.payload;
    if (s.message.size() > client_frames::max_payload) return false;
    if (!f.final) return true;
    auto const m = msgpack_reader(std::exchange(s.message, {})).read();
    if (m && m->is_object()) understand(t, m->get_object());
    return true;
  }
  // Precondition of these: the lock is held.
  static void understand(terminal& t, json::object const& m) {
    auto const* const header = m.if_contains("hdr");
    if (header == nullptr || !header->is_object()) return;
    std::string const type = member(header->get_object(), "typ");
    if (t.at == stage::opening && type == "accept") t.at = stage::accepted;
    if (t.at == stage::starting && type == "new") t.at = stage::running;
    if (type == "shell" || type == "error") t.output += member(m, "body");
    if (t.output.size() > max_output) t.output.erase(0, t.output.size() - max_output);
  }
  static std::string message(std::uint32_t proto, std::string_view type, std::string_view body) {
    msgpack_writer w;
    bool const spawns = type == "new";
    w.map(2).text("hdr").map(spawns ? 4 : 3);
    w.text("proto").number(proto).text("typ").text(type).text("sid").text("demo-session");
    if (spawns) {
      w.text("props").map(3).text("user_id").text("demo");
      w.text("terminal_height").number(24).text("terminal_width").number(80);
    }
    w.text("body").bytes(body);
    return server_frame(frame::binary, w.written());
  }
  /// What is to be sent next for the commands that wait.
  std::string due(terminal& t) {
    constexpr std::uint32_t shell = 1, session_control = 0xFFFF;
    std::lock_guard const lock(mutex_);
    std::string out;
    if (t.commands.empty()) return out;
    switch (t.at) {
      case stage::none: {
        msgpack_writer versions;
        versions.map(1).text("versions").list(1).number(1);
        t.at = stage::opening;
        return message(session_control, "open", versions.written());
      }
      case stage::accepted: t.at = stage::starting; return message(shell, "new", {});
      case stage::opening:
      case stage::starting: return out;
      case stage::running: break;
    }
    for (auto const& c : t.commands) out += message(shell, "shell", c + "\n");
    t.commands.clear();
    return out;
  }

  std::chrono::milliseconds ping_;
  mutable std::mutex mutex_;
  std::uint64_t connections_ = 0;
  std::map<std::string, terminal> terminals_;  // by device
};

}  // namespace demo
