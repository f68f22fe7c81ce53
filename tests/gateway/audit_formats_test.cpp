#include "audit/formats.hpp"

#include "audit/changes.hpp"
#include "audit/command_record.hpp"
#include "audit/filter.hpp"
#include "audit_support.hpp"
#include "config/settings.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::audit::audit_formats_test {

namespace {

/// As it is read from the log.
boost::json::object read_back(record const& r) {
  chain c(test::test_key(), test::test_key().start());
  std::string line = c.seal(r.body());
  line.pop_back();
  auto fields = parse_line(line);
  REQUIRE(fields);
  return *std::move(fields);
}
boost::json::object a_delivery() {
  record r("delivery", time_point(std::chrono::milliseconds(1'798'000'000'007)));
  r.add("peer", "10.0.0.9").add("subject", "CN=device-1").add("device", "d-1").add("artifact", "release-2");
  r.add("sha256", std::string(64, 'a')).add("object", std::string(64, 'b')).add("size", std::uint64_t{2048});
  r.add("from", std::uint64_t{0}).add("to", std::uint64_t{2048}).add("whole", true);
  return read_back(r);
}
/// The cells of a CSV line as a reader of RFC 4180 takes them.
std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (std::size_t i = 0; i != line.size(); ++i) {
    if (line[i] == '"' && quoted && i + 1 != line.size() && line[i + 1] == '"')
      out.back() += line[i++];
    else if (line[i] == '"')
      quoted = !quoted;
    else if (line[i] == ',' && !quoted)
      out.emplace_back();
    else
      out.back() += line[i];
  }
  return out;
}

}  // namespace

