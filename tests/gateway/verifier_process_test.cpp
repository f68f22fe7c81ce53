#include "verifier/process.hpp"

#include "artifact_support.hpp"
#include "support/no_descriptors.hpp"
#include "verifier_support.hpp"

#include <doctest/doctest.h>
#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::verifier_process_test {

using state = body_verdict::state;

namespace {

std::string large_artifact() {
  artifact_sample s;
  s.files.push_back({"large", std::string(4'000'000, 'l')});
  return s.all();
}

/// Exit status of `mgw-verifier-child --try WHAT`, or minus the signal that ended it.
int tried_in_sandbox(std::string what) {
  std::string program = MGW_VERIFIER_CHILD;
  std::string flag = "--try";
  char* argv[] = {program.data(), flag.data(), what.data(), nullptr};
  detail::spawn_settings how;
  posix_spawn_file_actions_addopen(&how.files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&how.files, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&how.files, 2, "/dev/null", O_WRONLY, 0);
  pid_t pid = -1;
  REQUIRE(posix_spawn(&pid, program.c_str(), &how.files, nullptr, argv, environ) == 0);
  auto const status = detail::reap(pid);
  REQUIRE(status.has_value());
  return WIFSIGNALED(*status) ? -WTERMSIG(*status) : WEXITSTATUS(*status);
}

}  // namespace

TEST_CASE("verifier: the sandbox lets computing pass, and ends whatever reaches outside") {
  if (built_with_sanitizer) return;
  for (char const* const what : {"write", "clock", "memory below the limit"}) {
    CAPTURE(what);
    CHECK(tried_in_sandbox(what) == 0);
  }
  CHECK(tried_in_sandbox("memory above the limit") == 1);
  for (char const* const what :
       {"open", "openat", "socket", "execve", "fork", "kill", "ptrace", "dup", "read 1", "write 2", "ioctl", "prlimit",
        "prctl", "sendto", "executable memory", "made executable", "another's signal"}) {
    CAPTURE(what);
    CHECK(tried_in_sandbox(what) == -SIGSYS);
  }
  CHECK(tried_in_sandbox("abort") == -SIGABRT);
}

