#include "config/load.hpp"

#include "config/check.hpp"
#include "config/print.hpp"
#include "gateway/support.hpp"
#include "support/test_certificates.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace gateway::sources_test {
namespace {

using test::all;
using test::from_environment;
using test::from_text;
using test::has;

struct folder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() / ("mgw-sources-test-" + std::to_string(::getpid()));
  folder() { std::filesystem::create_directories(path); }
  folder(folder const&) = delete;
  folder& operator=(folder const&) = delete;
  ~folder() { std::filesystem::remove_all(path); }
  std::string write(std::string const& name, std::string const& text) const {
    std::ofstream(path / name, std::ios::binary) << text;
    return (path / name).string();
  }
};

constexpr char const* secret = "a secret of many words";

}  // namespace

TEST_CASE("a flag wins over the environment, the environment over the file, the file over the default") {
  folder const f;
  flags given;
  given.config = f.write("conf", R"({"Log": {"Level": "warn"}})");
  option const& level = *find_option("Log.Level");
  test::variables environment;
  CHECK(load({f.write("empty", "{}"), ""}, environment).values.log_level == "info");

  auto c = load(given, environment);
  CHECK(c.values.log_level == "warn");
  CHECK(c.from(level).where == *given.config + ":1:19");

  environment.all["LOG_LEVEL"] = "error";
  c = load(given, environment);
  CHECK(c.values.log_level == "error");
  CHECK(c.from(level).where == "LOG_LEVEL");

  environment.all["LOG_LEVEL"] = "";  // counts as not set
  CHECK(load(given, environment).values.log_level == "warn");

  environment.all["LOG_LEVEL"] = "error";
  given.log_level = "debug";
  c = load(given, environment);
  CHECK(c.values.log_level == "debug");
  CHECK(c.from(level).where == "--log-level");
  CHECK(all(c.errors) == "");
}

TEST_CASE("a file that was named must be there") {
  CHECK(has(all(load({"/nonexistent/conf", ""}, test::variables()).errors), "/nonexistent/conf"));
}

TEST_CASE("a variable that is not accepted is named with its key and what is accepted") {
  CHECK(all(from_environment({{{"WORKERS", "banana"}}}).errors) ==
        "WORKERS (Workers) is \"banana\"; accepted: 1 to 1024\n");
}

TEST_CASE("a URL that may hold a password is not shown") {
  auto const errors = all(from_environment({{{"UPSTREAM_SERVER_URL", "https://user:password@a.example"}}}).errors);
  CHECK(has(errors, "UPSTREAM_SERVER_URL (UpstreamServer.URL) is not accepted (and not shown here)"));
  CHECK(!has(errors, "password"));
}

