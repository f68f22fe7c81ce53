#pragma once

#include "config/settings.hpp"
#include "doctor/finding.hpp"
#include "doctor/upstream.hpp"
#include "doctor/wait_for.hpp"
#include "doctor/way.hpp"
#include "upstream_settings.hpp"

#include <mgw/http/uri.hpp>
#include <mgw/mender/management_client.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>

#include <string>
#include <system_error>
#include <utility>

namespace gateway::doctor {

namespace management_detail {

/// Logs in as the gateway does, and reads a device.
inline asio::awaitable<mgw::mender::management_answer> ask(mgw::net::worker_pool& workers, connecting const& how,
                                                           mgw::mender::management_options account) {
  mgw::upstream::pool_set const pools(workers, how.tls, how.pools);
  mgw::mender::management_client client(pools, std::move(account));
  mgw::mender::management_answer a =
      co_await client.call(workers.worker(0), "GET", "/api/management/v2/devauth/devices?per_page=1&page=1", "");
  co_return a;
}

}  // namespace management_detail

/// What the management API says to the account by which devices are authorized.
inline finding judge_management(mgw::mender::management_answer const& a, settings const& s) {
  std::string const check = "management";
  bool const token = !s.mtls.access_token.empty();
  std::string const who = token ? "the access token" : "the user " + s.mtls.username;
  int const answered = a.login_status != 0 ? a.login_status : a.status;
  std::string const status = "status " + std::to_string(answered);
  constexpr auto* meanwhile = "; until then devices are relayed, and none is authorized by its certificate";
  if (a.ec)
    return {level::problem, check, "no answer: " + a.ec.message(),
            std::string("see what is said of upstream; the management API must be there, too") + meanwhile};
  if (a.login_status == 200)
    return {level::problem, check, "the login of " + s.mtls.username + " is answered with something else than a token",
            "UpstreamServer.URL must lead to the Mender server itself, not to a page in front of it"};
  if (answered == 200) return {level::ok, check, who + " may read devices"};
  if (answered == 401 && token)
    return {level::problem, check, who + " is refused, " + status,
            std::string("it has expired, was revoked, or is of another server: make a new one, and set "
                        "MTLS_ACCESS_TOKEN (Features.mTLS.AccessToken)") +
                meanwhile};
  if (answered == 401)
    return {level::problem, check, "the login of " + s.mtls.username + " is refused, " + status,
            std::string(
                "look at MTLS_MENDER_USERNAME and MTLS_MENDER_PASSWORD, and whether the account is suspended or wants "
                "a second factor, which a gateway has not: an access token does without (MTLS_ACCESS_TOKEN)") +
                meanwhile};
  if (answered == 403)
    return {level::warning, check, who + " may not read devices, " + status,
            "give it a role that may read, accept and preauthorize devices; with one that may only preauthorize, "
            "devices that are known already are not accepted"};
  if (answered == 429)
    return {level::warning, check, status, "its quota is used up: try again later, or ask for a higher one"};
  if (answered == 404)
    return {level::problem, check, "there is no management API, " + status,
            std::string("UpstreamServer.URL must lead to the whole Mender server, not to its device API alone") +
                meanwhile};
  return {level::problem, check, who + " got " + status, std::string("look at the server's log") + meanwhile};
}

/// The account of the management API, if there is to be one. Precondition: the upstream's URL is one.
inline findings check_management(settings const& s, connecting const& how) {
  if (!s.mtls.enabled) return {};
  auto account = management_account(s, *mgw::http::parse_uri(s.upstream.url));
  account.exchange.send_silence = account.exchange.response_timeout = account.exchange.body_silence = how.step;
  auto const said = wait_at_most(
      6 * how.step, [&](mgw::net::worker_pool& w) { return management_detail::ask(w, how, std::move(account)); });
  mgw::mender::management_answer late;
  late.ec = std::make_error_code(std::errc::timed_out);
  return {judge_management(said.value_or(late), s)};
}

}  // namespace gateway::doctor