TEST_CASE("verifier: what a child does wrong, and whose fault that is") {
  struct {
    std::string how;
    state what;
    char const* why;
  } const cases[] = {
      {"status 7 before", state::unable, "the verifier did not begin, status 7"},
      {"crash before", state::unable, "the verifier did not begin: SIGSEGV"},
      {"unable", state::unable, "to speak of it\\x1b[31m"},
      {"status 7", state::bad, "it made the verifier end without a verdict, status 7"},
      {"status 0", state::bad, "it made the verifier end without a verdict, status 0"},
      {"crash", state::bad, "it made the verifier crash: SIGSEGV"},
      {"forbidden call", state::bad, "it made the verifier do what it may not (SIGSYS)"},
      {"killed", state::unable, "the verifier was killed: SIGKILL"},
      {"good too early", state::bad, "it made the verifier say what it never says"},
      {"nonsense", state::bad, "it made the verifier say what it never says"},
      {"no line", state::bad, "it made the verifier say what it never says"},
      {"control characters", state::bad, "\\x1b[31m\\xc3\\xa4"},
      {"computes", state::bad, "over its limit of processor time"},
  };
  std::string const bytes = large_artifact();
  for (auto const& c : cases) {
    CAPTURE(c.how);
    misbehaving const child(c.how);
    auto options = child.options();
    options.max_cpu = std::chrono::seconds(1);
    for (std::size_t const piece : {std::size_t{100'000}, bytes.size()}) {
      auto const v = verified(bytes, piece, options);
      CHECK(v.what == c.what);
      CHECK(v.why == c.why);
    }
  }
  CHECK_FALSE(has_children());
}

TEST_CASE("verifier: the child does not learn the gateway's environment") {
  misbehaving const child("environment");
  ::setenv("MGW_TEST_SECRET", "secret", 1);
  auto const v = verified("bytes", 5, child.options());
  ::unsetenv("MGW_TEST_SECRET");
  CHECK(v.why == "it is clean");
}

TEST_CASE("verifier: processor time is limited between reads, not in all") {
  misbehaving const child("computes now and then");
  auto options = child.options();
  options.max_cpu = std::chrono::seconds(2);
  CHECK(verified(std::string(600'000, 'x'), 10'000, options).what == state::good);  // takes more than two seconds
}

TEST_CASE("verifier: a child that does nothing is given up, and nothing is said of the artifact") {
  misbehaving const child("hangs");
  auto options = child.options();
  options.max_silence = std::chrono::milliseconds(50);
  for (std::size_t const size : {std::size_t{10}, std::size_t{4'000'000}}) {
    auto const v = verified(std::string(size, 'x'), 100'000, options);
    CHECK(v.what == state::unable);
    CHECK(v.why == "the verifier did not go on for 50 ms, and was killed");
  }
}

TEST_CASE("verifier: a child that cannot be started says so, and nothing else happens") {
  auto options = child_options();
  options.program = "/no/such/program";
  auto v = verified("bytes", 1, options);
  CHECK(v.what == state::unable);
  CHECK(v.why == "the verifier cannot be started: /no/such/program: No such file or directory");
  options.program = "/";
  CHECK(verified("", 1, options).what == state::unable);
  auto const before = open_descriptors();
  {
    asio::io_context io(1);
    child_verifier const first(io, options);  // what the context opens for itself
    std::unique_ptr<child_verifier> verifier;
    {
      mgw::test::no_descriptors const none;
      verifier = std::make_unique<child_verifier>(io, child_options());
    }
    v = mgw::test::run_io(io, feed_all(*verifier, "bytes", 1));
  }
  CHECK(v.what == state::unable);
  CHECK(v.why.find("Too many open files") != std::string::npos);
  CHECK(open_descriptors() == before);
  CHECK_FALSE(has_children());
}

namespace {

asio::awaitable<body_verdict> killed_in_the_middle(child_verifier& verifier, std::string bytes, int signal) {
  auto v = co_await verifier.take(std::string_view(bytes).substr(0, 100'000));
  v = co_await verifier.head();
  CHECK(v.what == state::head_good);
  ::kill(verifier.pid(), signal);
  v = co_await verifier.take(std::string_view(bytes).substr(100'000));
  co_return co_await verifier.finish();
}

asio::awaitable<void> half(body_verifier& verifier, std::string bytes) {
  (void)co_await verifier.take(std::string_view(bytes).substr(0, bytes.size() / 2));
}

asio::awaitable<void> half_of_another(asio::io_context& io, verifier_options options, bool& taking) {
  child_verifier verifier(io, std::move(options));
  std::string const bytes(4'000'000, 'x');
  taking = true;
  (void)co_await verifier.take(bytes);
}

}  // namespace

TEST_CASE("verifier: killed from outside is not the artifact's fault; told to end, it goes on") {
  std::string const bytes = large_artifact();
  asio::io_context io(1);
  child_verifier killed(io, child_options());
  auto v = mgw::test::run_io(io, killed_in_the_middle(killed, bytes, SIGKILL));
  CHECK(v.what == state::unable);
  CHECK(v.why == "the verifier was killed: SIGKILL");
  for (int const signal : {SIGTERM, SIGINT, SIGHUP}) {
    io.restart();
    child_verifier goes_on(io, child_options());
    v = mgw::test::run_io(io, killed_in_the_middle(goes_on, bytes, signal));
    CHECK(v.what == state::good);
  }
}

TEST_CASE("verifier: destroyed at any point, it leaves neither process nor descriptor") {
  CHECK_FALSE(has_children());
  std::string const bytes = large_artifact();
  asio::io_context io(1);
  {
    child_verifier const once(io, child_options());  // what the context opens for itself
  }
  io.run();
  auto const before = open_descriptors();
  for (int i = 0; i != 5; ++i) {
    io.restart();
    {
      child_verifier const unused(io, child_options());
      child_verifier begun(io, child_options());
      mgw::test::run_io(io, half(begun, bytes));
      child_verifier done(io, child_options());
      io.restart();
      CHECK(mgw::test::run_io(io, feed_all(done, bytes, 50'000)).what == state::good);
    }
    io.restart();
    io.run();  // comes to its end when the last of them is reaped
    CHECK_FALSE(has_children());
    CHECK(open_descriptors() == before);
  }
}

TEST_CASE("verifier: destroyed with its context, inside of a call, it leaves neither process nor descriptor") {
  misbehaving const hangs("hangs");
  auto const before = open_descriptors();
  {
    asio::io_context io(1);
    bool taking = false;
    asio::co_spawn(io, half_of_another(io, hangs.options(), taking), asio::detached);
    while (!taking) io.run_one();
    io.poll();
  }
  CHECK_FALSE(has_children());
  CHECK(open_descriptors() == before);
  {
    asio::io_context io(1);
    child_verifier const unused(io, child_options());
  }
  CHECK_FALSE(has_children());
  CHECK(open_descriptors() == before);
}

TEST_CASE("verifier: many at once do not keep each other's descriptors") {
  // A child that had another's end would keep that one from reaching its end.
  std::string const bytes = artifact_sample().all();
  asio::io_context io(1);
  std::vector<std::unique_ptr<child_verifier>> all;
  for (int i = 0; i != 8; ++i) all.push_back(std::make_unique<child_verifier>(io, child_options()));
  for (auto const& verifier : all) {
    io.restart();
    CHECK(mgw::test::run_io(io, feed_all(*verifier, bytes, 1000)).what == state::good);
  }
}

TEST_CASE("verifier: a factory makes one that is ready for use") {
  asio::io_context io(1);
  auto const factory = artifact_verifiers(child_options());
  auto const verifier = factory(io);
  CHECK(mgw::test::run_io(io, feed_all(*verifier, artifact_sample().all(), 1000)).what == state::good);
}

}  // namespace gateway::verifier_process_test
