// mgw-fleet: simulated devices that update once through a gateway (or straight from a server), and check every byte.
#include "device.hpp"
#include "http_client.hpp"

#include <mgw/core/units.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/net/tls_context.hpp>

#include <CLI/CLI.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <list>
#include <string>
#include <utility>

namespace demo {

/// All devices, on one thread; prints a line for each as it ends.
class fleet {
public:
  fleet(asio::io_context& context, http_client& client, device_options const& options, unsigned size)
      : context_(context),
        client_(client),
        options_(options),
        size_(size),
        ticks_(context),
        shows_progress_(::isatty(STDOUT_FILENO) == 1) {
    std::string const run = to_hex(random_bytes(3));  // another fleet is other devices
    for (unsigned i = 1; i <= size; ++i) {
      char name[32], mac[32];
      std::snprintf(name, sizeof name, "device-%02u", i);
      std::snprintf(mac, sizeof mac, "02:%s:%s:%s:%02x:%02x", run.substr(0, 2).c_str(), run.substr(2, 2).c_str(),
                    run.substr(4, 2).c_str(), i >> 8U & 255U, i & 255U);
      devices_.emplace_back(client_, options_, name, mac);
    }
  }

  /// True if every device got the right bytes and could report it.
  bool run() {
    unsigned i = 0;
    for (device& d : devices_)  // spread evenly over an interval, as the polls of a fleet are
      asio::co_spawn(context_, run_one(*this, d, options_.poll_interval * i++ / size_), asio::detached);
    if (shows_progress_) show_progress();
    context_.run();
    std::printf("fleet: %u of %u updated, %llu bytes delivered\n", updated_, size_,
                static_cast<unsigned long long>(received()));
    return updated_ == size_;
  }

private:
  static asio::awaitable<void> run_one(fleet& self, device& d, std::chrono::milliseconds after) {
    bool const enrolled = co_await d.enrol(after);
    self.began(enrolled);
    if (enrolled) co_await d.update();
    self.ended(d.report());
  }
  void began(bool enrolled) {
    ++begun_;
    if (enrolled) ++enrolled_;
    if (begun_ != size_ || options_.poll_interval.count() == 0) return;
    clear_line();
    std::printf("fleet: %u of %u enrolled\n", enrolled_, size_);
    std::fflush(stdout);
  }
  void ended(device_report const& r) {
    ++ended_;
    if (r.failure.empty()) ++updated_;
    clear_line();
    std::printf("%-10s %10.1f MiB %8.1f s  %2u request%s", r.name.c_str(),
                static_cast<double>(r.bytes) / (1024.0 * 1024.0), r.seconds, r.requests, r.requests == 1 ? " " : "s");
    if (!r.failure.empty())
      std::printf("  FAILED: %s\n", r.failure.c_str());
    else
      std::printf("  sha256 %s\n", options_.expected_sha256.empty() ? r.sha256.c_str() : "ok");
    std::fflush(stdout);
    if (ended_ == size_) ticks_.cancel();
  }
  std::uint64_t received() const {
    std::uint64_t n = 0;
    for (device const& d : devices_) n += d.report().bytes;
    return n;
  }
  void clear_line() const {
    if (shows_progress_) std::fputs("\r\033[K", stdout);
  }
  void show_progress() {
    std::printf("\r\033[K%u of %u updated, %.1f MiB delivered", updated_, size_,
                static_cast<double>(received()) / (1024.0 * 1024.0));
    std::fflush(stdout);
    ticks_.expires_after(std::chrono::milliseconds(200));
    ticks_.async_wait([this](std::error_code ec) {
      if (!ec) show_progress();
    });
  }

  asio::io_context& context_;
  http_client& client_;
  device_options const& options_;
  unsigned size_, begun_ = 0, enrolled_ = 0, ended_ = 0, updated_ = 0;
  std::list<device> devices_;
  asio::steady_timer ticks_;
  bool shows_progress_;
};

/// One request, its answer's body to stdout.
asio::awaitable<void> fetch(http_client& client, outgoing request, int& exit_code) {
  response const r = co_await client.send(std::move(request));
  if (r.status == 0 || r.status >= 400)
    std::fprintf(stderr, "mgw-fleet: %s\n",
                 r.status == 0 ? r.failure.c_str() : ("answered " + std::to_string(r.status)).c_str());
  else
    exit_code = 0;
  std::fwrite(r.body.data(), 1, r.body.size(), stdout);
}

struct settings {
  device_options device;
  std::string ca, get, post;
  unsigned devices = 20, retry_wait = 1000, poll_interval = 0;
};

void add_options(CLI::App& app, settings& s) {
  app.add_option("--server", s.device.server, "base URL of the gateway or server");
  app.add_option("--ca", s.ca, "CA certificates to trust (PEM); without it the system's");
  app.add_option("--devices", s.devices, "how many")->check(CLI::Range(1, 65'535))->capture_default_str();
  app.add_option("--device-type", s.device.device_type, "what they are")->capture_default_str();
  app.add_option("--artifact-name", s.device.artifact_name, "what they have installed")->capture_default_str();
  app.add_option("--expect-sha256", s.device.expected_sha256, "digest of the artifact, in hex");
  app.add_option("--expect-size", s.device.expected_size, "size of the artifact in bytes");
  app.add_option("--connections-rate", s.device.rate, "bytes per second that a device takes; 0: as they come");
  app.add_option("--retry-wait", s.retry_wait, "milliseconds between two tries (the stock client: 60000)")
      ->capture_default_str();
  app.add_option("--poll-interval", s.poll_interval, "milliseconds between two polls of a device; 0: it polls once")
      ->capture_default_str();
  app.add_option("--max-tries", s.device.max_tries, "resumes of one download, repeats of one call")
      ->capture_default_str();
  auto* const get = app.add_option("--get", s.get, "no fleet: print what this URL answers");
  app.add_option("--post", s.post, "no fleet: POST to this URL")->excludes(get);
}

int run(settings& s) {
  asio::io_context context(1);
  mgw::net::deadline_queue deadlines(context.get_executor());
  http_client client(deadlines, mgw::net::tls_context::client(mgw::net::client_tls(s.ca)));
  if (!s.get.empty() || !s.post.empty()) {
    int exit_code = 1;
    outgoing const request(s.get.empty() ? "POST" : "GET", s.get.empty() ? s.post : s.get);
    asio::co_spawn(context, fetch(client, request, exit_code), asio::detached);
    context.run();
    return exit_code;
  }
  while (s.device.server.ends_with('/')) s.device.server.pop_back();
  s.device.retry_wait = std::chrono::milliseconds(s.retry_wait);
  s.device.poll_interval = std::chrono::milliseconds(s.poll_interval);
  fleet devices(context, client, s.device, s.devices);
  return devices.run() ? 0 : 1;
}

}  // namespace demo

int main(int argc, char** argv) {
  CLI::App app("Simulated devices that update once through a gateway and check every byte.");
  demo::settings s;
  demo::add_options(app, s);
  CLI11_PARSE(app, argc, argv);
  if (s.device.server.empty() && s.get.empty() && s.post.empty()) {
    std::fputs("mgw-fleet: --server, --get or --post is needed\n", stderr);
    return 2;
  }
  try {
    std::signal(SIGPIPE, SIG_IGN);
    return demo::run(s);
  } catch (std::exception const& e) {
    std::fprintf(stderr, "mgw-fleet: %s\n", e.what());
    return 1;
  }
}
