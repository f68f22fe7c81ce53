// mgw-mini-mender: a Mender server in miniature, made with the toolkit: device authentication, inventory, one
// deployment, and an artifact store with signed links. For demonstrations and tests; it keeps everything in memory.
#include "artifact_file.hpp"
#include "artifact_store.hpp"
#include "control.hpp"
#include "deployments.hpp"
#include "device_auth.hpp"
#include "device_connect.hpp"
#include "inventory.hpp"
#include "management.hpp"
#include "signed_link.hpp"
#include "transfers.hpp"

#include <mgw/core/units.hpp>
#include <mgw/mender/device_api.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/server.hpp>

#include <CLI/CLI.hpp>
#include <asio/signal_set.hpp>

#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

struct settings {
  std::string listen = "127.0.0.1:0";
  std::string certificate, key;
  std::string artifact, artifact_name = "demo-2";
  std::vector<std::string> device_types{"mgw-demo"};
  unsigned link_life = 86'400, token_life = 604'800;
  std::uint64_t rate = 0;
  unsigned cut_every = 0;
  bool no_v2 = false, deploy_later = false, verbose = false;
  std::size_t max_attributes = 100;
  std::uint64_t ping_ms = 30'000;
  std::string manager, manager_password;
  std::string public_url;
  unsigned workers = 1;
  std::string make_artifact, size = "1MiB";
};

/// The server's parts, put together.
struct mini_mender {
  link_signer links;
  transfers store_control;
  artifact_store store;
  device_auth auth;
  management manage;
  deployments rollout;
  inventory attributes;
  device_connect sockets;
  control controls;
  bool managed;
  bool no_v2;

  mini_mender(settings const& s, std::string const& public_url, std::string const& artifact_id)
      : links(public_url),
        store(store_options(s, artifact_id), links, store_control),
        auth(std::chrono::seconds(s.token_life), !s.manager.empty()),
        manage(auth, s.manager, s.manager_password),
        rollout(rollout_options(s, artifact_id), links),
        attributes(s.max_attributes),
        sockets(std::chrono::milliseconds(s.ping_ms)),
        controls(auth, rollout, store_control, attributes, sockets, manage),
        managed(!s.manager.empty()),
        no_v2(s.no_v2) {
    store_control.limit_rate(s.rate);
  }

  static artifact_store::options store_options(settings const& s, std::string const& artifact_id) {
    artifact_store::options o;
    o.file = s.artifact;
    o.path = "/storage/" + artifact_id;
    o.cut_every = s.cut_every;
    return o;
  }
  static deployments::options rollout_options(settings const& s, std::string const& artifact_id) {
    deployments::options o;
    o.configured = !s.artifact.empty();
    o.begun = !s.deploy_later;
    o.artifact_name = s.artifact_name;
    o.device_types = s.device_types;
    o.artifact_id = artifact_id;
    o.artifact_path = "/storage/" + artifact_id;
    o.link_life = std::chrono::seconds(s.link_life);
    return o;
  }
};

/// The handler: one switch over the calls of the device API.
class routes {
public:
  explicit routes(std::unique_ptr<mini_mender>& server) : server_(&server) {}

  asio::awaitable<void> operator()(exchange& x) const {
    using mgw::mender::call;
    mini_mender& m = **server_;
    std::string_view const path = x.target().path;
    if (path.starts_with("/demo/")) return m.controls(x);
    if (path.starts_with(m.links.prefix() + "/storage/")) return m.store(x);
    if (m.managed && path.starts_with(management::prefix)) return m.manage(x);
    auto const what = mgw::mender::match_call(x.request().method, path).what;
    if (what == call::none) return refuse(x, 404, "not found");
    m.controls.count_api_request();
    if (what == call::auth_request) return m.auth.authenticate(x);
    if (what == call::next_v2 && m.no_v2) return refuse(x, 404, "not found");
    auto const who = m.auth.identify(x);
    if (who.device.empty()) return refuse(x, who.status, "unauthorized");
    switch (what) {
      case call::next_v1:
        if (x.request().method == "GET") return m.rollout.next(x, deployments::of_query(x.target().query));
        return next(x, m.rollout, false);
      case call::next_v2: return next(x, m.rollout, true);
      case call::inventory: return m.attributes.report(x, who.device);
      case call::connect: return m.sockets.connect(x, who.device);
      case call::status: return m.rollout.status(x, who.device, deployment_of(path));
      case call::log: return m.rollout.log(x, deployment_of(path));
      default: return refuse(x, 404, "not found");
    }
  }

private:
  static asio::awaitable<void> next(exchange& x, deployments& rollout, bool v2) {
    auto const body = co_await read_json(x);
    if (body) co_await rollout.next(x, deployments::of_body(*body, v2));
  }
  /// `…/deployments/{id}/status`
  static std::string deployment_of(std::string_view path) {
    path = path.substr(0, path.rfind('/'));
    return std::string(path.substr(path.rfind('/') + 1));
  }
  std::unique_ptr<mini_mender>* server_;  // the parts know the port, so they are made after the listener
};

/// Makes an artifact and ends.
int make_artifact(settings const& s) {
  auto const size = mgw::parse_size(s.size);
  if (!size) throw std::invalid_argument("--size " + s.size + ": accepted: bytes, or KiB, MiB, GiB");
  artifact_recipe recipe;
  recipe.name = s.artifact_name;
  recipe.device_types = s.device_types;
  recipe.payload_size = *size;
  std::string const seed = random_bytes(sizeof recipe.seed);
  std::memcpy(&recipe.seed, seed.data(), seed.size());
  write_artifact(s.make_artifact, recipe);
  return 0;
}