TEST_CASE("the variables of the original set what they say") {
  auto const c =
      from_environment({{{"ARTIFACTS_PROXY_ENABLED", "false"},
                         {"ARTIFACTS_PROXY_GATEWAY_URL", "http://mender-gateway:8080"},
                         {"ARTIFACTS_PROXY_DOMAIN_WHITELIST", "s3.amazonaws.com,s3.my-min.io s3.docker.mender.io"},
                         {"ARTIFACTS_PROXY_CACHE_ENABLED", "false"},
                         {"ARTIFACTS_PROXY_CACHE_PATH", "/mnt/cache"},
                         {"ARTIFACTS_PROXY_CACHE_SECRET", "KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4"},
                         {"ARTIFACTS_PROXY_CACHE_LINK_EXPIRE_DURATION", "1h15m"},
                         {"HTTP_ENABLED", "true"},
                         {"HTTP_LISTEN", ":8080"},
                         {"HTTPS_ENABLED", "true"},
                         {"HTTPS_LISTEN", "[::]:8443"},
                         {"HTTPS_MINIMUM_TLS_VERSION", "1.3"},
                         {"HTTPS_SERVER_CERTIFICATE", "/etc/mender/certs/server.crt"},
                         {"HTTPS_SERVER_KEY", "/etc/mender/certs/server.key"},
                         {"UPSTREAM_SERVER_URL", "https://hosted.mender.io"},
                         {"UPSTREAM_SERVER_CA_CERTIFICATE", "/ca.pem"},
                         {"UPSTREAM_SERVER_INSECURE_SKIP_VERIFY", "true"},
                         {"MTLS_ENABLED", "false"},
                         {"MTLS_CA_CERTIFICATE", "/etc/mender/ca.pem"},
                         {"MTLS_MENDER_USERNAME", "gw@example"},
                         {"MTLS_MENDER_PASSWORD", "pass: word"},
                         {"MTLS_BLACKLIST_PATH", "/etc/mender/blacklist"},
                         {"MTLS_ENABLE_CACHE", "false"},
                         {"MTLS_INSECURE_SKIP_CLIENT_EXPIRE_AFTER", "true"},
                         {"DEVICE_SYSTEM_ENABLED", "true"},
                         {"DEVICE_SYSTEM_ID", "site-7"},
                         {"METRICS_ENABLED", "false"},
                         {"METRICS_LISTEN", ":9102"}}});
  CHECK(all(c.errors) == "");
  CHECK(all(c.warnings) == "");
  settings const& s = c.values;
  CHECK(!s.proxy.enabled);
  CHECK(s.proxy.gateway_url == "http://mender-gateway:8080");
  CHECK(s.proxy.whitelist == std::vector<std::string>{"s3.amazonaws.com", "s3.my-min.io", "s3.docker.mender.io"});
  CHECK(!s.cache.enabled);
  CHECK(s.cache.path == "/mnt/cache");
  CHECK(s.cache.secret == "KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4");
  CHECK(s.cache.link_life == std::chrono::minutes(75));
  CHECK(s.http.enabled);
  CHECK(s.http.listen == ":8080");
  CHECK(s.https.enabled);
  CHECK(s.https.listen == "[::]:8443");
  CHECK(s.https.minimum_tls == "1.3");
  CHECK(s.https.certificate == "/etc/mender/certs/server.crt");
  CHECK(s.https.key == "/etc/mender/certs/server.key");
  CHECK(s.upstream.url == "https://hosted.mender.io");
  CHECK(s.upstream.ca_certificate == "/ca.pem");
  CHECK(s.upstream.insecure_skip_verify);
  CHECK(s.mtls.ca_certificate == "/etc/mender/ca.pem");
  CHECK(s.mtls.username == "gw@example");
  CHECK(s.mtls.password == "pass: word");
  CHECK(s.mtls.blacklist == "/etc/mender/blacklist");
  CHECK(!s.mtls.enable_cache);
  CHECK(s.mtls.accept_expired);
  CHECK(s.device_system.enabled);
  CHECK(s.device_system.system_id == "site-7");
}

TEST_CASE("with nothing set the original's defaults hold, but artifacts are served and kept") {
  settings const s = from_environment({}).values;
  CHECK_FALSE((s.http.enabled || s.https.enabled || s.mtls.enabled || s.device_system.enabled));
  CHECK_FALSE((s.upstream.insecure_skip_verify || s.mtls.accept_expired || s.debug_log));
  CHECK(s.http.listen == ":80");
  CHECK(s.https.listen == ":443");
  CHECK(s.https.minimum_tls == "1.2");
  CHECK(s.cache.path == "/var/cache/mender-gateway");
  CHECK(s.cache.link_life == std::chrono::hours(24));
  CHECK(s.log_level == "info");
  CHECK(s.mtls.enable_cache);
  CHECK((s.proxy.enabled && s.cache.enabled));  // off in the original
  auto c = from_environment({});
  check(c);
  CHECK(has(all(c.errors), "HTTPS_ENABLED"));  // nothing to listen on is no start
  CHECK(has(all(c.errors), "UPSTREAM_SERVER_URL"));
}

TEST_CASE("UPSTREAM_SERVER counts where UPSTREAM_SERVER_URL is not set") {
  CHECK(from_environment({{{"UPSTREAM_SERVER", "http://a"}}}).values.upstream.url == "http://a");
  CHECK(
      from_environment({{{"UPSTREAM_SERVER", "http://a"}, {"UPSTREAM_SERVER_URL", "http://b"}}}).values.upstream.url ==
      "http://b");
  CHECK(
      has(all(from_environment({{{"UPSTREAM_SERVER", "a"}}}).errors), "UPSTREAM_SERVER (UpstreamServer.URL) is \"a\""));
}

