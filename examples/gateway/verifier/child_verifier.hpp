#pragma once

#include "artifact/error.hpp"
#include "artifact/labels.hpp"
#include "artifact/report.hpp"
#include "verifier/options.hpp"
#include "verifier/process.hpp"
#include "verifier/sandbox.hpp"

#include <mgw/proxy/body_verifier.hpp>

#include <asio/awaitable.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

/// Verifies a Mender artifact while it arrives, in a child process that is shut in (see child.hpp).
///
/// An artifact is bad if it is (artifact_reader), if it takes the child over a limit, makes it crash, do what it may
/// not, or end without a word. The verifier is unable if the child could not be started or shut in, was killed by
/// others (SIGKILL: out of memory?), or did nothing for too long without computing.
class child_verifier final : public mgw::proxy::body_verifier {
public:
  using verdict = mgw::proxy::body_verdict;

  child_verifier(asio::io_context& io, verifier_options options)
      : options_(std::move(options)), keys_(options_.keys), timer_(io) {
    auto started = child_process::start(io,
                                        {options_.program, verifier_argument, std::to_string(options_.max_memory),
                                         std::to_string(options_.max_cpu.count()), std::to_string(keys_.size())},
                                        built_with_sanitizer);
    if (started)
      child_ = std::move(*started);
    else
      conclude(verdict::state::unable,
               "the verifier cannot be started: " + options_.program + ": " + started.error().message());
  }

  /// Not needed before take(): waits until the child is shut in (`open`), or it is known that it will not be (`unable`).
  asio::awaitable<verdict> begin() {
    co_await feed_keys();
    while (!ready_ && !settled()) {
      bool const open = read_lines();
      if (ready_ || settled()) break;
      if (open)
        co_await wait(child_->socket(), asio::posix::stream_descriptor::wait_read);
      else
        co_await judge_end();
    }
    co_return verdict_;
  }
  asio::awaitable<verdict> take(std::string_view bytes) override {
    co_await feed_keys();
    co_await feed(bytes);
    fed_ += bytes.size();
    co_return verdict_;
  }
  asio::awaitable<verdict> head() override {
    while (fed_ != 0 && looked_at_ != fed_ && verdict_.what == verdict::state::open) co_await hear();
    co_return verdict_;
  }
  asio::awaitable<verdict> finish() override {
    co_await feed_keys();
    if (other_) conclude(verdict::state::good, {});
    if (child_ && !finishing_) ::shutdown(child_->socket().native_handle(), SHUT_WR);
    finishing_ = true;
    while (!verdict_.is_final()) {
      co_await hear();
      if (other_) conclude(verdict::state::good, {});
    }
    co_return verdict_;
  }

  /// Ends the child: the next verdict is `unable`, soon, if there is none yet.
  void give_up() noexcept {
    if (child_) child_->kill();
  }
  /// Of the child; -1: there is none.
  pid_t pid() const noexcept { return child_ ? child_->pid() : -1; }

private:
  static constexpr std::size_t max_line = 8192;

  asio::awaitable<void> feed_keys() {
    std::string const keys = std::exchange(keys_, {});
    co_await feed(keys);
  }
  asio::awaitable<void> feed(std::string_view bytes);
  asio::awaitable<void> hear();
  asio::awaitable<void> wait(asio::posix::stream_descriptor& on, asio::posix::stream_descriptor::wait_type what);
  asio::awaitable<void> judge_end();
  bool read_lines();
  void line(std::string_view text);
  bool take_label(std::string_view text);
  void judge_status(std::optional<int> status);

  /// Whether the child has nothing to say any more.
  bool settled() const noexcept { return verdict_.is_final() || other_; }
  /// The first conclusion stays.
  void conclude(verdict::state what, std::string why) {
    if (verdict_.is_final()) return;
    verdict_.what = what;
    verdict_.why = std::move(why);
  }