void log_line(mgw::log_level, std::string_view text) {
  std::fprintf(stderr, "mgw-mini-mender: %.*s\n", static_cast<int>(text.size()), text.data());
}
void log_request(exchange const& x) {
  auto const& r = x.request();
  std::string const line = std::string(r.method) + ' ' + std::string(x.target().path) + ' ' +
                           std::to_string(x.status()) + (x.aborted() ? " cut" : "") + ", " +
                           std::to_string(x.bytes_out()) + " bytes";
  log_line(mgw::log_level::info, line);
}

/// Serves until SIGTERM or SIGINT.
int serve(settings const& s) {
  bool const tls = !s.certificate.empty();
  if (!s.artifact.empty() && !stored_object::open(s.artifact))
    throw std::runtime_error(s.artifact + ": cannot open the artifact");
  auto const where = mgw::net::parse_listen_address(s.listen);
  if (!where) throw std::invalid_argument("--listen " + s.listen + ": accepted: [HOST]:PORT");

  auto workers = std::make_unique<mgw::net::worker_pool>(s.workers);
  std::unique_ptr<mini_mender> parts;
  mgw::proxy::server_options options;
  options.error_type = json_type;
  options.error_body = [](int status, exchange const& x) {
    return mgw::mender::error_body(mgw::http::reason_phrase(status), x.notes().request_id);
  };
  if (s.verbose) options.observer = log_request;
  mgw::proxy::server<routes> server(*workers, options, routes(parts),
                                    s.verbose ? mgw::log_sink(log_line) : mgw::log_sink());

  std::optional<mgw::net::tls_context> identity;
  if (tls) identity = mgw::net::tls_context::server(mgw::net::server_tls(s.certificate, s.key));
  auto const bound = server.listen(*where, std::move(identity));
  std::string const host = tls                       ? "localhost"
                           : bound.address().is_v6() ? '[' + bound.address().to_string() + ']'
                                                     : bound.address().to_string();
  std::string const url = (tls ? "https://" : "http://") + host + ':' + std::to_string(bound.port());
  parts = std::make_unique<mini_mender>(s, s.public_url.empty() ? url : s.public_url, mgw::mender::make_request_id());
  std::printf("mgw-mini-mender listening on %s\n", url.c_str());
  std::fflush(stdout);

  asio::signal_set signals(workers->worker(0).io, SIGTERM, SIGINT);
  signals.async_wait([&](std::error_code ec, int) {
    if (!ec) workers->stop();
  });
  workers->run();
  // Transfers may be under way: nobody waits for them.
  std::fflush(nullptr);
  ::_exit(0);
}

void add_options(CLI::App& app, settings& s) {
  app.add_option("--listen", s.listen, "address to listen on; port 0: any free one")->capture_default_str();
  auto* const cert = app.add_option("--cert", s.certificate, "certificate chain (PEM); without it: plain HTTP");
  app.add_option("--key", s.key, "its key (PEM)")->needs(cert);
  app.add_option("--artifact", s.artifact, "the artifact to deploy; without it there is no deployment");
  app.add_option("--artifact-name", s.artifact_name, "its name")->capture_default_str();
  app.add_option("--device-type", s.device_types, "device types it is for (may be repeated)")->capture_default_str();
  app.add_option("--link-life", s.link_life, "seconds that a link to the artifact is good for")->capture_default_str();
  app.add_option("--token-life", s.token_life, "seconds that a device's token is good for")->capture_default_str();
  app.add_option("--rate", s.rate, "bytes per second of all transfers of the artifact together; 0: no limit");
  app.add_option("--cut-every", s.cut_every, "break a transfer after so many percent of the artifact")
      ->check(CLI::Range(0, 100));
  app.add_flag("--no-v2", s.no_v2, "answer 404 to deployments/next v2, as the open source server does");
  app.add_flag("--deploy-later", s.deploy_later, "no deployment before POST /demo/deploy");
  app.add_option("--max-attributes", s.max_attributes, "attributes that a device may have")->capture_default_str();
  app.add_option("--ping-interval", s.ping_ms, "milliseconds between two pings of a WebSocket")
      ->check(CLI::Range(1, 3'600'000))
      ->capture_default_str();
  auto* const manager = app.add_option("--manager", s.manager,
                                       "user of the management API; with it, only devices that it authorized are accepted");
  app.add_option("--manager-password", s.manager_password, "its password")->needs(manager);
  app.add_option("--public-url", s.public_url,
                 "what links to the artifact begin with, if not this server's own address");
  app.add_option("--workers", s.workers, "threads")->check(CLI::Range(1, 256))->capture_default_str();
  app.add_flag("--verbose", s.verbose, "log requests to stderr");
  app.add_option("--make-artifact", s.make_artifact, "write an artifact of random bytes to this file, and end");
  app.add_option("--size", s.size, "size of its payload: 4096, 64MiB, 1GiB")->capture_default_str();
}

}  // namespace demo

int main(int argc, char** argv) {
  CLI::App app("A Mender server in miniature, for demonstrations and tests.");
  demo::settings s;
  demo::add_options(app, s);
  CLI11_PARSE(app, argc, argv);
  try {
    std::signal(SIGPIPE, SIG_IGN);
    return s.make_artifact.empty() ? demo::serve(s) : demo::make_artifact(s);
  } catch (std::exception const& e) {
    std::fprintf(stderr, "mgw-mini-mender: %s\n", e.what());
    return 1;
  }
}
