#include "lifecycle/supervision.hpp"
// The header under test comes first.
#include "lifecycle/hand_over.hpp"
#include "lifecycle/inherited_sockets.hpp"

#include "gateway/support.hpp"

#include <mgw/net/worker_pool.hpp>

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <asio/io_context.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <future>
#include <mutex>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace gateway::supervision_test {
namespace {

using std::chrono::milliseconds;
using test::has;

/// What a manager was told, in order.
class told {
public:
  service_manager::sender sender() {
    return [this](std::string const& text) {
      std::lock_guard const lock(mutex_);
      all_.push_back(text.substr(0, text.find('\n')));
      more_.notify_all();
    };
  }
  /// Waits for it; what was told up to there.
  std::vector<std::string> up_to(std::string const& text) {
    std::unique_lock lock(mutex_);
    auto const found = [&] { return std::find(all_.begin(), all_.end(), text); };
    more_.wait(lock, [&] { return found() != all_.end(); });
    return {all_.begin(), found() + 1};
  }
  std::vector<std::string> all() {
    std::lock_guard const lock(mutex_);
    return all_;
  }

private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<std::string> all_;
};

/// Workers that run as long as this lives.
struct running {
  mgw::net::worker_pool pool{2};
  std::thread thread;
  void start() {
    thread = std::thread([this] { pool.run(); });
  }
  /// Until what was posted to a worker before is done.
  void wait_for(std::size_t worker) {
    std::promise<void> done;
    asio::post(pool.worker(worker).io, [&] { done.set_value(); });
    done.get_future().wait();
  }
  ~running() {
    pool.stop();
    if (thread.joinable()) thread.join();
  }
};

}  // namespace

TEST_CASE("a manager hears that we are ready when the workers run, then how things stand, then that we stop") {
  told seen;
  service_manager manager(seen.sender(), std::chrono::seconds(40));
  running workers;
  supervision s(
      manager, workers.pool, [](bool draining) { return draining ? "ends" : "well"; }, std::chrono::seconds(20));
  CHECK(seen.all().empty());
  workers.start();
  CHECK(seen.up_to("WATCHDOG=1") == std::vector<std::string>{"READY=1", "STATUS=well", "WATCHDOG=1"});
  s.drain();
  auto const all = seen.up_to("EXTEND_TIMEOUT_USEC=50000000");
  CHECK(all[all.size() - 2] == "STOPPING=1");
  CHECK(std::count(all.begin(), all.end(), "READY=1") == 1);
  CHECK(s.idle());
  s.close();
}

TEST_CASE("a manager hears of a stop that is over before anybody could look") {
  told seen;
  service_manager manager(seen.sender(), milliseconds(0));
  running workers;
  supervision s(
      manager, workers.pool, [](bool draining) { return draining ? "ends" : "well"; }, std::chrono::seconds(20));
  s.drain();
  s.close();
  CHECK(seen.all() == std::vector<std::string>{"STOPPING=1", "EXTEND_TIMEOUT_USEC=50000000", "STATUS=ends"});
}

TEST_CASE("a manager is told a line of status when it is another one") {
  std::vector<std::string> all;
  service_manager manager([&](std::string const& text) { all.push_back(text); }, milliseconds(0));
  for (auto const* line : {"one", "one", "two", "one"}) manager.status(line);
  CHECK(all == std::vector<std::string>{"STATUS=one", "STATUS=two", "STATUS=one"});
}

TEST_CASE("the watchdog is pinged again and again as long as the workers run") {
  told seen;
  service_manager manager(seen.sender(), milliseconds(8));
  running workers;
  workers.start();
  supervision s(
      manager, workers.pool, [](bool draining) { return draining ? "ends" : "well"; }, std::chrono::seconds(20));
  auto const pings = [&] {
    auto const all = seen.all();
    return std::count(all.begin(), all.end(), "WATCHDOG=1");
  };
  while (pings() < 3) std::this_thread::yield();
  auto const all = seen.all();
  CHECK(std::count(all.begin(), all.end(), "STATUS=well") == 1);
  CHECK(std::count(all.begin(), all.end(), "READY=1") == 1);
  s.close();
}

TEST_CASE("a worker that hangs does not answer, and one that goes on does") {
  running workers;
  workers.start();
  worker_pulse pulse(workers.pool);
  CHECK(pulse.beat());
  workers.wait_for(0);
  workers.wait_for(1);
  CHECK(pulse.beat());
  workers.wait_for(0);
  workers.wait_for(1);
  std::promise<void> hangs, release;
  asio::post(workers.pool.worker(1).io, [&] {
    hangs.set_value();
    release.get_future().wait();
  });
  hangs.get_future().wait();
  CHECK(pulse.beat());  // asks, and hears no more of worker 1
  for (int i = 0; i < 3; ++i) {
    workers.wait_for(0);
    CHECK_FALSE(pulse.beat());
  }
  release.set_value();
  workers.wait_for(0);
  workers.wait_for(1);
  CHECK(pulse.beat());
}

