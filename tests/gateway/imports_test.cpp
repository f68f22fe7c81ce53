#include "imports/artifact_start.hpp"
#include "imports/stand_ins.hpp"

#include "artifact_support.hpp"

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>
#include <asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace gateway::imports_test {
namespace {

using start = artifact_start::state;

std::string digest_of(std::string const& artifact) {
  artifact_keys const no_keys;
  artifact_reader reader(read_from(artifact, artifact.size()), no_keys, {});
  (void)reader.read_header();
  return reader.info().head_digest;
}
/// An artifact whose payload is as long, packed with `suffix`.
artifact_sample sample(std::string const& suffix = {}) {
  artifact_sample s;
  s.suffix = suffix;
  s.files = {{"blob.bin", std::string(200'000, 'b')}};
  s.signature = "QUJD";
  return s;
}

/// A gateway whose every request asks what stands for the origin's object, under the artifact name `X-Name`.
struct site {
  mgw::test::origin origin;
  mgw::test::temporary_directory directory;
  mgw::proxy::fetch_counters counters;
  mgw::test::gateway g{2};
  std::optional<mgw::cache::disk_store> store;
  std::optional<stand_ins> imports;

  explicit site(std::string const& upstream, std::chrono::milliseconds patience = std::chrono::seconds(30))
      : origin(upstream) {
    mgw::cache::disk_store::options where;
    where.path = directory.path();
    store.emplace(where);
    stand_in_options options;
    options.fetch.log = g.log.sink();
    options.patience = patience;
    imports.emplace(*store, g.upstreams, counters, std::move(options));
    g.start([this](mgw::proxy::exchange& x) { return answer(*this, x); });
  }
  ~site() { g.stop(); }

  static asio::awaitable<void> answer(site& s, mgw::proxy::exchange& x) {
    mgw::mender::artifact_source wanted;
    wanted.uri = s.origin.url(std::string(x.request().target));
    wanted.artifact_name = x.request().fields.value("X-Name");
    auto const found = co_await s.imports->find(x, wanted);
    std::string const text = found ? found->hex() : "none";
    (void)co_await x.respond(200, "text/plain", text);
  }
  std::string ask(std::string const& name = "release-2", std::string const& target = "/a") const {
    return mgw::test::get(g.port(), target, {{"X-Name", name}}).body;
  }
  /// Stores it with the labels of an import; gives its key.
  mgw::cache::key import(std::string const& artifact, std::string const& name = "release-2", bool carried = true) {
    mgw::cache::meta m;
    m.key = *mgw::cache::import_key(mgw::test::sha256_hex(artifact));
    m.length_known = true;
    m.length = artifact.size();
    m.labels = {{std::string(label::artifact_name), name}, {std::string(label::artifact_head), digest_of(artifact)}};
    if (carried) m.labels.emplace_back(label::imported, "1790000000");
    auto part = store->create(m);
    REQUIRE(part);
    REQUIRE_FALSE(part->append(artifact));
    REQUIRE_FALSE(part->commit(artifact.size()));
    return m.key;
  }
};

}  // namespace

TEST_CASE("the start of an artifact is told as soon as its first entries are there, and its digest is the verifier's") {
  for (bool const augmented : {false, true}) {
    CAPTURE(augmented);
    artifact_sample s = sample();
    s.augmented = augmented;
    std::string const whole = s.all(), expected = digest_of(whole);
    std::size_t first = 0;
    for (std::size_t n = 0; n != 16'384; ++n) {
      auto const seen = read_artifact_start(std::string_view(whole).substr(0, n));
      REQUIRE(seen.what != start::other);
      if (seen.what == start::more) {
        REQUIRE(first == 0);
        continue;
      }
      if (first == 0) first = n;
      REQUIRE(seen.digest == expected);
    }
    CHECK(first == std::size_t{augmented ? 9U : 7U} * 512);  // the last is the header of header.tar
  }
}

TEST_CASE("what does not begin as an artifact does is another thing, and no byte of what counts can be changed") {
  std::string const whole = sample().all(), expected = digest_of(whole);
  CHECK(read_artifact_start(std::string(512, '\0')).what == start::other);
  CHECK(read_artifact_start(std::string(100'000, 'x')).what == start::other);
  CHECK(read_artifact_start(tar({{"manifest", "x"}, {"version", "x"}})).what == start::other);
  CHECK(read_artifact_start(tar({{"version", "x"}, {"header.tar", "x"}})).what == start::other);
  for (std::size_t i = 0; i != 7U * 512; ++i) {
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    auto const seen = read_artifact_start(changed);
    bool const same = seen.what == start::whole && seen.digest == expected;
    bool const padding = (i / 512) % 2 == 1 && whole[i] == '\0';
    bool const behind_the_sum = i % 512 == 155;  // a field's second end mark
    CAPTURE(i);
    CHECK((!same || padding || behind_the_sum));
  }
}

TEST_CASE("an extended header before an entry may tell times, and nothing else") {
  CHECK(detail::has_times_only("21 mtime=1234.500000\n21 atime=1234.500000\n"));
  CHECK(detail::has_times_only(""));
  for (std::string_view const records :
       {"17 path=manifest\n", "11 size=99\n", "21 mtime=1234.500000", "20 mtime=1234.50000\n\n", "x", " mtime=1\n",
        "2 \n", "9 mtime 1\n", "999999999 mtime=1\n", "21 mtime=1234.500000\n1"})
    CHECK_FALSE(detail::has_times_only(records));
  std::string const plain = sample().all();
  for (auto const& [record, good] :
       {std::pair("21 mtime=1234.500000\n", true), std::pair("17 path=manifest\n\n", false)}) {
    std::string header = tar({{"PaxHeader", record}}).substr(0, 1024);
    header[156] = 'x';
    header.replace(148, 8, 8, ' ');
    unsigned sum = 0;
    for (std::size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(header[i]);
    char digits[8];
    std::snprintf(digits, sizeof digits, "%06o", sum);
    header.replace(148, 7, digits, 7);
    auto const seen = read_artifact_start(header + plain);
    CHECK(seen.what == (good ? start::whole : start::other));
    if (good) CHECK(seen.digest == digest_of(plain));
  }
}

TEST_CASE("an imported artifact stands for one upstream that begins alike, and some kilobytes are fetched to tell") {
  std::string const here = sample(".gz").all();
  artifact_sample other = sample(".gz");
  other.files[0].content[7] = 'x';
  site s(here);
  CHECK(s.ask() == "none");
  CHECK(s.origin.count() == 0);  // nothing is there to compare
  s.import(other.all());
  auto const key = s.import(here);
  s.import(sample(".xz").all(), "release-3");
  CHECK(s.ask("release-2", "/b") == key.hex());
  CHECK(s.origin.count() == 1);
  CHECK(s.origin.requests().front().value("Range") == "bytes=0-8191");
  CHECK(s.counters.first_time_bytes.load() == std::min<std::size_t>(here.size(), 8192));
  CHECK(s.ask("release-2", "/b") == key.hex());
  CHECK(s.ask("release-3", "/c") == "none");
  CHECK(s.ask("release-4", "/d") == "none");
  CHECK(s.ask("", "/e") == "none");
  CHECK(s.origin.count() == 2);
  CHECK(s.g.log.count("stands for the one upstream") == 1);
  CHECK(s.g.log.count("is another one than upstream") == 1);
  REQUIRE_FALSE(s.store->remove(key));
  CHECK(s.ask("release-2", "/b") == "none");
}

TEST_CASE("what was fetched stands for nothing, nor does anything while the upstream cannot be asked") {
  std::string const here = sample().all();
  site s(here);
  s.import(here, "release-2", false);
  CHECK(s.ask() == "none");
  CHECK(s.origin.count() == 0);
  auto const key = s.import(here);
  mgw::test::mishap down;
  down.status = 503;
  s.origin.script(0, down);
  CHECK(s.ask("release-2", "/b") == "none");
  CHECK(s.g.log.count("could not be compared") == 1);
  CHECK(s.ask("release-2", "/b") == key.hex());  // that was not remembered
}

TEST_CASE("an upstream that trickles its first bytes keeps nobody waiting for long") {
  std::string const here = sample().all();
  site s(here, std::chrono::milliseconds(50));
  s.import(here);
  mgw::test::mishap slow;
  slow.stall_after = 100;
  s.origin.script(0, slow);
  CHECK(s.ask() == "none");
  CHECK(s.g.log.count("could not be compared") == 1);
  s.origin.release();
}

TEST_CASE("however many devices ask, one comparison is made") {
  std::string const here = sample().all();
  site s(here);
  auto const key = s.import(here);
  mgw::test::mishap slow;
  slow.silent = true;
  s.origin.script(0, slow);
  constexpr std::size_t devices = 20;
  std::vector<std::string> answers(devices);
  std::vector<std::thread> threads;
  for (auto& a : answers) threads.emplace_back([&s, &a] { a = s.ask(); });
  REQUIRE(mgw::test::eventually([&] { return s.origin.count() == 1 && s.g.server().connections() == devices; }));
  s.origin.release();
  for (auto& t : threads) t.join();
  for (auto const& a : answers) CHECK(a == key.hex());
  CHECK(s.origin.count() == 1);
}

}  // namespace gateway::imports_test
