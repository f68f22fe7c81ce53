#pragma once

#include "config/certificate_facts.hpp"
#include "config/settings.hpp"
#include "doctor/finding.hpp"
#include "doctor/http_get.hpp"
#include "doctor/wait_for.hpp"
#include "doctor/way.hpp"
#include "support/listen_advice.hpp"

#include <mgw/net/listener.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/pool.hpp>

#include <openssl/x509.h>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway::doctor {

/// An address to listen on, as it was set.
struct listen_place {
  std::string check;        ///< `https port`
  std::string key;          ///< what sets it
  std::string address;      ///< `[HOST]:PORT`
  std::string certificate;  ///< PEM file; empty: without TLS

  listen_place(std::string c, std::string k, std::string a, std::string pem = {})
      : check(std::move(c)), key(std::move(k)), address(std::move(a)), certificate(std::move(pem)) {}
};

namespace listening_detail {

/// Where a program that listens there can be reached from here.
inline mgw::upstream::endpoint from_here(asio::ip::tcp::endpoint const& a, bool tls) {
  auto host = a.address();
  if (host.is_unspecified()) host = asio::ip::address_v4::loopback();  // [::] takes IPv4, too
  return {host.to_string(), a.port(), tls};
}

inline http_answer ask(mgw::upstream::endpoint const& at, char const* path, milliseconds step) {
  auto const tls = mgw::net::tls_context::client(mgw::net::client_tls(std::string(), true));
  mgw::upstream::pool_options o;
  o.connect_timeout = step;
  return get_once(tls, o, at.text() + path, {}, mgw::upstream::reach::anywhere, step);
}

/// The certificate that is shown there, against that of the file.
struct certificate_there {
  enum class kind { unknown, of_the_file, other } what = kind::unknown;  ///< unknown: one of the two cannot be had
  std::string about;                                                     ///< of another one: described
};

inline certificate_there look_at_certificate(listen_place const& p, mgw::upstream::endpoint const& at,
                                             milliseconds step) {
  auto const tls = mgw::net::tls_context::client(mgw::net::client_tls(std::string(), true));
  way const went = wait_for([&](mgw::net::worker_pool& w) { return walk(w.worker(0), at, nullptr, tls, step); });
  auto const file = read_chain(p.certificate);
  certificate_there out;
  if (!went.certificate || !file.good()) return out;
  bool const same = X509_cmp(went.certificate->handle.get(), file.certificates.front().handle.get()) == 0;
  out.what = same ? certificate_there::kind::of_the_file : certificate_there::kind::other;
  auto const now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  if (!same) out.about = described(*went.certificate, now);
  return out;
}

/// The same for what was `found` there.
inline finding judge_certificate_there(listen_place const& p, certificate_there const& shown,
                                       std::string const& found) {
  switch (shown.what) {
    case certificate_there::kind::of_the_file:
      return {level::ok, p.check, found + ", with the certificate of " + p.certificate};
    case certificate_there::kind::other:
      return {level::warning, p.check,
              found + ", with another certificate than " + p.certificate + " has: " + shown.about,
              "if the file is newer, the log says why it was not taken: kill -HUP has it read anew"};
    case certificate_there::kind::unknown: break;
  }
  return {level::ok, p.check, found};
}

inline finding another_program(listen_place const& p) {
  return {level::problem, p.check, p.address + " is taken by another program",
          "see who it is (ss -ltnp), and end it, or set " + p.key + " to another address"};
}

/// Somebody has the port: us?
inline finding who_is_there(listen_place const& p, asio::ip::tcp::endpoint const& where, bool clients_need_certificates,
                            milliseconds step) {
  bool const tls = !p.certificate.empty();
  auto const at = from_here(where, tls);
  std::string const taken = p.address + " is taken";
  finding const other = another_program(p);
  auto const alive = ask(at, "/api/internal/v1/gateway/alive", step);
  if (alive.status == 0 && tls && clients_need_certificates) {
    // Without a certificate of a client nothing more is to be had.
    auto const shown = look_at_certificate(p, at, step);
    if (shown.what != certificate_there::kind::of_the_file) return other;
    return judge_certificate_there(p, shown, taken + " by what wants clients' certificates");
  }
  if (alive.status != 204) return other;
  auto const health = ask(at, "/api/internal/v1/gateway/health", step);
  bool const ready = health.body.starts_with("{\"ready\":true");
  if (health.status != 0 && !health.body.starts_with("{\"ready\":")) return other;
  std::string const running = p.address + ": the gateway runs" + (ready ? ", and is ready" : "");
  if (!ready)
    return {level::warning, p.check,
            running + (health.status == 0 ? ", and does not say how it is" : ", and is not ready: " + health.body),
            "see its log, and the other findings"};
  if (!tls) return {level::ok, p.check, running};
  return judge_certificate_there(p, look_at_certificate(p, at, step), running);
}

}  // namespace listening_detail