TEST_CASE("a secret may stand in a file of its own") {
  folder const f;
  auto const with = [](std::string const& path) {
    return from_environment({{{"ARTIFACTS_PROXY_CACHE_SECRET_FILE", path}}});
  };
  auto const c = with(f.write("secret", std::string(secret) + "\r\n"));
  CHECK(all(c.errors) == "");
  CHECK(c.values.cache.secret == secret);
  CHECK(c.from(*find_option("Features.ArtifactsProxy.ArtifactsCache.SignatureSecret")).where ==
        "ARTIFACTS_PROXY_CACHE_SECRET_FILE");

  std::string const key =
      "ARTIFACTS_PROXY_CACHE_SECRET_FILE (Features.ArtifactsProxy.ArtifactsCache.SignatureSecret) is ";
  CHECK(all(with("/nonexistent/secret").errors) == key + "\"/nonexistent/secret\": No such file or directory\n");
  CHECK(has(all(with(f.write("secret", "\n")).errors), "it is empty"));
  auto const bad = all(with(f.write("secret", "tooshort\n")).errors);
  CHECK(has(bad, key + "not accepted (and not shown here)"));
  CHECK(!has(bad, "tooshort"));
  CHECK(has(all(with(f.write("secret", std::string(max_secret_file + 1, 'x'))).errors), "File too large"));
  auto const both = from_environment(
      {{{"ARTIFACTS_PROXY_CACHE_SECRET_FILE", f.write("secret", secret)}, {"ARTIFACTS_PROXY_CACHE_SECRET", secret}}});
  CHECK(has(all(both.errors), "are both set"));
  // Only secrets have such a variable.
  CHECK(from_environment({{{"STATE_DIRECTORY_FILE", f.write("x", "/x")}}}).values.state_directory != "/x");
}

TEST_CASE("a value that is refused is shown as that, not as the default, unless a later source is good") {
  std::string const link_life = "Features.ArtifactsProxy.ArtifactsCache.LinkExpireDuration";
  auto const c = from_text(R"({"Workers": 0, "HTTP": {"Enabled": [], "Listen": "x"},
    "Features": {"ArtifactsProxy": {"ArtifactsCache": {"LinkExpireDuration": 0}}}})",
                           {{{"HTTP_LISTEN", "127.0.0.1:1"}, {"MTLS_MENDER_PASSWORD_FILE", "/nonexistent/p"}}});
  CHECK(c.errors.size() == 4);
  std::string const text = print_config(c);
  CHECK(has(text, "\nWorkers not accepted  (file f:1:13)\n"));
  CHECK(has(text, "HTTP.Enabled not accepted  (file f:1:36)\n"));
  CHECK(has(text, "\nHTTP.Listen = \"127.0.0.1:1\"  (environment HTTP_LISTEN)\n"));
  CHECK(has(text, "\nFeatures.mTLS.MenderPassword not accepted  (environment MTLS_MENDER_PASSWORD_FILE)\n"));
  CHECK(has(text, "\n" + link_life + " = \"24h\"  (file f:2:"));
  CHECK_FALSE(has(print_config(from_text("{}")), "not accepted"));
}

TEST_CASE("mTLS is on exactly where it was switched on, and what is not understood is an error") {
  struct row {
    char const* name;
    char const* file;
    char const* variable;
    bool on;
    bool refused;
  };
  row const rows[] = {
      {"file", R"({"Features": {"mTLS": {"Enabled": true}}})", "", true, false},
      {"file, in another case", R"({"features": {"MTLS": {"enabled": true}}})", "", true, false},
      {"file, a string", R"({"Features": {"mTLS": {"Enabled": "true"}}})", "", true, false},
      {"file, no boolean", R"({"Features": {"mTLS": {"Enabled": 1}}})", "", false, true},
      {"file, no switch at all", R"({"Features": {"mTLS": {"Enabled": "enable"}}})", "", false, true},
      {"file, no section", R"({"Features": {"mTLS": true}})", "", false, true},
      {"environment", "{}", "true", true, false},
      {"environment, another word", "{}", "1", true, false},
      {"environment, another case", "{}", "TRUE", true, false},
      {"environment, Go's letter", "{}", "t", true, false},
      {"file, Go's letter in a string", R"({"Features": {"mTLS": {"Enabled": "T"}}})", "", true, false},
      {"switched off by Go's letter", R"({"Features": {"mTLS": {"Enabled": true}}})", "F", false, false},
      {"environment, not understood", "{}", "enable", false, true},
      {"environment over file", R"({"Features": {"mTLS": {"Enabled": false}}})", "true", true, false},
      {"switched off by the environment", R"({"Features": {"mTLS": {"Enabled": true}}})", "false", false, false},
      {"off", R"({"Features": {"mTLS": {"Enabled": false}}})", "", false, false},
      {"null", R"({"Features": {"mTLS": {"Enabled": null}}})", "", false, false},
      {"nothing", "{}", "", false, false},
  };
  for (row const& r : rows) {
    CAPTURE(r.name);
    auto const c = from_text(r.file, {{{"MTLS_ENABLED", r.variable}}});
    CHECK(c.values.mtls.enabled == r.on);
    CHECK(!c.errors.empty() == r.refused);
    CHECK(all(c.unknown) == "");
  }
}

