#pragma once

#include "control/channel.hpp"
#include "control/protocol.hpp"
#include "control/socket_path.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/core/log.hpp>

#include <boost/json/object.hpp>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace gateway {

/// Does what a request asks for. Called on a thread of its own, several at a time. `file` is -1 if none came.
using control_handler = std::function<boost::json::object(cache_request const&, int file, step_function const&)>;

struct control_options {
  std::size_t max_connections = 8;                 ///< at once; one more is told to come back
  std::chrono::milliseconds request_time{10'000};  ///< for a client to send its request
  std::chrono::milliseconds answer_time{30'000};   ///< for a client to take a line
  std::chrono::milliseconds progress_every{200};
};

/// Whether somebody of this user may give commands to a gateway of that one.
inline bool may_command(uid_t peer, uid_t own) noexcept {
  return peer == own || peer == 0;
}

/// Why a descriptor is not one that `command` can be done with, so that no client can make a thread wait for it; empty
/// if it is: a file, or for an export a pipe that does not block.
inline std::string unfit_file(std::string_view command, int fd) {
  struct stat s{};
  int const mode = ::fcntl(fd, F_GETFL);
  if (mode < 0 || ::fstat(fd, &s) != 0) return "the descriptor is not to be used";
  bool const exporting = command == "export";
  if (((mode & O_ACCMODE) == (exporting ? O_RDONLY : O_WRONLY)) || (mode & O_PATH) != 0)
    return exporting ? "the descriptor is not open for writing" : "the descriptor is not open for reading";
  if (S_ISREG(s.st_mode)) return {};
  if (exporting && S_ISFIFO(s.st_mode) && (mode & O_NONBLOCK) != 0) return {};
  return exporting ? "the descriptor is neither a file nor a pipe that does not block" : "the descriptor is not a file";
}

/// The gateway's end of the control socket. A Part of the running gateway (proxy/run_until_signal.hpp).
///
/// One thread accepts, each connection has one; network threads have nothing to do with it. One request a connection. A
/// client that goes away ends what it asked for, at the handler's next step.
class control_server {
public:
  control_server(control_handler handler, mgw::log_sink log, control_options options = {})
      : handler_(std::move(handler)), log_(std::move(log)), options_(options) {}
  control_server(control_server const&) = delete;
  control_server& operator=(control_server const&) = delete;
  ~control_server() { close(); }

  /// Listens at `path` from now on. Errors are logged: a gateway that cannot be given commands serves devices all the
  /// same. Throws config_error if the path is too long.
  void listen(std::string const& path);
  /// Whether it listens.
  bool listening() const noexcept { return acceptor_.joinable() && !draining_.load(); }

  /// Takes the socket's name away and no new request.
  void drain() {
    draining_.store(true);
    wake();
  }
  /// Ends what is under way at its next step.
  void stop() {
    stopping_.store(true);
    drain();
  }
  bool idle() const noexcept { return sessions_now_.load() == 0; }
  /// Waits for what is under way, which has been told to end.
  void close() {
    stop();
    if (acceptor_.joinable()) acceptor_.join();
  }
  /// The same for so long at most. False: something hangs, a disk mostly; then only the end of the process ends it.
  bool close_for(std::chrono::milliseconds limit) {
    stop();
    for (auto const until = std::chrono::steady_clock::now() + limit; !idle(); ::poll(nullptr, 0, 10))
      if (std::chrono::steady_clock::now() >= until) return false;
    close();
    return true;
  }

private:
  struct session {
    std::thread thread;
    std::atomic<bool> ended{false};
  };

  void wake() const noexcept {
    std::uint64_t const one = 1;
    if (wake_) (void)!::write(wake_->fd(), &one, sizeof one);
  }
  void log(mgw::log_level level, std::string const& text) const {
    if (log_) log_(level, text);
  }
  void accept_until_drained() noexcept;
  void take(owned_descriptor socket);
  void serve(owned_descriptor socket) noexcept;
  boost::json::object answer(control_channel& channel);

  control_handler handler_;
  mgw::log_sink log_;
  control_options options_;
  std::optional<named_socket> socket_;
  owned_descriptor wake_;
  std::atomic<bool> draining_{false}, stopping_{false};
  std::atomic<std::size_t> sessions_now_{0};
  std::list<session> sessions_;  // the acceptor's
  std::thread acceptor_;
};

inline void control_server::listen(std::string const& path) {
  auto const address = control_address(path);
  auto const no_commands = [&](std::string const& why) {
    log(mgw::log_level::warn, "no commands will be taken: the control socket " + path + " cannot be made: " + why);
  };
  int const wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake < 0) return no_commands(std::generic_category().message(errno));
  wake_ = std::make_unique<mgw::cache::file const>(wake);
  auto socket = named_socket::listen(path, address, 16);
  if (!socket)
    return no_commands(socket.error() == std::errc::address_in_use ? "another gateway answers there, or it is no socket"
                                                                   : socket.error().message());
  socket_.emplace(std::move(*socket));
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the threads that wait for them
  acceptor_ = std::thread([this] { accept_until_drained(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

inline void control_server::accept_until_drained() noexcept {
  while (!draining_.load()) {
    std::array<pollfd, 2> p{{{socket_->fd(), POLLIN, 0}, {wake_->fd(), POLLIN, 0}}};
    ::poll(p.data(), p.size(), 1000);
    std::erase_if(sessions_, [](session& s) {
      if (s.ended.load()) s.thread.join();
      return !s.thread.joinable();
    });
    if (draining_.load() || (p[0].revents & POLLIN) == 0) continue;
    int const fd = ::accept4(socket_->fd(), nullptr, nullptr, SOCK_CLOEXEC);
    try {
      if (fd >= 0)
        take(std::make_unique<mgw::cache::file const>(fd));
      else if (errno == EMFILE || errno == ENFILE)
        ::poll(nullptr, 0, 100);  // it stays in line
    } catch (std::exception const& e) {
      log(mgw::log_level::warn, std::string("a command was not taken: ") + e.what());
    }
  }
  socket_->remove();
  for (session& s : sessions_) s.thread.join();
  sessions_.clear();
}

inline void control_server::take(owned_descriptor socket) {
  if (sessions_now_.load() >= options_.max_connections) {
    control_channel(std::move(socket))
        .send(control_line(failure("too many commands at once; try again")), -1, std::chrono::milliseconds(0));
    return;
  }
  session& s = sessions_.emplace_back();
  ++sessions_now_;
  try {
    s.thread = std::thread([this, &s, owned = std::move(socket)]() mutable {
      serve(std::move(owned));
      --sessions_now_;
      s.ended.store(true);
    });
  } catch (...) {
    --sessions_now_;
    sessions_.pop_back();
    throw;
  }
}

inline void control_server::serve(owned_descriptor socket) noexcept {
  try {
    control_channel channel(std::move(socket));
    boost::json::object out;
    try {
      out = answer(channel);
    } catch (std::exception const& e) {
      out = failure(e.what());
    }
    if (!out.empty()) (void)channel.send(control_line(std::move(out)), -1, options_.answer_time);
  } catch (std::exception const&) {  // no memory: the connection just ends
  }
}

/// What is to be said last; nothing to a client that said nothing.
inline boost::json::object control_server::answer(control_channel& channel) {
  auto const peer = channel.peer();
  if (!peer || !may_command(peer->uid, ::geteuid()))
    return failure("only user " + std::to_string(::geteuid()) + " and root may give commands to this gateway");
  owned_descriptor file;
  auto const line = channel.read_line(max_control_request, options_.request_time, &file);
  if (!line && line.error() == std::errc::message_size)
    return failure("a request has at most " + std::to_string(max_control_request) + " bytes");
  if (!line && line.error() == std::errc::timed_out) return failure("the request did not come in time");
  if (!line) return {};
  cache_request request;
  std::string why;
  if (!read_request(*line, request, why)) return failure(why);
  if (takes_file(request.command)) {
    why = file ? unfit_file(request.command, file->fd()) : "no descriptor came with the request";
    if (!why.empty()) return failure(request.command + ": " + why);
  }
  if (channel.send(control_line({{"accepted", true}}), -1, options_.answer_time)) return {};
  auto last = std::chrono::steady_clock::time_point::min();
  step_function const step = [&](std::uint64_t done, std::uint64_t total, std::string_view object) {
    if (stopping_.load() || channel.peer_gone()) return false;
    auto const now = std::chrono::steady_clock::now();
    if (total == 0) return true;
    if (last != std::chrono::steady_clock::time_point::min() && now - last < options_.progress_every) return true;
    last = now;
    boost::json::object const progress{{"done", done}, {"total", total}, {"object", json_view(object)}};
    return !channel.send(control_line({{"progress", progress}}), -1, options_.answer_time);
  };
  return handler_(request, takes_file(request.command) ? file->fd() : -1, step);
}

}  // namespace gateway
