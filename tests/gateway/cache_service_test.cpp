#include "control/cache_service.hpp"

#include "artifact_support.hpp"
#include "gateway/support.hpp"
#include "verifier_support.hpp"

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace gateway::cache_service_test {
namespace {

using gateway::test::has;
using mgw::cache::disk_store;
using mgw::test::sha256_hex;
using mgw::test::temporary_directory;

bool always(std::uint64_t, std::uint64_t, std::string_view) {
  return true;
}

std::string content_of(std::filesystem::path const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A service over a store in a directory of its own.
struct rig {
  temporary_directory directory;
  std::filesystem::path cache = directory.path() / "cache";
  std::unique_ptr<disk_store> store;
  std::unique_ptr<mgw::cache::ledger> book;
  std::optional<cache_service> service;

  explicit rig(std::uint64_t max_size = std::uint64_t{1} << 30U) {
    disk_store::options o;
    o.path = cache;
    o.max_size = max_size;
    o.min_free = 1;
    store = std::make_unique<disk_store>(o);
    book = std::make_unique<mgw::cache::ledger>(ledger());
    service.emplace(*store, *book, cache.string(), child_options());
  }
  mgw::cache::ledger_options ledger() const {
    mgw::cache::ledger_options o;
    o.path = (cache / "ledger").string();
    return o;
  }

  std::string file(std::string const& name, std::string_view content) const {
    std::string path = (directory.path() / name).string();
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  boost::json::object run(std::string command, std::vector<std::string> objects = {}, int fd = -1,
                          step_function const& step = always, std::string name = {}) {
    cache_request r;
    r.command = std::move(command);
    r.objects = std::move(objects);
    r.file = std::move(name);
    return service->run(r, fd, step);
  }
  boost::json::object import(std::string const& path, step_function const& step = always) {
    mgw::cache::file const in(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(in.fd() >= 0);
    return run("import", {}, in.fd(), step, "a.mender");
  }
  /// As a download leaves it.
  mgw::cache::key put(char first, std::string_view body, label_list labels = {}) {
    mgw::cache::meta m;
    std::string hex(64, '0');
    hex[0] = first;
    m.key = *mgw::cache::key::from_hex(hex);
    m.length = body.size();
    m.labels = std::move(labels);
    auto part = store->create(m);
    REQUIRE(part);
    REQUIRE_FALSE(part->append(body));
    REQUIRE_FALSE(part->commit(body.size()));
    return m.key;
  }
  std::filesystem::path object(std::string const& body) const {
    std::string const sha256 = sha256_hex(body);
    return cache / "objects" / sha256.substr(0, 2) / sha256;
  }
  std::size_t parts() const {
    return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(cache / "parts"), {}));
  }
};

std::vector<std::string> keys_in(boost::json::object const& answer) {
  std::vector<std::string> out;
  for (auto const& o : answer.at("objects").as_array()) out.push_back(text_in(o.as_object(), "key").substr(0, 1));
  return out;
}
std::string error_of(boost::json::object const& answer) {
  CHECK(number_in(answer, "status") == exit_status::undone);
  return text_in(answer, "error");
}

}  // namespace

TEST_CASE("cache service: objects by name and by the first digits of a key") {
  rig r;
  r.put('a', "one", {{"artifact-name", "release-1"}, {"device-types", "x,y"}});
  r.put('b', "two", {{"artifact-name", "release-2"}});
  r.put('c', "three", {{"artifact-name", "release-2"}});
  r.put('d', "four");
  r.put('e', "five", {{"artifact-name", "d"}});
  auto const pinned = [&](std::string const& text) { return r.run("pin", {text}); };
  CHECK(keys_in(pinned("release-1")) == std::vector<std::string>{"a"});
  CHECK(keys_in(pinned("b")) == std::vector<std::string>{"b"});
  CHECK(keys_in(pinned("C0")) == std::vector<std::string>{"c"});
  CHECK(keys_in(pinned("d" + std::string(63, '0'))) == std::vector<std::string>{"d"});
  CHECK(
      has(error_of(pinned("release-2")), "may be any of 2 objects; their keys begin with b00000000000, c00000000000"));
  CHECK(has(error_of(pinned("d")), "may be any of 2 objects"));  // the name of one, the key of the other
  for (std::string const text : {"release-3", "", "f", "A\xff", "d1"})
    CHECK(has(error_of(pinned(text)), "no object in the cache"));
  // All or none.
  CHECK(has(error_of(r.run("remove", {"a", "nothing"})), "\"nothing\""));
  CHECK(r.store->used().objects == 5);
  CHECK(r.run("remove", {"a", "release-1"}).at("objects").as_array().size() == 2);  // twice the same
  CHECK(r.store->used().objects == 4);
}

TEST_CASE("cache service: what list and stats say") {
  rig r;
  CHECK(r.run("list").at("objects").as_array().empty());
  r.put('a', "12345",
        {{"artifact-name", "caf\xc3\xa9"}, {"device-types", "x,y"}, {"artifact-head", std::string(64, '1')}});
  r.put('b', "123", {{"artifact-name", "caf\xe9"}, {"imported", "17"}});
  r.run("pin", {"a"});
  auto const answer = r.run("list");
  CHECK(boost::json::parse(boost::json::serialize(answer)).is_object());  // whatever is in the name
  boost::json::object one, two;
  for (auto const& o : answer.at("objects").as_array())
    (text_in(o.as_object(), "key")[0] == 'a' ? one : two) = o.as_object();
  CHECK(text_in(one, "name") == "caf\xc3\xa9");
  CHECK(boost::json::serialize(one.at("device_types")) == "[\"x\",\"y\"]");
  CHECK(number_in(one, "size") == 5);
  CHECK(text_in(one, "sha256") == sha256_hex("12345"));
  CHECK(text_in(one, "head") == std::string(64, '1'));
  CHECK(flag_in(one, "pinned"));
  CHECK_FALSE(flag_in(one, "in_use"));
  CHECK(number_in(one, "stored_at") > 1'600'000'000);
  CHECK(text_in(two, "name") == "caf\\xe9");
  CHECK(number_in(two, "imported_at") == 17);

  auto const stats = r.run("stats");
  CHECK(number_in(stats, "bytes") == 8);
  CHECK(number_in(stats, "objects") == 2);
  CHECK(number_in(stats, "pinned") == 1);
  CHECK(number_in(stats, "pinned_bytes") == 5);
  CHECK(number_in(stats, "imported") == 1);
  CHECK(number_in(stats, "parts") == 0);
  CHECK(number_in(stats, "max_size") == 1 << 30);
  CHECK_FALSE(stats.contains("hits"));
  cache_request q;
  q.command = "stats";
  CHECK(number_in(
            cache_service(*r.store, *r.book, r.cache.string(), child_options(), [] { return boost::json::object{{"hits", 3}}; })
                .run(q, -1, always),
            "hits") == 3);
}

TEST_CASE("cache service: with what is removed goes that it was condemned, also where nothing is stored") {
  rig r;
  auto const stored = r.put('a', "one"), kept = r.put('b', "two");
  auto const bad = *mgw::cache::key::from_hex("c1" + std::string(62, '0'));
  for (auto const& k : {stored, kept, bad}) r.book->condemn(k, 7);
  CHECK(r.run("list").at("objects").as_array().size() == 2);
  CHECK(has(error_of(r.run("pin", {"c1"})), "no object in the cache"));
  auto const answer = r.run("remove", {"a", "C1"});
  CHECK(keys_in(answer) == std::vector<std::string>{"a", "c"});
  for (auto const& o : answer.at("objects").as_array()) CHECK(flag_in(o.as_object(), "condemned"));
  CHECK(has(error_of(r.run("remove", {"c1"})), "no object in the cache"));
  mgw::cache::ledger const next(r.ledger());  // as the next start reads it
  CHECK(next.condemned() == std::vector{kept});
  CHECK(r.store->used().objects == 1);
  auto const other = r.put('d', "four");
  CHECK_FALSE(r.run("remove", {other.hex()}).at("objects").as_array()[0].as_object().contains("condemned"));
}

TEST_CASE("cache service: pins are there after a restart, and go") {
  rig r;
  auto const k = r.put('a', "one");
  auto const pinned = [&] { return r.store->entries().at(0).meta.pinned; };
  CHECK(number_in(r.run("pin", {"a"}), "status") == 0);
  CHECK(pinned());
  CHECK(flag_in(r.run("pin", {"a"}).at("objects").as_array()[0].as_object(), "pinned"));  // as before
  CHECK_FALSE(flag_in(r.run("unpin", {"a"}).at("objects").as_array()[0].as_object(), "pinned"));
  CHECK_FALSE(pinned());
  CHECK(r.store->contains(k));
}

TEST_CASE("cache service: what is removed can still be read by who reads it") {
  rig r;
  auto const k = r.put('a', "one");
  auto const reader = r.store->open(k);
  REQUIRE(reader);
  CHECK(flag_in(r.run("list").at("objects").as_array()[0].as_object(), "in_use"));
  CHECK(number_in(r.run("remove", {"a"}), "status") == 0);
  CHECK_FALSE(r.store->contains(k));
  CHECK_FALSE(std::filesystem::exists(r.object("one")));
  char text[3];
  CHECK(::pread(reader->body->fd(), text, 3, 0) == 3);
  CHECK(std::string_view(text, 3) == "one");
}

TEST_CASE("cache service: verify finds the damaged one, and only that") {
  rig r;
  std::string const big(300'000, 'x');
  r.put('a', "one");
  r.put('b', big, {{"artifact-name", "release-2"}});
  r.put('c', "three");
  std::vector<std::string> steps;
  step_function const step = [&](std::uint64_t done, std::uint64_t total, std::string_view object) {
    CHECK(done <= total);
    CHECK(total >= 5);
    steps.emplace_back(object);
    return true;
  };
  auto answer = r.run("verify", {}, -1, step);
  CHECK(number_in(answer, "status") == 0);
  CHECK(number_in(answer, "damaged") == 0);
  CHECK(steps.size() == 3);
  CHECK(std::find(steps.begin(), steps.end(), "release-2") != steps.end());

  std::fstream(r.object(big), std::ios::in | std::ios::out | std::ios::binary).seekp(200'000).put('y');
  CHECK(number_in(r.run("verify", {"a", "c"}), "status") == 0);
  answer = r.run("verify");
  CHECK(number_in(answer, "status") == exit_status::bad);
  CHECK(number_in(answer, "damaged") == 1);
  for (auto const& o : answer.at("objects").as_array())
    CHECK(flag_in(o.as_object(), "good") == (text_in(o.as_object(), "key")[0] != 'b'));
  CHECK(r.store->used().objects == 2);
  CHECK(number_in(r.run("verify"), "status") == 0);
  CHECK(has(error_of(r.run("verify", {}, -1, [](auto, auto, auto) { return false; })), "was ended"));
}

TEST_CASE("cache service: an artifact is imported, once") {
  rig r;
  artifact_sample s;
  s.suffix = ".gz";
  s.files.push_back({"more", std::string(400'000, 'm')});
  std::string const bytes = s.all();
  std::string const path = r.file("a.mender", bytes);
  auto const k = *mgw::cache::import_key(sha256_hex(bytes));

  auto const answer = r.import(path);
  CHECK(number_in(answer, "status") == 0);
  CHECK(text_in(answer, "key") == k.hex());
  CHECK(text_in(answer, "name") == "release-2");
  CHECK(number_in(answer, "size") == static_cast<std::int64_t>(bytes.size()));
  CHECK_FALSE(answer.contains("already"));
  auto const all = r.store->entries();
  REQUIRE(all.size() == 1);
  auto const& m = all[0].meta;
  CHECK(m.key == k);
  CHECK(m.pinned);
  CHECK(m.sha256 == sha256_hex(bytes));
  CHECK(m.etag == '"' + m.sha256 + '"');
  CHECK(m.generation != 0);
  CHECK(label_value(m.labels, label::artifact_name) == "release-2");
  CHECK(label_value(m.labels, label::device_types) == "qemux86-64,raspberrypi4");
  CHECK(label_value(m.labels, label::artifact_head).size() == 64);
  CHECK(std::stoll(std::string(label_value(m.labels, label::imported))) > 1'600'000'000);
  CHECK(content_of(r.object(bytes)) == bytes);

  r.run("unpin", {"release-2"});
  auto const again = r.import(path);
  CHECK(number_in(again, "status") == 0);
  CHECK(flag_in(again, "already"));
  CHECK(r.store->entries().at(0).meta == m);  // pinned again
  CHECK(r.parts() == 0);
  CHECK_FALSE(has_children());
}

TEST_CASE("cache service: what is damaged or gone is imported anew, pinned and whole") {
  rig r;
  artifact_sample s;
  s.files.push_back({"more", std::string(400'000, 'm')});
  std::string const bytes = s.all();
  std::string const path = r.file("a.mender", bytes);
  auto const k = *mgw::cache::import_key(sha256_hex(bytes));
  REQUIRE(number_in(r.import(path), "status") == 0);
  std::filesystem::path const body = r.object(bytes);
  SUBCASE("cut") { std::filesystem::resize_file(body, bytes.size() / 2); }
  SUBCASE("gone") { std::filesystem::remove(body); }
  SUBCASE("empty") { std::filesystem::resize_file(body, 0); }
  SUBCASE("another byte in the middle") {
    std::fstream(body, std::ios::in | std::ios::out | std::ios::binary).seekp(300'000).put('y');
  }
  SUBCASE("cut, and not pinned any more") {
    r.run("unpin", {"release-2"});
    std::filesystem::resize_file(body, 1);
  }
  auto const again = r.import(path);
  CHECK(number_in(again, "status") == 0);
  CHECK_FALSE(again.contains("already"));
  CHECK(content_of(body) == bytes);
  auto const found = r.store->open(k);
  REQUIRE(found);
  CHECK(found->meta.pinned);
  std::string served(bytes.size() + 1, '\0');
  auto const n = mgw::cache::posix_file_ops().read_full(found->body->fd(), served, 0);
  REQUIRE(n);
  CHECK(served.substr(0, *n) == bytes);
  CHECK(r.store->used().objects == 1);
  CHECK(r.store->used().bytes == bytes.size());
  CHECK(r.parts() == 0);
}

TEST_CASE("cache service: nothing of a bad artifact is stored") {
  rig r;
  artifact_sample s;
  std::string const good = s.all();
  auto const cut = r.import(r.file("cut", good.substr(0, good.size() - 2000)));
  CHECK(number_in(cut, "status") == exit_status::bad);
  CHECK(has(text_in(cut, "error"), "a.mender: not imported: "));
  CHECK(has(text_in(cut, "error"), "the end is missing"));
  CHECK(number_in(r.import(r.file("none", "hello")), "status") == exit_status::bad);
  CHECK(number_in(r.import(r.file("empty", "")), "status") == exit_status::bad);
  std::string flipped = good;
  flipped[good.size() - 2500] ^= 1;
  CHECK(number_in(r.import(r.file("flipped", flipped)), "status") == exit_status::bad);
  CHECK(r.store->used().objects == 0);
  CHECK(r.parts() == 0);

  // Also where downloads may be anything, and with keys.
  auto how = child_options();
  how.only_artifacts = false;
  r.service.emplace(*r.store, *r.book, r.cache.string(), how);
  CHECK(number_in(r.import(r.file("none", "hello")), "status") == exit_status::bad);
  how.program = "/nonexistent";
  r.service.emplace(*r.store, *r.book, r.cache.string(), how);
  CHECK(has(error_of(r.import(r.file("good", good))), "not verified: the verifier cannot be started"));
  CHECK(r.store->used().objects == 0);
}

TEST_CASE("cache service: a file that changes while it is imported is not stored") {
  rig r;
  std::string const bytes = artifact_sample().all();
  std::string const path = r.file("a.mender", bytes);
  std::string change;
  bool shorter = false;
  SUBCASE("other bytes") {}
  SUBCASE("fewer") {
    shorter = true;
  }
  auto const answer = r.import(path, [&](std::uint64_t done, std::uint64_t total, std::string_view) {
    if (total != 0 && done == total / 2) {
      if (shorter)
        std::filesystem::resize_file(path, bytes.size() - 512);
      else
        std::fstream(path, std::ios::in | std::ios::out | std::ios::binary).seekp(2000).put('!');
    }
    return true;
  });
  CHECK(has(error_of(answer), shorter ? "became shorter" : "the file changed while it was read"));
  CHECK(r.store->used().objects == 0);
  CHECK(r.parts() == 0);
}

TEST_CASE("cache service: an import that nobody wants any more leaves nothing, wherever it is ended") {
  rig r;
  artifact_sample s;
  s.files.push_back({"more", std::string(400'000, 'm')});
  std::string const path = r.file("a.mender", s.all());
  std::size_t n = 0;
  for (bool done = false; !done; ++n) {
    std::size_t left = n;
    auto const answer = r.import(path, [&left](std::uint64_t, std::uint64_t total, std::string_view) {
      if (total == 0) return left != 0;
      return left != 0 && left-- != 0;
    });
    done = number_in(answer, "status") == 0;
    if (!done) CHECK(has(error_of(answer), "the import was ended"));
    CHECK(r.store->used().objects == (done ? 1 : 0));
    CHECK(r.parts() == 0);
  }
  CHECK(n > 6);
  CHECK_FALSE(has_children());
}

TEST_CASE("cache service: two imports at once, and one while another object is filled") {
  rig r;
  mgw::cache::meta other;
  other.key = *mgw::cache::key::from_hex(std::string(64, 'd'));
  other.length = 10;
  auto filling = r.store->create(other);
  REQUIRE(filling);
  artifact_sample s;
  s.files.push_back({"more", std::string(300'000, 'm')});
  std::string const same = r.file("same", s.all());
  s.files.push_back({"yet", "another"});
  std::string const another = r.file("another", s.all());
  std::atomic<int> good{0}, already{0}, busy{0};
  std::vector<std::thread> all;
  for (std::string const& path : {same, another, same})
    all.emplace_back([&r, &good, &already, &busy, path] {
      mgw::cache::file const in(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      auto const answer = r.run("import", {}, in.fd(), always, "a.mender");
      if (number_in(answer, "status") == 0)
        ++(flag_in(answer, "already") ? already : good);
      else if (has(text_in(answer, "error"), "being imported already"))
        ++busy;
    });
  for (auto& t : all) t.join();
  CHECK(good + already + busy == 3);
  CHECK(good >= 2);
  CHECK(r.store->used().objects == 2);
  CHECK_FALSE(filling->append("0123456789"));
  CHECK_FALSE(filling->commit(10));
  CHECK(r.store->used().objects == 3);
}

TEST_CASE("cache service: an artifact larger than the cache is refused with a sentence") {
  rig r(4096);
  auto const answer = r.import(r.file("a.mender", artifact_sample().all()));
  CHECK(error_of(answer) == "a.mender: not enough space in the cache");
  CHECK(r.store->used().bytes == 0);
}

TEST_CASE("cache service: what is exported is what was stored, into a file or through a pipe") {
  std::signal(SIGPIPE, SIG_IGN);  // as the gateway does
  rig r;
  std::string body(700'000, 'x');
  for (std::size_t i = 0; i < body.size(); i += 7) body[i] = static_cast<char>(i * 31);
  r.put('a', body, {{"artifact-name", "release-2"}});
  std::string const out = (r.directory.path() / "out").string();
  {
    mgw::cache::file const to(::open(out.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    auto const answer = r.run("export", {"release-2"}, to.fd());
    CHECK(number_in(answer, "status") == 0);
    CHECK(text_in(answer, "name") == "release-2");
  }
  CHECK((content_of(out) == body));

  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  std::string got;
  std::thread reader([&] {
    char block[30'000];
    for (;;) {
      ssize_t const n = ::read(ends[0], block, sizeof block);
      if (n == 0) return;
      if (n > 0) got.append(block, static_cast<std::size_t>(n));
      if (n < 0) std::this_thread::yield();
    }
  });
  CHECK(number_in(r.run("export", {"a"}, ends[1]), "status") == 0);
  ::close(ends[1]);
  reader.join();
  CHECK((got == body));
  ::close(ends[0]);

  SUBCASE("nobody reads") {
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    int waited = 0;
    auto const stuck = r.run("export", {"a"}, ends[1], [&](std::uint64_t, std::uint64_t total, std::string_view) {
      return total != 0 || ++waited < 2;
    });
    CHECK(has(error_of(stuck), "Operation canceled"));
    CHECK(waited == 2);
    ::close(ends[0]);
    CHECK(has(error_of(r.run("export", {"a"}, ends[1], always, "the pipe")), "the pipe: Broken pipe"));
    ::close(ends[1]);
  }
  SUBCASE("it is damaged") {
    std::fstream(r.object(body), std::ios::in | std::ios::out | std::ios::binary).seekp(1).put('y');
    mgw::cache::file const to(::open(out.c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC));
    auto const answer = r.run("export", {"a"}, to.fd());
    CHECK(number_in(answer, "status") == exit_status::bad);
    CHECK(has(text_in(answer, "error"), "it is damaged"));
  }
}

TEST_CASE("cache service: commands that are none, and those for another cache") {
  rig r;
  r.put('a', "one");
  CHECK(has(error_of(r.run("destroy")), "\"destroy\" with 0 objects is no command"));
  for (std::string const command : {"pin", "unpin", "remove", "export"})
    CHECK(has(error_of(r.run(command)), "is no command"));
  CHECK(has(error_of(r.run("export", {"a", "a"})), "is no command"));
  cache_request q;
  q.command = "list";
  q.cache = (r.directory.path() / "other").string();
  CHECK(has(error_of(r.service->run(q, -1, always)), "has its cache in " + r.cache.string() + ", not in "));
  std::filesystem::create_symlink(r.cache, q.cache);  // another name for the same
  CHECK(number_in(r.service->run(q, -1, always), "status") == 0);
}

}  // namespace gateway::cache_service_test