TEST_CASE("the keys of mTLS are taken from file and environment, its secrets from files, and are never shown") {
  folder const f;
  auto const c = from_text(
      R"({"Features": {"mTLS": {"CACertificate": "/ca", "MenderUsername": "gw@example", "BlacklistPath": "/b",
                                "EnableCache": false, "RequireMatchingKey": true, "AllowRebind": true}}})",
      {{{"MTLS_CRL_PATH", "/crl"},
        {"MTLS_MENDER_PASSWORD_FILE", f.write("password", "pass: word\n")},
        {"MTLS_ACCESS_TOKEN", "tok.en"},
        {"MTLS_INSECURE_SKIP_CLIENT_EXPIRE_AFTER", "true"},
        {"MTLS_PLAIN_SERVES_DEVICES", "true"}}});
  CHECK(all(c.errors) == "");
  auto const& m = c.values.mtls;
  CHECK(m.ca_certificate == "/ca");
  CHECK(m.crl == "/crl");
  CHECK(m.blacklist == "/b");
  CHECK(m.username == "gw@example");
  CHECK(m.password == "pass: word");
  CHECK(m.access_token == "tok.en");
  CHECK((!m.enable_cache && m.accept_expired && m.require_matching_key && m.allow_rebind && m.plain_serves_devices));
  CHECK(settings().mtls.enable_cache);
  std::string const text = print_config(c);
  CHECK(has(text, "Features.mTLS.MenderPassword = \"***\"  (environment MTLS_MENDER_PASSWORD_FILE)\n"));
  CHECK(has(text, "Features.mTLS.AccessToken = \"***\"  (environment MTLS_ACCESS_TOKEN)\n"));
  CHECK_FALSE(has(text + to_config_text(c.values, secrets::masked), "pass: word"));
  CHECK_FALSE(has(text, "tok.en"));
  for (char const* bad : {"to ken", "to\r\nken", "tok\xc3\xa9n"}) {
    std::string const said = all(from_environment({{{"MTLS_ACCESS_TOKEN", bad}}}).errors);
    CHECK(has(said, "MTLS_ACCESS_TOKEN (Features.mTLS.AccessToken) is not accepted (and not shown here)"));
  }
  CHECK(has(all(from_environment({{{"MTLS_MENDER_USERNAME", "a:b"}}}).errors), "a name without a colon"));
}

TEST_CASE("tenant tokens are taken as a list from file and environment, also from a file of their own, and never shown") {
  folder const f;
  using list = std::vector<std::string>;
  CHECK(settings().allowed_tenants.empty());
  CHECK(from_text(R"({"AllowedTenants": ["to.k1", "to.k2"]})", {}).values.allowed_tenants == list{"to.k1", "to.k2"});
  CHECK(from_text(R"({"AllowedTenants": "to.k1"})", {}).values.allowed_tenants == list{"to.k1"});
  auto const c = from_text(R"({"AllowedTenants": ["to.k0"]})", {{{"ALLOWED_TENANTS", "to.k1,to.k2"}}});
  CHECK(c.values.allowed_tenants == list{"to.k1", "to.k2"});
  std::string const text = print_config(c);
  CHECK(has(text, "AllowedTenants = [\"***\"]  (environment ALLOWED_TENANTS)\n"));
  CHECK_FALSE(has(text + to_config_text(c.values, secrets::masked), "to.k"));
  CHECK(has(to_config_text(c.values, secrets::shown), R"("AllowedTenants": ["to.k1", "to.k2"])"));
  auto const filed = from_environment({{{"ALLOWED_TENANTS_FILE", f.write("tenants", "to.k1\r\nto.k2\n")}}});
  CHECK(filed.values.allowed_tenants == list{"to.k1", "to.k2"});
  for (char const* bad : {",", " , ", "to.k1,to\x01k"}) {  // a list of none would be taken for one of all
    auto const refused = from_environment({{{"ALLOWED_TENANTS", bad}}});
    CHECK(has(all(refused.errors), "ALLOWED_TENANTS (AllowedTenants) is not accepted (and not shown here)"));
  }
  auto const wrong = from_text(R"({"AllowedTenants": ["to.k1 to.k2"]})", {});
  CHECK(has(all(wrong.errors), "AllowedTenants is not accepted (and not shown here)"));
}