TEST_CASE("RFC 4180 section 2: a cell with commas, quotes or line breaks is in quotes, and is read as it was") {
  for (std::string const text : {"", "plain", "a,b", "a\"b", "\"", "a\r\nb", "a b", "it's"}) {
    CAPTURE(text);
    auto const cells = cells_of(csv_cell(text) + ",next");
    REQUIRE(cells.size() == 2);
    CHECK(cells[0] == text);
    CHECK(cells[1] == "next");
  }
}
TEST_CASE("no cell is a formula for a spreadsheet, whatever a device calls itself") {
  for (std::string const text :
       {"=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "  @x", "=cmd|' /C calc'!A0", "=\"a\",b"}) {
    CAPTURE(text);
    auto const cells = cells_of(csv_cell(text));
    REQUIRE(cells.size() == 1);
    CHECK(cells[0] == "'" + text);
  }
}
TEST_CASE("a row of CSV has a cell for each column, and what has none is in the last one") {
  std::string const head = csv_head();
  auto const titles = cells_of(head.substr(0, head.size() - 2));
  auto fields = a_delivery();
  fields.emplace("device_type", "a,\"b\"");
  std::string const row = csv_row(fields);
  CHECK(row.ends_with("\r\n"));
  auto const cells = cells_of(std::string_view(row).substr(0, row.size() - 2));
  REQUIRE(cells.size() == titles.size());
  auto const cell = [&](std::string_view title) {
    for (std::size_t i = 0; i != titles.size(); ++i)
      if (titles[i] == title) return cells[i];
    return std::string("no such column");
  };
  CHECK(cell("event") == "delivery");
  CHECK(cell("time") == "2026-12-23T04:26:40.007Z");
  CHECK(cell("size") == "2048");
  CHECK(cell("whole") == "true");
  CHECK(cell("granted") == "");
  CHECK(cell("more") == R"({"device_type":"a,\"b\""})");
}
TEST_CASE("the table shows what came of it, and nothing in it but printable characters") {
  record_table t;
  t.add(a_delivery());
  record part("delivery");
  part.add("device", "d-\x1b[31m2")
      .add("object", std::string(64, 'b'))
      .add("size", std::uint64_t{2048})
      .add("from", std::uint64_t{0});
  part.add("to", std::uint64_t{100}).add("whole", false).add("why", "the client left");
  t.add(read_back(part));
  record no("authorization");
  no.add("identity", "{\"mac\":\"02\"}").add("granted", false).add("why", "its signature is not good");
  t.add(read_back(no));
  record level("log_level");
  level.add("from", "info").add("to", "debug").add("by", "SIGUSR1");
  t.add(read_back(level));
  record anew("configuration_read");
  anew.add("done", true).add("changed", changed_log_level("warn")).add("restart", "Workers, HTTPS.Listen");
  t.add(read_back(anew));
  std::string const text = t.text(0);
  for (std::string_view const part_of :
       {"whole, 2.0 KiB", "bytes 0 to 100 of 2048: the client left", "not granted: its signature is not good",
        "2026-12-23T04:26:40 ", "release-2", "{\"mac\":\"02\"}", "info to debug by SIGUSR1",
        "done, changed: Log.Level, at the next start: Workers, HTTPS.Listen"}) {
    CAPTURE(part_of);
    CHECK(text.find(part_of) != text.npos);
  }
  for (char const c : text) CHECK((c == '\n' || (c >= 0x20 && c < 0x7f)));
}
TEST_CASE("records are found by device, artifact, kind and time") {
  auto const fields = a_delivery();
  struct {
    filter wanted;
    bool found;
  } const cases[] = {
      {{}, true},
      {{"d-1", "", "", "", ""}, true},
      {{"CN=device-1", "", "", "", ""}, true},
      {{"10.0.0.9", "", "", "", ""}, true},
      {{"d-", "", "", "", ""}, false},
      {{"", "release-2", "", "", ""}, true},
      {{"", "release", "", "", ""}, false},
      {{"", "aaaaaa", "", "", ""}, true},
      {{"", "bbbbbbbb", "", "", ""}, true},
      {{"", "aaaaa", "", "", ""}, false},
      {{"", "", "delivery", "", ""}, true},
      {{"", "", "refusal", "", ""}, false},
      {{"", "", "", "2026-12-23", ""}, true},
      {{"", "", "", "2026-12-23T04:26:40.007", ""}, true},
      {{"", "", "", "2026-12-23T04:26:40.008", ""}, false},
      {{"", "", "", "2026-12-24", ""}, false},
      {{"", "", "", "", "2026-12-23"}, false},
      {{"", "", "", "", "2026-12-23T04:26:41"}, true},
      {{"", "", "", "2026", "2027"}, true},
      {{"d-1", "release-2", "delivery", "2026", "2027"}, true},
      {{"d-2", "release-2", "delivery", "2026", "2027"}, false},
  };
  for (auto const& c : cases) {
    CAPTURE(c.wanted.device + '|' + c.wanted.artifact + '|' + c.wanted.event + '|' + c.wanted.since + '|' +
            c.wanted.until);
    CHECK(c.wanted.wants(fields) == c.found);
  }
}
TEST_CASE("records are found by an identity in whatever spelling, also one that was cut") {
  filter wanted;
  for (std::size_t const length : {std::size_t{1}, max_text}) {
    std::string const b(length, 'b');
    record r("authentication");
    r.add("identity", R"({"a":2,"b":")" + b + "\"}");
    wanted.device = R"({ "b":")" + b + R"(", "a":2.0 })";
    CHECK(wanted.wants(r.fields()));
    wanted.device = R"({"a":3,"b":")" + b + "\"}";
    CHECK_FALSE(wanted.wants(r.fields()));
    wanted.device = R"({"a":2)";
    CHECK_FALSE(wanted.wants(r.fields()));
  }
}
TEST_CASE("a time is a beginning of one in UTC, or how long ago") {
  auto const now = time_point(std::chrono::milliseconds(1'798'000'000'007));
  CHECK(read_time("", now) == "");
  CHECK(read_time("2026-12-23T04:26Z", now) == "2026-12-23T04:26");
  CHECK(read_time("2026", now) == "2026");
  CHECK(read_time("1h", now) == "2026-12-23T03:26:40.007Z");
  for (std::string_view const bad :
       {"yesterday", "202", "2026/12", "2026-12-23 04:26", "2026-12-23T04:26:40.007Z0", "-1h"}) {
    CAPTURE(bad);
    CHECK_FALSE(read_time(bad, now));
  }
}
TEST_CASE("a start records which settings have changed, and of secrets nothing else") {
  settings before, now;
  now.https.listen = ":8443";
  now.cache.secret = "a secret of many bytes";
  auto const key = test::test_key();
  fingerprint const was = fingerprint::parse(fingerprint(before, key).text()), is(now, key);
  auto const fields = read_back(configuration_record(now, is, was));
  auto const& changed = fields.at("changed").as_object();
  CHECK(changed.size() == 2);
  CHECK(text_in(changed, "HTTPS.Listen") == "\":8443\"");
  CHECK(text_in(changed, "Features.ArtifactsProxy.ArtifactsCache.SignatureSecret") == "\"***\"");
  CHECK(is.text().find("secret of many") == std::string::npos);
  CHECK(is.digest() != fingerprint(before, key).digest());
  auto other = key;
  other.secret[0] = 'x';
  CHECK(is.digest() != fingerprint(now, other).digest());
  CHECK(is.changed(fingerprint(now, key)).empty());
}
TEST_CASE("commands that change the cache, or take something out of it, are recorded; those that look are not") {
  cache_request r;
  boost::json::object const one{{"name", "release-2"}, {"key", "ab"}, {"size", 5}, {"pinned", true}};
  boost::json::object const done{{"status", 0}, {"objects", boost::json::array{one}}};
  for (std::string const command : {"list", "stats"}) {
    r.command = command;
    CHECK_FALSE(command_record(r, done));
  }
  r.command = "pin";
  auto fields = read_back(*command_record(r, done));
  CHECK(text_in(fields, "event") == "cache_pin");
  CHECK(flag_in(fields, "done"));
  auto const& object = fields.at("objects").at(0).as_object();
  CHECK(text_in(object, "name") == "release-2");
  CHECK_FALSE(object.contains("pinned"));
  r.command = "remove";
  r.objects = {"release-3"};
  fields = read_back(*command_record(r, failure("no object has this name")));
  CHECK_FALSE(flag_in(fields, "done"));
  CHECK(text_in(fields, "why") == "no object has this name");
  CHECK(text_in(fields.at("objects").at(0).as_object(), "name") == "release-3");
}

}  // namespace gateway::audit::audit_formats_test
