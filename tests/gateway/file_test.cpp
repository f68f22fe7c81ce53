#include "config/file.hpp"

#include "config/print.hpp"
#include "gateway/support.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::file_test {

using test::all;
using test::from_text;
using test::has;
using attributes = mgw::mender::inventory_attributes;

TEST_CASE("a file of the original sets what it says") {
  auto const c = from_text(R"({
    "Features": {
      "ArtifactsProxy": {
        "Enabled": true, "GatewayURL": "https://gateway.example", "DomainWhitelist": ["s3.amazonaws.com", ".minio.example"],
        "ArtifactsCache": {"Enabled": true, "Path": "/cache", "SignatureSecret": "KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4",
                           "LinkExpireDuration": "30m"}
      },
      "mTLS": {"Enabled": false, "CACertificate": "/ca.pem", "MenderUsername": "gw@example", "BlacklistPath": "/b"},
      "DeviceSystem": {"Enabled": false, "SystemID": "site-7", "DefaultInventory": [{"Name": "region", "Value": "eu"}]}
    },
    "HTTP":  {"Enabled": false, "Listen": ":80"},
    "HTTPS": {"Enabled": true, "Listen": ":8443", "MinimumTLSVersion": "1.2", "ServerCertificate": "/c", "ServerKey": "/k"},
    "UpstreamServer": {"URL": "https://hosted.mender.io", "CACertificate": "/ca", "InsecureSkipVerify": false},
    "Metrics": {"Enabled": false, "Listen": ":9102"}
  })");
  CHECK(all(c.errors) == "");
  CHECK(all(c.unknown) == "");
  CHECK(all(c.warnings) == "");
  settings const& s = c.values;
  CHECK(s.proxy.enabled);
  CHECK(s.proxy.gateway_url == "https://gateway.example");
  CHECK(s.proxy.whitelist == std::vector<std::string>{"s3.amazonaws.com", ".minio.example"});
  CHECK(s.cache.path == "/cache");
  CHECK(s.cache.secret == "KDbQ+Z9asYtPdRQoakM5lGs6xgkWyNx4");
  CHECK(s.cache.link_life == std::chrono::minutes(30));
  CHECK(!s.http.enabled);
  CHECK(s.https.enabled);
  CHECK(s.https.listen == ":8443");
  CHECK(s.https.certificate == "/c");
  CHECK(s.https.key == "/k");
  CHECK(s.upstream.url == "https://hosted.mender.io");
  CHECK(s.upstream.ca_certificate == "/ca");
  CHECK(!s.device_system.enabled);
  CHECK(s.device_system.system_id == "site-7");
  CHECK(s.device_system.default_inventory == attributes{{"region", "\"eu\""}});
}

TEST_CASE("attributes for inventories are lists of names and values, also under the original's older key") {
  auto const c = from_text(R"({"features": {"devicesystem": {"ENABLED": true,
    "DefaultInventory": [{"name": "a", "VALUE": [1, "x"], "note": {}}, {"Name": "b", "Value": true}]}},
    "DefaultInventory": [{"Name": "older", "Value": "o"}]})");
  CHECK(all(c.errors) == "");
  CHECK(all(c.warnings) == "");
  CHECK(c.values.device_system.default_inventory == attributes{{"a", "[1, \"x\"]"}, {"b", "true"}});
  auto const older = from_text(R"({"Features": {"DeviceSystem": {"DefaultInventory": []}},
    "DefaultInventory": [{"Name": "older", "Value": "o"}]})");
  CHECK(all(older.errors) == "");
  CHECK(older.values.device_system.default_inventory == attributes{{"older", "\"o\""}});
  CHECK(has(print_config(older), "Features.DeviceSystem.DefaultInventory = [{\"Name\": \"older\", \"Value\": \"o\"}]  (file f:2:25)"));
  auto const empty = from_text(R"({"Features": {"DeviceSystem": {"Enabled": true}}})");
  CHECK(has(all(empty.warnings), "there is nothing to add"));
  for (auto const* const list : {"7", "{}", "[\"a\"]", "[{\"Name\": \"a\"}]", "[1]", "\"a\"",
                                 R"([{"Name": "a", "Value": 1}, {"Name": "a", "Value": 2}])"}) {
    CAPTURE(list);
    auto const bad = from_text(R"({"DefaultInventory": )" + std::string(list) + "}");
    CHECK(has(all(bad.errors), "f:1:22: DefaultInventory is "));
  }
}