TEST_CASE("mTLS with something missing does not start, and says what it needs") {
  folder const f;
  auto const errors = [&](std::vector<std::pair<std::string, std::string>> more) {
    std::string text = R"({"UpstreamServer": {"URL": "https://m.example"}, "HTTP": {"Enabled": true}, "Features": {"mTLS": {"Enabled": true)";
    for (auto const& [key, value] : more) text += ", \"" + key + "\": \"" + value + '"';
    auto c = from_text((text + "}}}").c_str());
    check(c);
    return all(c.errors);
  };
  std::string const none = errors({});
  CHECK(has(none, "HTTPS.Enabled is not: there are no client certificates without TLS"));
  CHECK(has(none, "Features.mTLS.MenderUsername) is not set"));
  CHECK(has(none, "Features.mTLS.CACertificate) is not set"));
  CHECK(has(errors({{"MenderUsername", "a"}}), "Features.mTLS.MenderPassword) is not set"));
  CHECK_FALSE(has(errors({{"AccessToken", "a"}}), "MenderUsername"));
  CHECK(has(errors({{"CACertificate", "/nonexistent/ca"}}), "Features.mTLS.CACertificate is \"/nonexistent/ca\": No such file"));
  CHECK(has(errors({{"CACertificate", f.write("ca", "x")}}), "no certificate in it"));
  CHECK(has(errors({{"BlacklistPath", "/nonexistent/b"}}), "Features.mTLS.BlacklistPath is \"/nonexistent/b\": No such file"));
  CHECK(has(errors({{"CRLPath", "/nonexistent/c"}}), "Features.mTLS.CRLPath is \"/nonexistent/c\": No such file"));
}

TEST_CASE("metrics are off, and where the original has them once they are on") {
  configuration const c = from_text(R"({"Metrics": {"Enabled": true}})");
  CHECK(all(c.errors) == "");
  CHECK(all(c.warnings) == "");
  CHECK(all(c.unknown) == "");
  CHECK(c.values.metrics.enabled);
  CHECK(c.values.metrics.listen == ":9102");
  CHECK_FALSE(from_text("{}").values.metrics.enabled);
  configuration const changed = from_text("{}", {{{"METRICS_ENABLED", "true"}, {"METRICS_LISTEN", "127.0.0.1:9999"}}});
  CHECK(changed.values.metrics.enabled);
  CHECK(changed.values.metrics.listen == "127.0.0.1:9999");
}

TEST_CASE("proxies are read from the variables that all programs read, the upper-case names first") {
  configuration const upper = from_environment({{{"HTTP_PROXY", "http://a:1"}, {"http_proxy", "http://b:2"},
                                                 {"HTTPS_PROXY", "http://u:secret@c:3"}, {"no_proxy", ".a, 10.0.0.0/8"}}});
  CHECK(all(upper.errors) == "");
  CHECK(all(upper.warnings) == "");
  CHECK(upper.values.upstream.http_proxy == "http://a:1");
  CHECK(upper.values.upstream.https_proxy == "http://u:secret@c:3");
  CHECK(upper.values.upstream.no_proxy == ".a, 10.0.0.0/8");
  configuration const lower = from_environment({{{"http_proxy", "http://b:2"}, {"https_proxy", "socks5://u:secret@c"}}});
  CHECK(lower.values.upstream.http_proxy == "http://b:2");
  CHECK(has(all(lower.errors), "https_proxy (UpstreamServer.HTTPSProxy) is not accepted"));
  CHECK(!has(all(lower.errors), "secret"));
  CHECK(from_environment({}).values.upstream.http_proxy.empty());
}

