#pragma once

#include "config/settings.hpp"
#include "listening.hpp"
#include "status/board.hpp"
#include "status/keeper.hpp"
#include "status/moment.hpp"
#include "status/page.hpp"
#include "status/report.hpp"
#include "support/side_listener.hpp"

#include <mgw/core/log.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/worker_pool.hpp>

#include <asio/ip/tcp.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway::status {

/// The status page of a gateway: what it keeps, the thread that makes its reports, and its listener. A Part of a
/// running gateway, also while it does not listen.
class part {
public:
  /// What the gateway tells. All are called on the page's own thread, while the gateway runs.
  struct sources {
    std::function<moment()> look;                   ///< how things stand; may wait for the workers, not for a disk
    std::function<std::uint64_t()> upstream_bytes;  ///< of artifacts, so far
    std::function<void()> probe;                    ///< begins to find out whether the upstream can be reached
  };

  part(std::size_t workers, std::shared_ptr<problem_list> problems)
      : keeper_(workers, std::time(nullptr), std::move(problems)) {}

  keeper& kept() noexcept { return keeper_; }
  keeper const& kept() const noexcept { return keeper_; }

  /// Listens. Where nobody has set the address and it cannot be had, that is logged and is `trouble()` from then on;
  /// else it throws std::runtime_error. Before the workers run, and after the other listeners: it gives way to them.
  /// `sockets`: listening ones that are there, in place of the address; they are taken over.
  void listen(mgw::net::worker_pool& workers, settings const& s, sources from, mgw::log_sink const& log,
              std::vector<int> const& sockets = {}) {
    auto const where = mgw::net::parse_listen_address(s.admin.listen);
    std::string const key = "ADMIN_LISTEN (Admin.Listen)";
    if (!where)
      throw config_error(key + " is " + shown_in_message(s) + "; accepted: [HOST]:PORT, such as 127.0.0.1:9103");
    auto o = side_listener<page>::few();
    o.send_silence = std::chrono::seconds(30);
    from_ = std::move(from);
    board_ = std::make_unique<board>([this] { tick(); }, [this] { return keeper_.make(from_.look()); });
    try {
      listener_.listen(workers, s.admin.listen, std::move(o), page(*board_, takes_addresses_alone(where->address())),
                       log, sockets);
    } catch (std::system_error const& e) {
      board_.reset();
      if (!s.admin.listen_is_default)
        throw std::runtime_error(listen_trouble(key, s.admin.listen, where->port(), e.code()));
      trouble_ = "cannot listen on " + s.admin.listen + ": " + e.code().message();
      log(mgw::log_level::warn, "there is no status page: " + trouble_ + "; set " + key +
                                    " to another address, or ADMIN_ENABLED (Admin.Enabled) to false");
    }
  }
  /// Why there is no page; empty: there is one.
  std::string const& trouble() const noexcept { return trouble_; }
  /// Where it really listens; nothing: it does not.
  std::optional<asio::ip::tcp::endpoint> const& bound() const noexcept { return listener_.bound(); }

  void drain() { listener_.drain(); }
  void stop() noexcept {}
  bool idle() const noexcept { return listener_.idle(); }
  void close() {
    if (board_) board_->close();
    listener_.close();
  }

private:
  static constexpr std::int64_t counts_for = 5;  // seconds: what was found out about the upstream
  static std::string shown_in_message(settings const& s) { return '"' + s.admin.listen + '"'; }

  void tick() {
    std::int64_t const now = std::time(nullptr);
    keeper_.tick(from_.upstream_bytes(), std::chrono::steady_clock::now());
    if (keeper_.history_due(now)) {
      moment const m = from_.look();
      keeper_.note_history({m.now, m.upstream_bytes, m.delivered});
    }
    if (board_->watched() && now - keeper_.upstream().told() >= counts_for) from_.probe();
  }

  keeper keeper_;
  sources from_;
  std::string trouble_;
  std::unique_ptr<board> board_;  // its thread calls what is above
  side_listener<page> listener_;
};

}  // namespace gateway::status
