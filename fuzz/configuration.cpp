// Properties of the gateway's settings: every value of every variable is taken or refused with a message that names
// the variable; sizes and durations never overflow; what is made of the values later does not crash either.
// Input: NAME=value lines, each a variable.
#include "property.hpp"

#include "config/configuration.hpp"
#include "config/environment.hpp"
#include "config/options.hpp"
#include "config/settings.hpp"
#include "config/value_forms.hpp"

#include <mgw/core/units.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/whitelist.hpp>
#include <mgw/net/listener.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::fuzz {
namespace {

// A size as it is meant, digit by digit; nullopt if there is none or it does not fit.
std::optional<std::uint64_t> size_of(std::string_view text) {
  std::uint64_t n = 0;
  std::size_t digits = 0;
  auto const times = [&n](std::uint64_t by) { return !__builtin_mul_overflow(n, by, &n); };
  for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits)
    if (!times(10) || __builtin_add_overflow(n, static_cast<std::uint64_t>(text[digits] - '0'), &n))
      return std::nullopt;
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  if (text.starts_with(' ')) text.remove_prefix(1);
  for (std::string_view const unit : {"", "KiB", "MiB", "GiB", "TiB"}) {
    if (text == unit) return n;
    if (!times(1024)) return std::nullopt;  // no larger unit would fit
  }
  return std::nullopt;
}

void check_units(std::string_view value) {
  auto const size = parse_size(value);
  auto const meant = size_of(value);
  must(static_cast<bool>(size) == meant.has_value() && (!size || *size == *meant), "a size is what it says");
  auto const d = parse_duration(value);
  if (!d) return;
  must(d->count() >= 0, "a duration is not negative");
  must(*d <= std::chrono::hours(100 * 365 * 24), "a duration is at most 100 years");
  auto const again = parse_duration(std::to_string(d->count()) + "ms");
  must(again && *again == *d, "a duration in milliseconds is the same");
}

// What the program makes of accepted settings before it opens anything.
void check_use(gateway::settings const& s) {
  for (std::string const* address : {&s.http.listen, &s.https.listen}) (void)net::parse_listen_address(*address);
  for (std::string const* url : {&s.upstream.url, &s.proxy.gateway_url})
    if (auto const u = http::parse_uri(*url)) must(u->port != 0, "a server has a port");
  for (std::string const& host : s.proxy.whitelist)
    must(!host.empty() && host.find_first_of(", \t") == std::string::npos, "a list is taken apart");
  try {
    mender::domain_list const allowed(s.proxy.whitelist);
    must(allowed.empty() == s.proxy.whitelist.empty(), "each entry of the list counts");
    for (std::string const& host : s.proxy.whitelist) {
      std::string const suffix = host.starts_with('*') ? host.substr(1) : host;
      must(allowed.allows(suffix.starts_with('.') ? "name" + suffix : suffix), "a host that is listed is allowed");
    }
  } catch (std::invalid_argument const& e) {
    must(std::string_view(e.what()).find('"') != std::string_view::npos, "an entry that is refused is named");
  }
  auto const secrets = mender::parse_secrets(s.cache.secret);
  if (secrets)
    for (std::string const& secret : *secrets) must(secret.size() >= mender::min_secret_size, "no secret is short");
  for (auto const d : {s.proxy.hold, s.cache.link_life, s.drain})
    must(d.count() >= 0 && d <= std::chrono::hours(100 * 365 * 24), "a duration is within its bounds");
}

void check(std::string_view input) {
  struct variable {
    std::string name;
    explicit variable(std::string n, std::string const& value) : name(std::move(n)) {
      setenv(name.c_str(), value.c_str(), 1);
    }
    variable(variable&& o) noexcept : name(std::move(o.name)) { o.name.clear(); }
    variable& operator=(variable&&) = delete;
    ~variable() {
      if (!name.empty()) unsetenv(name.c_str());
    }
  };
  std::vector<variable> set;
  while (!input.empty() && set.size() < 64) {
    std::size_t const end = std::min(input.find('\n'), input.size());
    std::string_view const line = input.substr(0, end);
    input.remove_prefix(std::min(end + 1, input.size()));
    std::size_t const equals = line.find('=');
    if (equals == std::string_view::npos || line.find('\0') != std::string_view::npos) continue;
    std::string_view const name = line.substr(0, equals);
    std::string const value(line.substr(equals + 1));
    check_units(exact_copy(value).view());
    auto const& all = gateway::options();
    bool const known =
        std::any_of(all.begin(), all.end(), [name](gateway::option const& o) { return o.environment == name; });
    if (!name.empty() && (known || name == "UPSTREAM_SERVER")) set.emplace_back(std::string(name), value);
  }
  gateway::configuration c;
  gateway::read_environment(c);
  c.settle();
  for (std::string const& what : c.errors) {
    must(std::any_of(set.begin(), set.end(), [&what](variable const& v) { return what.find(v.name) == 0; }),
         "a refusal names its variable");
    must(what.find("accepted: ") != std::string_view::npos, "a refusal says what is accepted");
  }
  if (!c.errors.empty()) return;
  bool read = false;
  char const* const mtls = std::getenv("MTLS_ENABLED");
  must(mtls == nullptr || *mtls == '\0' || (gateway::read_bool(mtls, read) && read == c.values.mtls.enabled),
       "mTLS is not left out silently");
  check_use(c.values);
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