TEST_CASE("without a manager nothing is told, and nothing runs") {
  service_manager manager(service_manager::sender(), std::chrono::seconds(1));
  CHECK_FALSE(manager.there());
  CHECK(manager.watchdog().count() == 0);
  running workers;
  int asked = 0;
  supervision s(manager, workers.pool, [&](bool) { return ++asked, ""; }, std::chrono::seconds(1));
  workers.start();
  workers.wait_for(0);
  workers.wait_for(1);
  s.drain();
  s.close();
  CHECK(asked == 0);
}

TEST_CASE("a reload has its time, by which a manager tells it from an older one") {
  std::vector<std::string> all;
  service_manager manager([&](std::string const& text) { all.push_back(text); }, milliseconds(0));
  manager.reloading();
  REQUIRE(all.size() == 1);
  CHECK(all[0].starts_with("RELOADING=1\nMONOTONIC_USEC="));
}

namespace {

/// A listening socket of loopback's, or none, as a service manager hands it over.
struct opened {
  asio::io_context io{1};
  asio::ip::tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
  unsigned short port() const { return acceptor.local_endpoint().port(); }
  int copy() { return ::fcntl(acceptor.native_handle(), F_DUPFD_CLOEXEC, 3); }
};

std::string trouble(int fd, std::string const& name, settings const& s) {
  try {
    inherited_sockets const all({{fd, name}}, s);
  } catch (config_error const& e) {
    CHECK(::fcntl(fd, F_GETFD) == -1);  // closed: nobody would answer there
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("sockets are for the listener of their name, or of their port, and it listens where they do") {
  opened one, two, three;
  settings s;
  s.https.enabled = s.http.enabled = s.metrics.enabled = true;
  s.http.listen = "10.0.0.1:" + std::to_string(two.port());
  inherited_sockets all({{one.copy(), "https"}, {two.copy(), "mender-gateway.socket"}, {three.copy(), "https"}}, s);
  CHECK_FALSE(all.empty());
  CHECK(all.has("https"));
  CHECK(all.has("http"));
  CHECK_FALSE(all.has("metrics"));
  all.apply(s);
  CHECK(s.https.listen == "127.0.0.1:" + std::to_string(one.port()));
  CHECK(s.http.listen == "127.0.0.1:" + std::to_string(two.port()));
  CHECK(s.metrics.listen == settings().metrics.listen);
  auto const https = all.take("https");
  REQUIRE(https.size() == 2);
  CHECK(all.take("https").empty());
  CHECK(all.take("metrics").empty());
  inherited_sockets moved(std::move(all));
  auto const http = moved.take("http");
  REQUIRE(http.size() == 1);
  for (int const fd : {https[0], https[1], http[0]}) CHECK(::close(fd) == 0);
}

TEST_CASE("sockets that fit no listener are refused, and closed") {
  opened one;
  settings s;
  s.https.enabled = true;
  std::string const at = "127.0.0.1:" + std::to_string(one.port());
  CHECK(trouble(one.copy(), "http", s) ==
        "the service manager hands over a socket that listens on " + at +
            ": it is for http (FileDescriptorName=), but HTTP_ENABLED (HTTP.Enabled) is not true");
  CHECK(has(trouble(one.copy(), "other", s), "its name, \"other\", is none of https, http, metrics and admin"));
  CHECK(has(trouble(::open("/dev/null", O_RDONLY | O_CLOEXEC), "https", s), "it is no listening TCP socket"));
  asio::ip::tcp::socket deaf(one.io, asio::ip::tcp::v4());
  CHECK(has(trouble(::fcntl(deaf.native_handle(), F_DUPFD_CLOEXEC, 3), "https", s), "it is no listening TCP socket"));
  CHECK(inherited_sockets().empty());
}

TEST_CASE("a gateway waits for the one before it to give its files up") {
  mgw::test::temporary_directory const here;
  settings s;
  s.cache.path = here.path().string();
  s.audit.path = (here.path() / "audit").string();
  auto const files = held_files(s);
  CHECK(files == std::vector<std::string>{s.cache.path + "/lock", s.audit.path});
  for (auto const& f : files) std::ofstream(f) << "";
  std::vector<std::string> lines;
  int sleeps = 0;
  auto const log = [&](mgw::log_level, std::string_view text) { lines.emplace_back(text); };
  CHECK(wait_for_hand_over(files, milliseconds(1000), log));
  CHECK(lines.empty());

  int const other = ::open(files[1].c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(::flock(other, LOCK_EX) == 0);
  auto const later = [&](milliseconds) {
    if (++sleeps == 3) ::flock(other, LOCK_UN);
    return false;
  };
  CHECK(wait_for_hand_over(files, milliseconds(1000), log, later));
  CHECK(sleeps == 3);
  REQUIRE(lines.size() == 2);
  CHECK(has(lines[0], "another gateway holds " + files[1] + ": waiting for it to end, for 1s at most"));
  CHECK(has(lines[1], "the other gateway has ended, after 150ms"));

  REQUIRE(::flock(other, LOCK_EX) == 0);
  CHECK(wait_for_hand_over(files, milliseconds(1000), log, [](milliseconds) { return false; }));
  CHECK(has(lines.back(), "another gateway still holds " + files[1] + ", after 1s"));
  CHECK_FALSE(wait_for_hand_over(files, milliseconds(1000), log, [](milliseconds) { return true; }));
  CHECK(has(lines.back(), "told to stop"));
  ::close(other);
}

}  // namespace gateway::supervision_test