TEST_CASE("settings are printed with where they come from, secrets masked") {
  auto const c =
      from_text("{\"HTTP\": {\n\"Enabled\": true}}", {{{"ARTIFACTS_PROXY_CACHE_SECRET", secret},
                                                       {"WORKERS", "2"},
                                                       {"LIMITS_MAX_BODY_SIZE", "1048576"},
                                                       {"ARTIFACTS_PROXY_DOMAIN_WHITELIST", "a.example b.example"}}});
  std::string const text = print_config(c);
  CHECK(has(text, "HTTP.Enabled = true  (file f:2:12)\n"));
  CHECK(has(text, "HTTP.Listen = \":80\"  (default)\n"));
  CHECK(has(text, "Workers = 2  (environment WORKERS)\n"));
  CHECK(has(text, "Limits.MaxBodySize = \"1MiB\"  (environment LIMITS_MAX_BODY_SIZE)\n"));
  CHECK(has(text, "DomainWhitelist = [\"a.example\", \"b.example\"]"));
  CHECK(has(text, "SignatureSecret = \"***\"  (environment ARTIFACTS_PROXY_CACHE_SECRET)\n"));
  CHECK(has(text, "MaxSize = \"\"  (default)\n"));
  CHECK(!has(text, secret));
  CHECK(!has(to_config_text(c.values, secrets::masked), secret));
  auto const again = from_text(to_config_text(c.values, secrets::shown));
  CHECK(all(again.errors) == "");
  for (option const& o : options()) CHECK(o.value.show(again.values) == o.value.show(c.values));
}

TEST_CASE("two addresses to listen on clash where they have the port in common, and one address covers the other") {
  for (char const* other : {":443", "[::]:443", "0.0.0.0:443", "127.0.0.1:443", "[::1]:443"}) {
    CAPTURE(other);
    CHECK(listen_clash(":443", other));
    CHECK(listen_clash(other, ":443"));
    CHECK(listen_clash(other, other));
    CHECK(!listen_clash(other, ":80"));
  }
  CHECK(listen_clash("0.0.0.0:443", "10.0.0.1:443"));
  CHECK(!listen_clash("0.0.0.0:443", "[::1]:443"));
  CHECK(!listen_clash("127.0.0.1:443", "10.0.0.1:443"));
  CHECK(!listen_clash("127.0.0.1:0", "127.0.0.1:0"));  // any port is another one each
}

TEST_CASE("each pair of listeners is looked at; the status page's address clashes where somebody has chosen it") {
  auto const errors = [](std::map<std::string, std::string> more) {
    more.insert({{"HTTP_ENABLED", "true"}, {"HTTP_LISTEN", ":9103"}, {"UPSTREAM_SERVER_URL", "http://a"}});
    test::variables environment;
    for (auto& [name, value] : more) environment.all[name] = value;
    auto c = from_environment(environment);
    check(c);
    return all(c.errors);
  };
  CHECK(errors({}) == "");  // the page gives way
  CHECK(errors({{"ADMIN_LISTEN", "127.0.0.1:9103"}}) == "");
  CHECK(has(errors({{"ADMIN_LISTEN", "127.0.0.2:9103"}}),
            "HTTP_LISTEN (HTTP.Listen) is \":9103\", and ADMIN_LISTEN (Admin.Listen) is \"127.0.0.2:9103\": both want "
            "one port"));
  CHECK(errors({{"ADMIN_LISTEN", "127.0.0.2:9103"}, {"ADMIN_ENABLED", "false"}}) == "");
  CHECK(errors({{"METRICS_LISTEN", ":9103"}}) == "");
  CHECK(has(errors({{"METRICS_ENABLED", "true"}, {"METRICS_LISTEN", ":9103"}}), "METRICS_LISTEN (Metrics.Listen) is \":9103\""));
  CHECK(has(errors({{"METRICS_ENABLED", "true"}, {"ADMIN_LISTEN", ":9102"}}),
            "METRICS_LISTEN (Metrics.Listen) is \":9102\", and ADMIN_LISTEN (Admin.Listen) is \":9102\""));
}

