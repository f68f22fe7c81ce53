#pragma once

#include "config/certificate_facts.hpp"
#include "doctor/finding.hpp"
#include "doctor/http_get.hpp"
#include "doctor/way.hpp"

#include <mgw/http/date.hpp>
#include <mgw/net/error.hpp>
#include <mgw/upstream/endpoint.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/proxy_rules.hpp>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>
#include <asio/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway::doctor {

/// What is asked of an upstream: a device's poll, without the device.
inline constexpr std::string_view poll_path =
    "/api/devices/v1/deployments/device/deployments/next?artifact_name=doctor&device_type=doctor";

/// Two weeks before a certificate's end, or in the last third of its life if that is shorter.
inline bool ends_soon(certificate_facts const& c, unix_seconds now) noexcept {
  auto const third = (c.not_after - c.not_before) / 3;
  return c.not_after - now < std::min<std::chrono::seconds>(third, std::chrono::days(14));
}

namespace judge_detail {

inline std::string in(milliseconds t) {
  return " in " + std::to_string(t.count()) + " ms";
}

inline finding of_lookup(way const& w, std::string const& check) {
  if (w.failed_at != mgw::upstream::hop::dns) {
    std::string list;
    for (std::string const& a : w.addresses) (list += list.empty() ? "" : ", ") += a;
    bool const address = w.addresses.size() == 1 && w.addresses.front() == w.asked;
    return {level::ok, check,
            address ? w.asked + " is an address" : w.asked + " has " + list + ", found" + in(w.lookup)};
  }
  std::string const what = w.asked + " cannot be looked up" + in(w.lookup) + ": " + w.ec.message();
  bool const silent = w.ec == mgw::upstream::error::lookup_timeout || w.ec == asio::error::host_not_found_try_again;
  return {
      level::problem, check, what,
      silent
          ? "no name server answers: look at /etc/resolv.conf, and at what is between here and the name servers in it"
          : "look at how the name is spelled, and whether the name servers in /etc/resolv.conf, or /etc/hosts, know "
            "it"};
}

inline std::string tcp_advice(std::error_code ec) {
  if (ec == asio::error::connection_refused)
    return "nothing listens there: is the server running, and are host and port right?";
  if (ec == mgw::upstream::error::connect_timeout || ec == asio::error::timed_out)
    return "nothing answers: is the address right, is a firewall in between, or must an HTTP proxy be used "
           "(HTTPS_PROXY)?";
  if (ec == asio::error::network_unreachable || ec == asio::error::host_unreachable)
    return "there is no route: look at this machine's network (ip route)";
  return "look at the network between here and there";
}

inline std::string verify_advice(way const& w, std::string const& trusted, unix_seconds now) {
  using mgw::net::verify_error;
  auto const is = [&w](int code) { return w.ec == verify_error(code); };
  if (is(X509_V_ERR_CERT_HAS_EXPIRED))
    return "the server's certificate must be renewed; or this machine's clock is wrong, which says " + date_text(now);
  if (is(X509_V_ERR_CERT_NOT_YET_VALID))
    return "this machine's clock is behind, which says " + date_text(now) +
           "; or the server's certificate begins later";
  if (is(X509_V_ERR_HOSTNAME_MISMATCH) || is(X509_V_ERR_IP_ADDRESS_MISMATCH))
    return "use a host that the certificate names, or have the server show one that names this host";
  std::string const issuer = w.certificate ? " (" + w.certificate->issuer + ")" : "";
  return "set UpstreamServer.CACertificate (UPSTREAM_SERVER_CA_CERTIFICATE) to a PEM file with the CA" + issuer +
         " of the server's certificate; what is trusted now is " + trusted;
}

inline std::string tls_advice(way const& w, std::string const& trusted, unix_seconds now) {
  if (mgw::net::is_verify_error(w.ec)) return verify_advice(w, trusted, now);
  if (w.ec == mgw::net::ssl_error(SSL_R_WRONG_VERSION_NUMBER))
    return "what answers there speaks no TLS: is the port right, or should the URL begin with http://?";
  if (w.ec == mgw::upstream::error::connect_timeout)
    return "the server took the connection and says nothing: is the port right, is something in between?";
  return "the server, or something in between, ends the handshake; TLS 1.2 with ECDHE and an AEAD cipher is needed at "
         "least";
}

inline finding of_tls(way const& w, std::string const& check, std::string const& trusted, unix_seconds now) {
  std::string const shown = w.certificate ? "; it has shown " + described(*w.certificate, now) : "";
  if (w.failed_at == mgw::upstream::hop::tls)
    return {level::problem, check, w.ec.message() + shown, tls_advice(w, trusted, now)};
  finding out(level::ok, check, w.tls_version + in(w.handshake) + shown);
  if (w.certificate && ends_soon(*w.certificate, now)) {
    out.how = level::warning;
    out.advice = "the server's certificate ends soon, and then nothing gets through: have it renewed";
  }
  return out;
}

/// How long it is, for a reader.
inline std::string length_of(std::chrono::seconds d) {
  auto const n = d.count();
  std::string out = std::to_string(n) + " s";
  if (n >= 2 * 86'400)
    out += " (" + std::to_string(n / 86'400) + " days)";
  else if (n >= 2 * 3600)
    out += " (" + std::to_string(n / 3600) + " hours)";
  else if (n >= 120)
    out += " (" + std::to_string(n / 60) + " minutes)";
  return out;
}

inline bool is_json(http_answer const& a) {
  return a.type.starts_with("application/json");
}
/// Every service of Mender's has this field, and bodies like this one.
inline bool is_menders(http_answer const& a) {
  return !a.request_id.empty() || (is_json(a) && a.body.find("\"error\"") != std::string::npos);
}

}  // namespace judge_detail

/// The steps of a way to `to`, through `by` if that is no null. `who`: with what the names of the checks begin;
/// `trusted`: where CA certificates come from.
inline findings judge_way(way const& w, mgw::upstream::endpoint const& to, mgw::upstream::http_proxy const* by,
                          std::string const& who, std::string const& trusted, unix_seconds now) {
  using namespace judge_detail;
  using mgw::upstream::hop;
  findings out;
  mgw::upstream::endpoint const& at = by != nullptr ? by->where : to;
  std::string const first = by != nullptr ? who + " proxy" : who;
  out.push_back(of_lookup(w, first + " name"));
  if (w.failed_at == hop::dns) return out;
  bool const connected = !w.peer.empty();
  if (!connected) {
    out.emplace_back(level::problem, first + " tcp",
                     at.authority() + " cannot be connected to" + in(w.connecting) + ": " + w.ec.message(),
                     tcp_advice(w.ec));
    return out;
  }
  out.emplace_back(level::ok, first + " tcp",
                   w.peer + " port " + std::to_string(at.port) + " connected" + in(w.connecting));
  if (by != nullptr && w.failed_at == hop::proxy) {
    bool const credentials = w.ec == mgw::upstream::error::proxy_authentication;
    out.emplace_back(level::problem, who + " proxy", "no tunnel to " + to.authority() + ": " + w.ec.message(),
                     credentials
                         ? "put the right user and password into HTTPS_PROXY, percent-encoded"
                         : "have the proxy allow CONNECT to " + to.authority() + ", or put the host into NO_PROXY");
    return out;
  }
  if (by != nullptr)
    out.emplace_back(
        level::ok, who + " proxy",
        to.tls ? "a tunnel to " + to.authority() + in(w.tunnel) : "requests for " + to.authority() + " go to it");
  if (to.tls) out.push_back(of_tls(w, who + " tls", trusted, now));
  return out;
}

/// What a server says to `poll_path`.
inline finding judge_answer(http_answer const& a) {
  using namespace judge_detail;
  std::string const check = "upstream http";
  constexpr auto* url = "look at UpstreamServer.URL (UPSTREAM_SERVER_URL)";
  if (a.status == 0)
    return {level::problem, check, std::string("no answer (") + to_string(a.failed_at) + "): " + a.ec.message(),
            "the server takes connections and does not answer as HTTP does: look at its log, and whether the port is "
            "right"};
  std::string const said = "status " + std::to_string(a.status) + " to a poll without a token" + in(a.took);
  auto const problem = [&](std::string const& what, std::string advice) {
    return finding(level::problem, check, said + what, std::move(advice));
  };
  if (a.status == 401 && is_menders(a)) return {level::ok, check, said + ", as a Mender server should"};
  if (a.status == 204 || (a.status == 200 && is_json(a))) return {level::ok, check, said};
  if (a.status == 429)
    return {level::warning, check, said,
            "the server's quota is used up: all devices share this gateway's address; ask for a higher one, or set "
            "UpstreamServer.RequestsPerSecond lower"};
  if (a.status >= 500)
    return problem(", the server's trouble",
                   "look at the server's log; 502, 503 and 504 come from the proxy in front of it");
  if (a.status >= 300 && a.status < 400)
    return problem(", to " + a.location, std::string(url) + ": devices' calls do not follow redirects");
  if (a.status == 401 || a.status == 403)
    return problem(", not in a Mender server's form",
                   "something in front of the server refuses: have it let this machine's address pass");
  if (a.status == 400 && a.body.find("HTTPS") != std::string::npos)
    return problem(": the port wants TLS", std::string(url) + ": it should begin with https://");
  if (is_menders(a))
    return problem(": a Mender server, but not its device API",
                   std::string(url) + ": it is the host alone, or with the path that the server is behind");
  return problem(": what answers there is no Mender server" + (a.server.empty() ? "" : " (it says " + a.server + ")"),
                 std::string(url) + ", and what its host is; a portal or a proxy may be in between");
}

/// A server's `Date` against our clock. `at`: when it came.
inline finding judge_clock(std::string_view date, std::chrono::system_clock::time_point at) {
  std::string const check = "clock";
  auto const theirs = mgw::http::parse_date(date);
  if (!theirs)
    return {level::warning, check,
            date.empty() ? "the upstream server says no Date" : "the upstream server's Date is none",
            "compare this machine's clock with the right time yourself: timedatectl"};
  std::int64_t const ours = std::chrono::duration_cast<std::chrono::seconds>(at.time_since_epoch()).count();
  std::int64_t const ahead = ours - *theirs;
  std::int64_t const size = ahead < 0 ? -ahead : ahead;
  if (size <= 2) return {level::ok, check, "the same as the upstream server's"};  // a Date has whole seconds
  std::string const what = judge_detail::length_of(std::chrono::seconds(size)) + (ahead < 0 ? " behind" : " ahead of") +
                           " the upstream server's";
  if (size <= 30) return {level::ok, check, what};
  return {size <= 300 ? level::warning : level::problem, check, what,
          std::string("set the clock that is wrong (timedatectl, an NTP server): ") +
              (ahead < 0 ? "certificates that were just made are refused as not yet valid, expired ones are taken, "
                         : "certificates are refused before they end, ") +
              "links to artifacts that the server signs end too early or too late, and rate windows are shifted"};
}

}  // namespace gateway::doctor