/// Why nobody can listen there. `port`: that of the address; `first_free`: see first_free_port.
inline finding judge_no_listener(listen_place const& p, std::error_code ec, unsigned port,
                                 unsigned first_free = first_free_port()) {
  std::string const advice = listen_advice(port, ec, first_free);
  return {level::problem, p.check, p.address + " cannot be listened on: " + ec.message(),
          (advice.empty() ? "set another address" : advice) + " (" + p.key + ')'};
}

namespace listening_detail {

/// Listens there for a moment. Why it cannot be done.
inline std::error_code try_to_listen(asio::ip::tcp::endpoint const& where) {
  try {
    asio::io_context io;
    mgw::net::listener_options alone;
    alone.reuse_port = false;
    mgw::net::listener const one(io, where, alone);
    return {};
  } catch (std::system_error const& e) {
    return e.code();
  }
}
inline finding no_address(listen_place const& p) {
  return {level::problem, p.check, p.key + " is \"" + p.address + '"',
          "set it to [HOST]:PORT, such as :443 or 127.0.0.1:8443"};
}
inline finding nobody_is_there(listen_place const& p, unsigned port) {
  return {level::ok, p.check, port == 0 ? p.address + ": the system chooses a port" : p.address + " is free"};
}

}  // namespace listening_detail

/// Whether the gateway can listen there, or does already.
inline finding check_port(listen_place const& p, bool clients_need_certificates, milliseconds step) {
  using namespace listening_detail;
  auto const where = mgw::net::parse_listen_address(p.address);
  if (!where) return no_address(p);
  std::error_code const ec = try_to_listen(*where);
  if (!ec) return nobody_is_there(p, where->port());
  if (ec == asio::error::address_in_use) return who_is_there(p, *where, clients_need_certificates, step);
  if (ec == asio::error::access_denied) {  // the service may have a right that we have not, and listen there
    finding const there = who_is_there(p, *where, clients_need_certificates, step);
    if (there.how != level::problem) return there;
  }
  return judge_no_listener(p, ec, where->port());
}

/// The same of a listener that is not for devices: the gateway's answer to a GET of `path` has `sign` in its beginning.
inline finding check_side_port(listen_place const& p, char const* path, std::string_view sign, milliseconds step) {
  using namespace listening_detail;
  auto const where = mgw::net::parse_listen_address(p.address);
  if (!where) return no_address(p);
  std::error_code const ec = try_to_listen(*where);
  if (!ec) return nobody_is_there(p, where->port());
  if (ec != asio::error::address_in_use) return judge_no_listener(p, ec, where->port());
  auto const answer = ask(from_here(*where, false), path, step);
  if (answer.status == 200 && answer.body.find(sign) != answer.body.npos)
    return {level::ok, p.check, p.address + ": a gateway runs there"};
  return another_program(p);
}

/// All listeners of these settings.
inline findings check_ports(settings const& s, milliseconds step) {
  findings out;
  if (s.https.enabled)
    out.push_back(check_port({"https port", "HTTPS_LISTEN (HTTPS.Listen)", s.https.listen, s.https.certificate},
                             s.mtls.enabled, step));
  if (s.http.enabled) out.push_back(check_port({"http port", "HTTP_LISTEN (HTTP.Listen)", s.http.listen}, false, step));
  if (s.metrics.enabled)
    out.push_back(check_side_port({"metrics port", "METRICS_LISTEN (Metrics.Listen)", s.metrics.listen}, "/metrics",
                                  "mender_gateway_", step));
  if (s.admin.enabled) {
    out.push_back(check_side_port({"status page", "ADMIN_LISTEN (Admin.Listen)", s.admin.listen}, "/status.json",
                                  "{\"version\":", step));
    finding& page = out.back();
    if (page.how == level::problem && s.admin.listen_is_default) {
      page.how = level::warning;
      page.found += ": the gateway starts without its status page";
    }
  }
  return out;
}

}  // namespace gateway::doctor