  verifier_options options_;
  std::string keys_;  // not sent yet
  asio::steady_timer timer_;
  std::shared_ptr<child_process> child_;
  std::string heard_;                       // of a line that is not whole
  std::uint64_t fed_ = 0;                   // by take()
  std::optional<std::uint64_t> looked_at_;  // what the child wants more than
  bool ready_ = false;                      // shut in: from here on its end may be the artifact's doing
  bool finishing_ = false;
  bool cpu_is_ours_ = true;
  bool silent_ = false;  // killed for silence
  bool other_ = false;   // no artifact, and welcome
  verdict verdict_;
};

/// Gives all of `bytes`, or as much as is needed for the last of its lines.
inline asio::awaitable<void> child_verifier::feed(std::string_view bytes) {
  while (!bytes.empty() && !settled()) {
    // What it says is read between any two writes, so that neither waits for the other.
    bool const hung_up = !read_lines();
    if (settled()) break;
    ssize_t n = -1;
    if (!hung_up) n = ::send(child_->socket().native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      cpu_is_ours_ = child_->allow_cpu(options_.max_cpu) && cpu_is_ours_;
    } else if (!hung_up && (errno == EAGAIN || errno == EINTR)) {
      co_await wait(child_->socket(), asio::posix::stream_descriptor::wait_write);
    } else {
      if (!hung_up) read_lines();
      if (!settled()) co_await judge_end();
    }
  }
  if (child_ && !settled() && !read_lines()) co_await judge_end();
}

/// Waits for the next of what it says.
inline asio::awaitable<void> child_verifier::hear() {
  std::uint64_t const before = looked_at_.value_or(0);
  auto const state = verdict_.what;
  bool const open = read_lines();
  if (verdict_.what != state || looked_at_.value_or(0) != before) co_return;
  if (open)
    co_await wait(child_->socket(), asio::posix::stream_descriptor::wait_read);
  else
    co_await judge_end();
}

inline asio::awaitable<void> child_verifier::wait(asio::posix::stream_descriptor& on,
                                                  asio::posix::stream_descriptor::wait_type what) {
  // Killed, it hangs up: that ends the wait.
  timer_.expires_after(options_.max_silence);
  timer_.async_wait([this, watched = std::weak_ptr<child_process>(child_)](std::error_code ec) {
    auto const child = watched.lock();
    if (ec || !child) return;
    silent_ = true;
    child->kill();
  });
  bool const writing = what == asio::posix::stream_descriptor::wait_write;
  if (writing)  // it may have to be heard before it takes more
    on.async_wait(asio::posix::stream_descriptor::wait_read,
                  [watched = std::weak_ptr<child_process>(child_)](std::error_code ec) {
                    auto const child = watched.lock();
                    if (!ec && child) child->cancel_wait();
                  });
  std::error_code ec;
  co_await on.async_wait(what, asio::redirect_error(asio::use_awaitable, ec));
  timer_.cancel();
  if (writing) child_->cancel_wait();
  // Aborted: it can be read, now or a moment ago. All who wait look again at what there is.
  if (ec && ec != asio::error::operation_aborted)
    conclude(verdict::state::unable, "waiting for the verifier failed: " + ec.message());
}