TEST_CASE("keys count in any case, null and empty values as not set") {
  auto const c = from_text(R"({"http": {"ENABLED": true, "listen": ""}, "WORKERS": null, "HTTPS": null,
                               "Features": {"artifactsproxy": {"DomainWhitelist": []}}})");
  CHECK(all(c.errors) == "");
  CHECK(c.values.http.enabled);
  CHECK(c.values.http.listen == ":80");
  CHECK(c.from(*find_option("HTTP.Listen")).from == origin::source::built_in);
}

TEST_CASE("a string may stand for any value, in the environment's form") {
  auto const c = from_text(R"({"HTTP": {"Enabled": "yes"}, "Workers": "4", "Limits": {"MaxBodySize": 2048},
                               "Features": {"ArtifactsProxy": {"DomainWhitelist": "a.example,b.example"}}})");
  CHECK(all(c.errors) == "");
  CHECK(c.values.http.enabled);
  CHECK(c.values.workers == 4);
  CHECK(c.values.limits.max_body == 2048);
  CHECK(c.values.proxy.whitelist.size() == 2);
}

TEST_CASE("a value that is not accepted is named with its place, its key and what is accepted") {
  struct row {
    char const* text;
    char const* message;
  };
  row const rows[] = {
      {R"({"Workers": "banana"})", R"(f:1:13: Workers is "banana"; accepted: 1 to 1024)"},
      {R"({"Workers": 0})", R"(f:1:13: Workers is "0"; accepted: 1 to 1024)"},
      {R"({"Workers": 1000000000})", R"(f:1:13: Workers is "1000000000"; accepted: 1 to 1024)"},
      {R"({"Workers": 1e3})", R"(f:1:13: Workers is "1e3"; accepted: 1 to 1024)"},
      {R"({"Workers": true})", R"(f:1:13: Workers is true; accepted: 1 to 1024)"},
      {R"({"Workers": {}})", R"(f:1:13: Workers is an object; accepted: 1 to 1024)"},
      {"{\n \"HTTP\": {\"Enabled\": 1}}", "f:2:22: HTTP.Enabled is 1; accepted: true or false"},
      {R"({"http": {"enabled": []}})", R"(f:1:22: HTTP.Enabled is "[]"; accepted: true or false)"},
      {R"({"DrainTimeout": 30})", "f:1:18: DrainTimeout is 30; accepted: a duration such as 30m or 1h15m"},
      {R"({"StateDirectory": ["/a"]})", R"(f:1:20: StateDirectory is "[/a]"; accepted: a directory)"},
      {R"({"StateDirectory": "/a\u0000b"})", R"(f:1:20: StateDirectory is "/a?b"; accepted: a directory)"},
      {R"({"Features": {"ArtifactsProxy": {"DomainWhitelist": [1]}}})",
       "f:1:53: Features.ArtifactsProxy.DomainWhitelist is a list of other things than strings; accepted: hosts or "
       ".suffixes, separated by commas or blanks"},
      {R"({"Features": {"ArtifactsProxy": {"DomainWhitelist": ["a b"]}}})",
       "f:1:53: Features.ArtifactsProxy.DomainWhitelist is \"[a b]\"; accepted: hosts or .suffixes, separated by "
       "commas "
       "or blanks"},
      {R"({"HTTP": true})", "f:1:10: HTTP is true; accepted: an object"},
      {R"({"Features": []})", R"(f:1:14: Features is "[]"; accepted: an object)"},
      {R"({"Features": {"ArtifactsProxy": {"ArtifactsCache": {"SignatureSecret": "tooshort"}}}})",
       "f:1:72: Features.ArtifactsProxy.ArtifactsCache.SignatureSecret is not accepted (and not shown here); accepted: "
       "base64 or text of at least 16 bytes; several, separated by commas: the first seals"},
      {R"({"Features": {"ArtifactsProxy": {"ArtifactsCache": {"SignatureSecret": 1234567890123456}}}})",
       "f:1:72: Features.ArtifactsProxy.ArtifactsCache.SignatureSecret is not accepted (and not shown here); accepted: "
       "base64 or text of at least 16 bytes; several, separated by commas: the first seals"},
  };
  for (row const& r : rows) {
    CAPTURE(r.text);
    CHECK(all(from_text(r.text).errors) == std::string(r.message) + "\n");
  }
}

TEST_CASE("all that is wrong is named, not only the first") {
  auto const c = from_text(R"({"Workers": 0, "HTTP": {"Listen": "x"}})", {{{"LOG_LEVEL", "loud"}}});
  CHECK(c.errors.size() == 3);
}