TEST_CASE("the status page is on, where only this machine reaches it") {
  configuration const c = from_text("{}");
  CHECK(c.values.admin.enabled);
  CHECK(c.values.admin.listen == "127.0.0.1:9103");
  CHECK(c.values.admin.listen_is_default);
  configuration const set = from_text(R"({"Admin": {"Enabled": false, "Listen": "127.0.0.1:9103"}})");
  CHECK(all(set.errors) == "");
  CHECK_FALSE(set.values.admin.enabled);
  CHECK(set.values.admin.listen_is_default);  // sample.conf has it, too
  configuration sample;
  read_config_file(sample, MGW_SAMPLE_CONFIG, false);
  sample.settle();
  CHECK(sample.values.admin.listen_is_default);
  CHECK_FALSE(from_text(R"({"Admin": {"Listen": "127.0.0.1:9104"}})").values.admin.listen_is_default);
}

TEST_CASE("what is missing, and keys that do not match, are found before anything is served") {
  auto const errors = [](test::variables const& environment) {
    auto c = from_environment(environment);
    check(c);
    return all(c.errors);
  };
  CHECK(has(errors({}), "nothing to listen on"));
  CHECK(has(errors({}), "UPSTREAM_SERVER_URL (UpstreamServer.URL) is not set"));
  CHECK(errors({{{"HTTP_ENABLED", "true"}, {"UPSTREAM_SERVER_URL", "http://a"}}}) == "");
  CHECK(has(errors({{{"HTTPS_ENABLED", "true"}}}), "HTTPS_SERVER_CERTIFICATE (HTTPS.ServerCertificate) is not set"));
  char const* const one_port =
      "HTTP_LISTEN (HTTP.Listen) is \":8443\", and HTTPS_LISTEN (HTTPS.Listen) is \"127.0.0.1:8443\": both want one port";
  test::variables const both{{{"HTTP_ENABLED", "true"},
                              {"HTTP_LISTEN", ":8443"},
                              {"HTTPS_ENABLED", "true"},
                              {"HTTPS_LISTEN", "127.0.0.1:8443"}}};
  CHECK(has(errors(both), one_port));
  CHECK(!has(errors({{{"HTTP_LISTEN", ":443"}, {"HTTPS_ENABLED", "true"}}}), "one port"));
  CHECK(has(errors({{{"HTTPS_ENABLED", "true"}}}), "HTTPS_SERVER_KEY (HTTPS.ServerKey) is not set"));
  CHECK(has(errors({{{"HTTPS_ENABLED", "true"}, {"HTTPS_SERVER_KEY", "/nonexistent"}}}),
            "HTTPS_SERVER_KEY (HTTPS.ServerKey) is \"/nonexistent\": No such file"));

  mgw::test::test_certificates const made;
  auto const with = [&](std::string const& certificate, std::string const& key, std::string const& ca) {
    return errors({{{"HTTPS_ENABLED", "true"},
                    {"UPSTREAM_SERVER_URL", "http://a"},
                    {"HTTPS_SERVER_CERTIFICATE", certificate},
                    {"HTTPS_SERVER_KEY", key},
                    {"UPSTREAM_SERVER_CA_CERTIFICATE", ca}}});
  };
  CHECK(with(made.server.certificate, made.server.key, made.ca_file) == "");
  CHECK(has(with(made.server.certificate, made.foreign_server.key, ""), "HTTPS_SERVER_KEY (HTTPS.ServerKey) is \"" + made.foreign_server.key + "\", "));
  CHECK(has(with(made.server.certificate, made.foreign_server.key, ""), "the key is not that of the certificate (CN=localhost, for DNS:"));
  CHECK(has(with(made.server.key, made.server.key, ""), "HTTPS_SERVER_CERTIFICATE (HTTPS.ServerCertificate) is \"" + made.server.key +
                "\": there is no certificate in it, it has PRIVATE KEY"));
  CHECK(has(with(made.server.certificate, made.server.certificate, ""), "there is no private key in it, it has CERTIFICATE"));
  CHECK(has(with(made.server.certificate, made.server.key, made.server.key),
            "UPSTREAM_SERVER_CA_CERTIFICATE (UpstreamServer.CACertificate) is \"" + made.server.key +
                "\": there is no certificate in it, it has PRIVATE KEY"));
  CHECK(has(with(made.server.certificate, made.server.key, "/nonexistent"),
            "UPSTREAM_SERVER_CA_CERTIFICATE (UpstreamServer.CACertificate) is \"/nonexistent\""));
}

}  // namespace gateway::sources_test