/// Takes in what it has said so far. False: it has hung up.
inline bool child_verifier::read_lines() {
  char buffer[4096];
  while (!settled()) {
    ssize_t const n = ::recv(child_->socket().native_handle(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    heard_.append(buffer, static_cast<std::size_t>(n));
    std::size_t at = 0;
    for (auto end = heard_.find('\n'); end != std::string::npos; end = heard_.find('\n', at)) {
      line(std::string_view(heard_).substr(at, end - at));
      at = end + 1;
    }
    heard_.erase(0, at);
    if (heard_.size() > max_line) line("...");
  }
  return true;
}

inline void child_verifier::line(std::string_view text) {
  auto const after = [text](std::string_view word) { return detail::shown(text.substr(word.size())); };
  if (text == "ready") {
    ready_ = true;
  } else if (text.starts_with("want ")) {
    std::uint64_t n = 0;
    std::from_chars(text.data() + 5, text.data() + text.size(), n);
    looked_at_ = n;
  } else if (text == "head" && ready_) {
    if (verdict_.what == verdict::state::open) verdict_.what = verdict::state::head_good;
  } else if (text.starts_with("about ") && verdict_.what == verdict::state::head_good && take_label(text.substr(6))) {
    // noted
  } else if (text == "good" && finishing_ && verdict_.what == verdict::state::head_good) {
    conclude(verdict::state::good, {});
  } else if (text == "other" && ready_ && verdict_.what == verdict::state::open) {
    other_ = !options_.only_artifacts;
    if (other_)
      verdict_.what = verdict::state::head_good;
    else
      conclude(verdict::state::bad, make_error_code(artifact_error::not_an_artifact).message());
  } else if (text.starts_with("bad ") && ready_) {
    conclude(verdict::state::bad, after("bad "));
  } else if (text.starts_with("unable ")) {
    conclude(verdict::state::unable, after("unable "));
  } else {
    conclude(verdict::state::bad, "it made the verifier say what it never says");
  }
}

/// NAME VALUE. False: it is none, or was there before.
inline bool child_verifier::take_label(std::string_view text) {
  std::size_t const blank = std::min(text.find(' '), text.size());
  std::string_view const name = text.substr(0, blank);
  auto value = read_label_value(text.substr(std::min(blank + 1, text.size())));
  if (!value || !is_artifact_label(name, *value) || !label_value(verdict_.labels, name).empty()) return false;
  verdict_.labels.emplace_back(name, *std::move(value));
  return true;
}

/// It has hung up: its status is the verdict.
inline asio::awaitable<void> child_verifier::judge_end() {
  co_await wait(child_->ended(), asio::posix::stream_descriptor::wait_read);
  if (!verdict_.is_final()) judge_status(child_->status());
}

inline void child_verifier::judge_status(std::optional<int> status) {
  using enum verdict::state;
  std::string const silence =
      "the verifier did not go on for " + std::to_string(options_.max_silence.count()) + " ms, and was killed";
  if (silent_) return conclude(unable, silence);
  if (!status) return conclude(unable, "how the verifier ended is not known");
  if (!WIFSIGNALED(*status)) {
    std::string const code = std::to_string(WEXITSTATUS(*status));
    return ready_ ? conclude(bad, "it made the verifier end without a verdict, status " + code)
                  : conclude(unable, "the verifier did not begin, status " + code);
  }
  int const number = WTERMSIG(*status);
  char const* const abbreviation = ::sigabbrev_np(number);
  std::string const name = abbreviation != nullptr ? std::string("SIG") + abbreviation : std::to_string(number);
  if (!ready_) return conclude(unable, "the verifier did not begin: " + name);
  switch (number) {
    case SIGXCPU:
      if (cpu_is_ours_) return conclude(bad, "over its limit of processor time");
      return conclude(unable, "the verifier's limit of processor time could not be raised");
    case SIGSYS: return conclude(bad, "it made the verifier do what it may not (SIGSYS)");
    case SIGSEGV:
    case SIGBUS:
    case SIGILL:
    case SIGFPE:
    case SIGTRAP:
    case SIGXFSZ:
    case SIGABRT: return conclude(bad, "it made the verifier crash: " + name);
    default: return conclude(unable, "the verifier was killed: " + name);
  }
}

/// One child for each fill.
inline mgw::proxy::verifier_factory artifact_verifiers(verifier_options options) {
  return [options = std::move(options)](asio::io_context& io) -> std::unique_ptr<mgw::proxy::body_verifier> {
    return std::make_unique<child_verifier>(io, options);
  };
}

}  // namespace gateway
