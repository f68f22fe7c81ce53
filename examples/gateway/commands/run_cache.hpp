#pragma once

#include "commands/cache.hpp"
#include "commands/cache_text.hpp"
#include "commands/progress_bar.hpp"
#include "commands/table.hpp"
#include "config/configuration.hpp"
#include "config/settings.hpp"
#include "control/cache_access.hpp"
#include "control/channel.hpp"
#include "control/protocol.hpp"

#include <mgw/cache/file.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace gateway {

namespace cache_command_detail {

inline std::sig_atomic_t volatile interrupted = 0;

/// Ctrl-C ends what is under way in order.
inline void watch_signals() {
  struct sigaction a{};
  a.sa_handler = [](int) { interrupted = 1; };
  for (int const s : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(s, &a, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

/// A pipe whose end for writing does not block, and what comes out of it goes to `out`: the gateway does not wait for
/// whoever reads there.
class copied_pipe {
public:
  explicit copied_pipe(int out) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "no pipe");
    end_ = std::make_unique<mgw::cache::file const>(ends[1]);
    auto reading = std::make_unique<mgw::cache::file const>(ends[0]);
    if (::fcntl(end_->fd(), F_SETFL, O_NONBLOCK) != 0)
      throw std::system_error(errno, std::generic_category(), "no pipe");
    copier_ = std::thread([this, out, from = std::move(reading)] { copy(from->fd(), out); });
  }
  copied_pipe(copied_pipe const&) = delete;
  copied_pipe& operator=(copied_pipe const&) = delete;
  ~copied_pipe() { (void)finish(); }

  int fd() const noexcept { return end_->fd(); }
  /// Waits until all is copied; what went wrong.
  std::error_code finish() {
    end_.reset();
    if (copier_.joinable()) copier_.join();
    return failure_;
  }

private:
  void copy(int from, int out) noexcept {
    std::array<char, 65536> block;
    while (!failure_) {
      ssize_t const n = ::read(from, block.data(), block.size());
      if (n == 0) return;
      if (n > 0)
        failure_ = write_all(out, {block.data(), static_cast<std::size_t>(n)});
      else if (errno != EINTR)
        failure_ = {errno, std::generic_category()};
    }
  }
  /// To something that may block for ever: what poll() says has room takes so much at once without.
  static std::error_code write_all(int out, std::string_view bytes) noexcept {
    while (!bytes.empty()) {
      pollfd p{out, POLLOUT, 0};
      int const ready = ::poll(&p, 1, 200);
      if (interrupted != 0) return std::make_error_code(std::errc::operation_canceled);
      if (ready <= 0) continue;
      ssize_t const n = ::write(out, bytes.data(), std::min<std::size_t>(bytes.size(), PIPE_BUF));
      if (n < 0 && errno != EINTR && errno != EAGAIN) return {errno, std::generic_category()};
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return {};
  }

  owned_descriptor end_;
  std::error_code failure_;  // read after join()
  std::thread copier_;
};

/// Runs a command with this file and tells how far it is.
using asking = std::function<boost::json::object(cache_request const&, int file)>;

inline boost::json::object failed_file(std::string const& name, int error) {
  return failure(json_text(name) + ": " + std::generic_category().message(error));
}

inline boost::json::object import_file(cache_request request, std::string const& name, asking const& ask) {
  int const fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe would wait for its other end
  if (fd < 0) return failed_file(name, errno);
  mgw::cache::file const file(fd);
  struct stat s{};
  if (::fstat(fd, &s) != 0) return failed_file(name, errno);
  if (!S_ISREG(s.st_mode)) return failure(json_text(name) + ": only a plain file can be imported");
  request.file = json_text(name);
  return ask(request, fd);
}

inline boost::json::object export_stream(cache_request const& request, int out, asking const& ask) {
  copied_pipe pipe(out);
  auto answer = ask(request, pipe.fd());
  auto const ec = pipe.finish();
  // The gateway only knows that nobody reads any more.
  return ec ? failure(request.file + ": " + ec.message()) : answer;
}

/// The file has its name when it is whole and on disk.
inline boost::json::object export_file(cache_request request, std::string const& name, asking const& ask) {
  struct stat s{};
  bool const to_stdout = name == "-";
  request.file = to_stdout ? "standard output" : json_text(name);
  if (to_stdout) return export_stream(request, STDOUT_FILENO, ask);
  if (::stat(name.c_str(), &s) == 0 && !S_ISREG(s.st_mode)) {
    int const fd = ::open(name.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return failed_file(name, errno);
    mgw::cache::file const file(fd);
    return export_stream(request, fd, ask);
  }
  std::error_code no_link;
  std::string const target =
      std::filesystem::is_symlink(name, no_link) ? std::filesystem::weakly_canonical(name, no_link).string() : name;
  std::string const temporary = target + "." + std::to_string(::getpid()) + ".part";
  int const fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return failed_file(temporary, errno);
  mgw::cache::file const file(fd);
  auto answer = ask(request, fd);
  if (!is_failure(answer) && (::fsync(fd) != 0 || ::rename(temporary.c_str(), target.c_str()) != 0))
    answer = failed_file(name, errno);
  if (is_failure(answer)) ::unlink(temporary.c_str());
  return answer;
}

}  // namespace cache_command_detail

/// Does it and prints the answer. Returns the exit status. Throws config_error.
inline int run_cache_command(configuration const& c, cache_command const& asked) {
  namespace d = cache_command_detail;
  if (!c.errors.empty()) throw config_error(c.errors.front());
  d::watch_signals();
  cache_access cache(c.values);
  progress_bar bar;
  d::asking const ask = [&](cache_request const& request, int file) {
    step_function const step = [&](std::uint64_t done, std::uint64_t total, std::string_view object) {
      bar.show(request.command + ' ' + std::string(object), done, total);
      return d::interrupted == 0;
    };
    auto answer = cache.run(request, file, step);
    bar.clear();
    return answer;
  };
  int status = exit_status::done;
  bool const quiet = asked.request.command == "export" && asked.files.front() == "-";  // there are the bytes
  auto const tell = [&](boost::json::object const& answer) {
    status = std::max(status, static_cast<int>(number_in(answer, "status")));
    std::string text;
    if (is_failure(answer))
      std::fprintf(stderr, "mgw-gateway: %s\n", detail::shown(text_in(answer, "error")).c_str());
    else if (!asked.json)
      text = cache_text(asked.request, answer, terminal_width(STDOUT_FILENO), std::time(nullptr));
    if (asked.json) text = control_line(answer);
    if (!quiet) std::fputs(text.c_str(), stdout);
  };
  cache_request request = asked.request;
  for (std::string& o : request.objects) o = json_text(o);
  if (request.command == "import")
    for (std::string const& name : asked.files) {
      if (d::interrupted == 0) tell(d::import_file(request, name, ask));
    }
  else if (request.command == "export")
    tell(d::export_file(request, asked.files.front(), ask));
  else
    tell(ask(request, -1));
  if (std::fflush(stdout) != 0) status = exit_status::undone;
  return status;
}

}  // namespace gateway