TEST_CASE("an unknown key is named once, with the nearest known one") {
  struct row {
    char const* text;
    char const* message;
  };
  row const rows[] = {
      {R"({"HTTPS": {"SeverKey": "x"}})", "f:1:12: HTTPS.SeverKey is not a known key; the nearest is HTTPS.ServerKey"},
      {R"({"Featurs": {"ArtifactsProxy": {"Enabled": true}}})",
       "f:1:2: Featurs is not a known key; the nearest is Features"},
      {R"({"GatewayURL": "x"})",
       "f:1:2: GatewayURL is not a known key; the nearest is Features.ArtifactsProxy.GatewayURL"},
      {R"({"Features": {"mTSL": {"Enabled": true}}})",
       "f:1:15: Features.mTSL is not a known key; the nearest is Features.mTLS"},
      {R"({"HTTP.Listen": ":80"})", "f:1:2: \"HTTP.Listen\" is not a known key; the nearest is HTTP.Listen"},
      {R"({"Zebra crossing": 1})", "f:1:2: \"Zebra crossing\" is not a known key"},
  };
  for (row const& r : rows) {
    CAPTURE(r.text);
    auto const c = from_text(r.text);
    CHECK(all(c.errors) == "");
    CHECK(all(c.unknown) == std::string(r.message) + "\n");
  }
}

TEST_CASE("edit distance") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("same", "same") == 0);
}

TEST_CASE("DebugLog is a lower log level, unless one is set") {
  CHECK(from_text(R"({"DebugLog": true})").values.log_level == "debug");
  CHECK(from_text(R"({"DebugLog": false})").values.log_level == "info");
  CHECK(from_text(R"({"DebugLog": true, "Log": {"Level": "warn"}})").values.log_level == "warn");
  CHECK(from_text(R"({"DebugLog": true})", {{{"LOG_LEVEL", "error"}}}).values.log_level == "error");
}

TEST_CASE("TLS versions of before 1.2 are taken for 1.2, with a warning") {
  auto const c = from_text(R"({"HTTPS": {"MinimumTLSVersion": "1.0"}})");
  CHECK(all(c.errors) == "");
  CHECK(c.values.https.minimum_tls == "1.2");
  CHECK(has(all(c.warnings), "f:1:33: HTTPS.MinimumTLSVersion is \"1.0\"; the oldest version that is spoken is 1.2"));
}

TEST_CASE("the sample file has every key, and the defaults where a gateway needs nothing else") {
  std::ifstream in(MGW_SAMPLE_CONFIG, std::ios::binary);
  REQUIRE(in);
  std::string const text{std::istreambuf_iterator<char>(in), {}};
  auto const c = from_text(text);
  CHECK(all(c.errors) == "");
  CHECK(all(c.unknown) == "");
  CHECK(all(c.warnings) == "");
  CHECK(to_config_text(c.values, secrets::shown) == text);
  settings const built_in;
  std::string changed;
  for (option const& o : options())
    if (o.value.show(c.values) != o.value.show(built_in)) changed += o.key + ' ';
  CHECK(changed == "HTTPS.Enabled HTTPS.ServerCertificate HTTPS.ServerKey UpstreamServer.URL ");
}

TEST_CASE("files that are there, absent, unreadable, too large") {
  auto const folder = std::filesystem::temp_directory_path() / ("mgw-file-test-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  auto const write = [&](std::string const& text) {
    std::ofstream((folder / "conf").string(), std::ios::binary) << text;
    return (folder / "conf").string();
  };
  auto const read = [](std::string const& path, bool may_be_absent) {
    configuration c;
    read_config_file(c, path, may_be_absent);
    return c;
  };
  std::string const absent = (folder / "absent").string();
  CHECK(all(read(absent, true).errors) == "");
  CHECK(all(read(absent, false).errors) == "configuration file " + absent + ": No such file or directory\n");
  CHECK(has(all(read(folder.string(), true).errors), "Is a directory"));
  auto const good = read(write(R"({"Workers": 3})"), true);
  CHECK(good.values.workers == 3);
  CHECK(good.file == (folder / "conf").string());
  CHECK(good.from(*find_option("Workers")).where == good.file + ":1:13");
  std::string const most = "{}" + std::string(max_config_file - 2, ' ');
  CHECK(all(read(write(most), true).errors) == "");
  CHECK(has(all(read(write(most + ' '), true).errors), "it has more than 1 MiB"));
  std::filesystem::remove_all(folder);
}

}  // namespace gateway::file_test
