#include "config/options.hpp"

#include "gateway/support.hpp"

#include <doctest/doctest.h>

#include <ostream>
#include <set>
#include <string>
#include <string_view>

namespace gateway::options_test {

TEST_CASE("each key and each variable is there once, and sections stand together") {
  std::set<std::string> keys, variables, closed;
  std::string section;
  for (option const& o : options()) {
    CAPTURE(o.key);
    CHECK(keys.insert(o.key).second);
    CHECK((o.environment.empty() || variables.insert(o.environment).second));
    std::string const its = o.key.substr(0, std::min(o.key.rfind('.'), o.key.size()));
    if (its != section) CHECK(closed.insert(its).second);
    section = its;
  }
}

TEST_CASE("help ends with the default") {
  settings const built_in;
  for (option const& o : options()) {
    CAPTURE(o.key);
    std::string const value = o.value.show(built_in);
    bool const plain = !value.empty() && value != "false";
    bool const in_parentheses = o.help.ends_with(')');
    if (plain)
      CHECK(o.help.ends_with('(' + value + ')'));
    else if (in_parentheses)  // words for what is found out at start
      CHECK(o.help.find(" (") != std::string::npos);
  }
}

TEST_CASE("a value that was stored is shown in a form that is read to the same") {
  for (option const& o : options()) {
    for (std::string_view const value : {"true",
                                         "off",
                                         "0",
                                         "1",
                                         "7",
                                         "18432",
                                         "20KiB",
                                         "1048575",
                                         "3TiB",
                                         "1.5s",
                                         "1h15m",
                                         "250ms",
                                         "0s",
                                         ":443",
                                         "https://a.example/x",
                                         ".a.example b.example",
                                         "1.3",
                                         "warn",
                                         "suspend",
                                         "mon-fri 08:00-18:00 512KiB; 22:00-06:00 pause",
                                         "0123456789abcdef",
                                         "/some/path"}) {
      CAPTURE(o.key);
      CAPTURE(value);
      settings s;
      if (!o.value.set(s, value)) continue;
      std::string const first = o.value.show(s);
      REQUIRE(!first.empty());
      settings again;
      REQUIRE(o.value.set(again, first));
      CHECK(o.value.show(again) == first);
    }
  }
}

TEST_CASE("a boolean is read in every spelling that Go's strconv.ParseBool takes, in files as in the environment") {
  auto const read = [](option const& o, std::string_view text) -> std::string {
    settings s;
    return o.value.set(s, text) ? o.value.show(s) : "refused";
  };
  for (option const& o : options()) {
    if (o.value.kind != value_kind::flag) continue;
    CAPTURE(o.key);
    for (char const* yes : {"1", "t", "T", "TRUE", "true", "True"}) CHECK(read(o, yes) == "true");
    for (char const* no : {"0", "f", "F", "FALSE", "false", "False"}) CHECK(read(o, no) == "false");
    for (char const* neither : {"2", "tr", "truee", "y", "-", " true"}) CHECK(read(o, neither) == "refused");
  }
}

TEST_CASE("a link's life of 0 is the default, as what is not set is to Go's programs") {
  option const& o = *find_option("Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration");
  for (char const* zero : {"0", "0s", "0h0m"}) {
    settings s;
    CHECK(o.value.set(s, "30m"));
    CHECK(o.value.show(s) == "30m");
    CHECK(o.value.set(s, zero));
    CHECK(o.value.show(s) == "24h");
  }
}

TEST_CASE("values at their bounds") {
  struct row {
    char const* key;
    char const* value;
    bool accepted;
  };
  row const rows[] = {
      {"Workers", "1", true},
      {"Workers", "1024", true},
      {"Workers", "0", false},
      {"Workers", "1025", false},
      {"Workers", "1000000000", false},
      {"Workers", "banana", false},
      {"Workers", "-1", false},
      {"Workers", "4 ", false},
      {"Workers", "4.0", false},
      {"Workers", "99999999999999999999", false},
      {"Limits.MaxConnections", "1", true},
      {"Limits.MaxConnections", "1000000", true},
      {"Limits.MaxConnections", "0", false},
      {"Limits.MaxConnections", "1000001", false},
      {"Limits.MaxConnectionsPerPeer", "0", true},
      {"Limits.MaxConnectionsPerPeer", "1000001", false},
      {"Limits.MaxHeadSize", "8KiB", true},
      {"Limits.MaxHeadSize", "8191", false},
      {"Limits.MaxHeadSize", "18KiB", true},
      {"Limits.MaxHeadSize", "18433", false},
      {"Limits.MaxBodySize", "1KiB", true},
      {"Limits.MaxBodySize", "0", false},
      {"Limits.MaxBodySize", "1TiB", true},
      {"Limits.MaxBodySize", "2TiB", false},
      {"Limits.TunnelSilence", "1s", true},
      {"Limits.TunnelSilence", "999ms", false},
      {"TrustedProxies", "10.0.0.1, 10.1.0.0/16 fd00::/8", true},
      {"TrustedProxies", "10.0.0.1,proxy.example", false},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxSize", "0", false},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxSize", "1MiB", true},
      {"Features.ArtifactsProxy.ArtifactsCache.MinFree", "0", false},
      {"Features.ArtifactsProxy.ArtifactsCache.MinFree", "1", true},
      {"Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration", "999ms", false},
      {"Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration", "1s", true},
      {"Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration", "30", false},
      {"Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration", "0", true},
      {"Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration", "0s", true},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxAge", "0", true},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxAge", "999ms", false},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxAge", "1s", true},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxAge", "720h", true},
      {"Features.ArtifactsProxy.ArtifactsCache.MaxAge", "-1h", false},
      {"Features.ArtifactsProxy.HoldTimeout", "0", true},
      {"Features.ArtifactsProxy.HoldTimeout", "-1s", false},
      {"Features.ArtifactsProxy.DomainWhitelist", "https://a.example", false},
      {"Features.ArtifactsProxy.GatewayURL", "gateway.example", false},
      {"Features.ArtifactsProxy.GatewayURL", "https://gateway.example/#x", false},
      {"Features.ArtifactsProxy.GatewayURL", "https://gateway.example#", false},
      {"Features.ArtifactsProxy.GatewayURL", "https://gateway.example?", false},
      {"Features.ArtifactsProxy.GatewayURL", "https://gateway.example/x?y=z", false},
      {"Features.ArtifactsProxy.GatewayURL", "https://gateway.example/x/", true},
      {"UpstreamServer.URL", "ftp://a.example", false},
      {"UpstreamServer.RequestsPerSecond", "0", true},
      {"UpstreamServer.RequestsPerSecond", "1000000", true},
      {"UpstreamServer.RequestsPerSecond", "1000001", false},
      {"UpstreamServer.RequestsPerSecond", "-1", false},
      {"UpstreamServer.URL", "https://a.example/x?y", false},
      {"UpstreamServer.URL", "https://a.example/x#y", false},
      {"UpstreamServer.URL", "https://a.example/x//", true},
      {"HTTP.Listen", "80", false},
      {"HTTP.Listen", ":65536", false},
      {"HTTP.Listen", "[::1]:0", true},
      {"HTTP.Enabled", "True", true},
      {"HTTP.Enabled", "y", false},
      {"HTTPS.MinimumTLSVersion", "1.1", true},
      {"HTTPS.MinimumTLSVersion", "1.4", false},
      {"Log.Level", "loud", false},
      {"Features.ArtifactsProxy.ArtifactsCache.SignatureSecret", "short", false},
  };
  for (row const& r : rows) {
    CAPTURE(r.key);
    CAPTURE(r.value);
    option const* const o = find_option(r.key);
    REQUIRE(o != nullptr);
    settings s;
    std::string const before = o->value.show(s);
    CHECK(o->value.set(s, r.value) == r.accepted);
    if (!r.accepted) CHECK(o->value.show(s) == before);
  }
}

TEST_CASE("keys are found in any case") {
  CHECK(find_option("https.SERVERkey") == find_option("HTTPS.ServerKey"));
  CHECK(find_option("HTTPS") == nullptr);
  CHECK(find_option("") == nullptr);
}

}  // namespace gateway::options_test
