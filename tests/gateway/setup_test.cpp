#include "commands/run_setup.hpp"

#include "config/environment.hpp"
#include "gateway/support.hpp"

#include <support/failing_files.hpp>
#include <support/temporary_directory.hpp>

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace gateway::setup_test {
namespace {

namespace fs = std::filesystem;
using test::has;
constexpr std::time_t now = 1'800'000'000;  // 2027-01-15

setup_request request(std::string const& out) {
  setup_request r;
  r.hosts = {"gateway.example", "192.0.2.7"};
  r.upstream = "https://hosted.mender.io";
  r.out = out;
  return r;
}
setup_request renewal(std::string const& out) {
  setup_request r;
  r.out = out;
  r.renew = true;
  return r;
}
std::string text(fs::path const& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}
/// Every file under it with what is in it; directories with nothing.
std::map<std::string, std::string> tree(fs::path const& root) {
  std::map<std::string, std::string> out;
  for (auto const& e : fs::recursive_directory_iterator(root))
    out[e.path().lexically_relative(root).string()] = e.is_directory() ? "" : text(e.path());
  return out;
}
unsigned mode(fs::path const& path) {
  struct stat s{};
  return ::stat(path.c_str(), &s) == 0 ? s.st_mode & 07777U : 0;
}
std::string refusal(setup_request const& r) {
  try {
    return "made: " + run_setup(r, now);
  } catch (config_error const& e) {
    return e.what();
  }
}
/// The variables in an environment file, as a shell reads them.
test::variables sourced(std::string const& file) {
  test::variables out;
  std::istringstream lines(file);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::string value = line.substr(line.find('=') + 1), plain;
    bool const in_quotes = value.starts_with('"');
    if (in_quotes) value = value.substr(1, value.size() - 2);
    for (std::size_t i = 0; i != value.size(); ++i) plain += value[in_quotes && value[i] == '\\' ? ++i : i];
    out.all[line.substr(0, line.find('='))] = plain;
  }
  return out;
}

}  // namespace

TEST_CASE("setup: makes everything, with keys for their owner alone") {
  mgw::test::temporary_directory const place;
  fs::path const out = place.path() / "gw";
  std::string const said = run_setup(request(out), now);
  std::vector<std::string> names;
  for (auto const& [name, content] : tree(place.path())) names.push_back(name);
  CHECK(names == std::vector<std::string>{"gw", "gw/ca.crt", "gw/ca.key", "gw/cache", "gw/compose.yaml", "gw/device",
                                          "gw/device/gateway-ca.crt", "gw/device/hosts", "gw/device/mender.conf",
                                          "gw/gateway.env", "gw/server.crt", "gw/server.key", "gw/state"});
  CHECK(mode(out / "ca.key") == 0600);
  CHECK(mode(out / "server.key") == 0600);
  CHECK(mode(out / "server.crt") == 0644);
  CHECK(mode(out) == 0755);
  CHECK(text(out / "device/gateway-ca.crt") == text(out / "ca.crt"));
  CHECK(
      text(out / "device/mender.conf") ==
      "{\n  \"ServerURL\": \"https://gateway.example\",\n  \"ServerCertificate\": \"/etc/mender/gateway-ca.crt\"\n}\n");
  CHECK(text(out / "device/hosts") == "192.0.2.7 gateway.example\n");
  auto const server = certificate_from_pem(text(out / "server.crt"));
  CHECK(hosts_of(server.get()) == std::vector<certificate_host>{{"gateway.example", false}, {"192.0.2.7", true}});
  CHECK(X509_check_private_key(server.get(), key_from_pem(text(out / "server.key")).get()) == 1);
  for (char const* step : {"\n1. ", "\n2. ", "\n3. ", "gateway.example, 192.0.2.7 that is good until 2029-04-19"}) {
    CAPTURE(said);
    CHECK(has(said, step));
  }
}

TEST_CASE("setup: the gateway reads its environment file as it was meant, whatever the directory is called") {
  mgw::test::temporary_directory const place;
  fs::path const out = place.path() / "a \"b\" $c `d` \\e";
  auto r = request(out);
  r.port = "8443";
  r.upstream = "https://mender.example/$a%20'b'";
  r.upstream_ca = place.path() / "up.crt";
  std::string const ca = to_pem(make_authority(now, 10).certificate.get());
  std::ofstream(r.upstream_ca) << ca;
  (void)run_setup(r, now);
  auto const c = test::from_environment(sourced(text(out / "gateway.env")));
  CHECK(test::all(c.errors) == "");
  CHECK(c.values.upstream.url == r.upstream);
  CHECK(text(c.values.upstream.ca_certificate) == ca);
  CHECK(c.values.https.enabled);
  CHECK(c.values.https.listen == ":8443");
  CHECK(text(c.values.https.certificate) == text(out / "server.crt"));
  CHECK(text(c.values.https.key) == text(out / "server.key"));
  CHECK(fs::is_directory(c.values.cache.path));
  CHECK(c.values.state_directory == (out / "state").string());
  // docker compose would put variables of its own in place of $a.
  std::string const compose = text(out / "compose.yaml");
  CHECK(has(compose, "UPSTREAM_SERVER_URL: \"https://mender.example/$$a%20'b'\"\n"));
  CHECK(has(compose, "- ./upstream-ca.crt:/etc/mender/certs/upstream-ca.crt:ro\n"));
  CHECK(has(compose, "ports: [\"8443:8443\", \"127.0.0.1:9103:9103\"]"));
  CHECK(has(compose, "ADMIN_LISTEN: \":9103\"\n"));
  struct stat owner{};
  REQUIRE(::stat((out / "state").c_str(), &owner) == 0);
  CHECK(has(compose, "user: \"" + std::to_string(owner.st_uid) + ':' + std::to_string(owner.st_gid) + '"'));
  for (char const* line : {"    read_only: true\n", "    cap_drop: [ALL]\n", "- ./cache:/var/cache/mender-gateway\n"})
    CHECK(has(compose, line));
  for (char const* name : {"cache", "server.key"}) {
    struct stat s{};
    REQUIRE(::stat((out / name).c_str(), &s) == 0);
    CHECK(s.st_uid == owner.st_uid);
  }
  CHECK(has(text(out / "device/mender.conf"), "\"https://gateway.example:8443\""));
}

TEST_CASE("setup: the status page of the compose file is the host's alone, at a port that devices do not have") {
  setup_request r = request("/tmp/none");
  for (std::string const port : {"443", "9104", "9103"}) {
    r.port = port;
    std::string const page = port == "9103" ? "9104" : "9103";
    CHECK(has(compose_file(plan_setup(r), 1, 1), "ports: [\"" + port + ":8443\", \"127.0.0.1:" + page + ":9103\"]"));
  }
}

TEST_CASE("setup: devices are told the first host, and get a hosts line where there is an address") {
  auto const plan = [](std::vector<std::string> const& hosts) {
    setup_request r = request("/tmp/none");
    r.hosts = hosts;
    return plan_setup(r);
  };
  CHECK(plan({"[2001:DB8::7]"}).url() == "https://[2001:db8::7]");
  CHECK(plan({"Gw.Example", "gw.example", "other"}).hosts.size() == 2);
  CHECK(hosts_line(plan({"gw.example", "192.0.2.7", "other", "192.0.2.8"})) == "192.0.2.7 gw.example other\n");
  CHECK(has(hosts_line(plan({"gw.example"})), "\n#ADDRESS gw.example\n"));
  CHECK(hosts_line(plan({"192.0.2.7"})).starts_with("# "));
  auto r = request("/tmp/none");
  r.device_ca = "/data/a\"b.crt";
  CHECK(boost::json::parse(device_configuration(plan_setup(r))).at("ServerCertificate").as_string() ==
        "/data/a\"b.crt");
}

TEST_CASE("setup: what cannot be is refused with option, value and what is accepted, and nothing is made") {
  mgw::test::temporary_directory const place;
  std::string const out = place.path() / "gw";
  std::ofstream(place.path() / "no.crt") << "x";
  auto const before = tree(place.path());
  struct {
    void (*change)(setup_request&);
    char const *option, *why;
  } const cases[] = {
      {[](auto& r) { r.hosts.clear(); }, "--host is not given", "accepted: a DNS name"},
      {[](auto& r) { r.hosts = {""}; }, "--host is \"\"", "accepted: a DNS name"},
      {[](auto& r) { r.hosts.push_back("gateway:443"); }, "--host is \"gateway:443\"", "without port"},
      {[](auto& r) { r.hosts = std::vector<std::string>(101, "gw"); }, "--host is given 101 times", "accepted: 100"},
      {[](auto& r) { r.upstream = ""; }, "--upstream is not given", "accepted: an http:// or https:// URL"},
      {[](auto& r) { r.upstream = "hosted.mender.io"; }, "--upstream is \"hosted.mender.io\"", "accepted: an http://"},
      {[](auto& r) { r.upstream = "https://a.example?b"; }, "--upstream is", "without query and fragment"},
      {[](auto& r) { r.upstream = "https://GATEWAY.example/x"; }, "--upstream is", "the gateway itself"},
      {[](auto& r) { r.upstream_ca = "/nowhere/ca.crt"; }, "--upstream-ca is \"/nowhere/ca.crt\"", "No such file"},
      {[](auto& r) { r.upstream_ca = fs::path(r.out).parent_path() / "no.crt"; }, "--upstream-ca is",
       "no certificate in it"},
      {[](auto& r) { r.out = ""; }, "--out is not given", "accepted: a directory"},
      {[](auto& r) { r.out += "\n"; }, "--out is", "accepted: a directory"},
      {[](auto& r) { r.out += "/further"; }, "--out is", "the directory above it is not there"},
      {[](auto& r) { r.out = fs::path(r.out).parent_path(); }, "--out is", "something already"},
      {[](auto& r) { r.out = fs::path(r.out).parent_path() / "no.crt"; }, "--out is", "something already"},
      {[](auto& r) { r.port = "0"; }, "--port is \"0\"", "accepted: 1 to 65535"},
      {[](auto& r) { r.port = "65536"; }, "--port is \"65536\"", "accepted: 1 to 65535"},
      {[](auto& r) { r.days = "0"; }, "--days is \"0\"", "accepted: 1 to 3650"},
      {[](auto& r) { r.days = "3651"; }, "--days is \"3651\"", "accepted: 1 to 3650"},
      {[](auto& r) { r.days = "2y"; }, "--days is \"2y\"", "accepted: 1 to 3650"},
      {[](auto& r) { r.device_ca = "ca.crt"; }, "--device-ca is \"ca.crt\"", "accepted: an absolute path"},
      {[](auto& r) { r.renew = true; }, "--upstream is", "accepted with it: --out"},
      {[](auto& r) { r = renewal(r.out); }, "--renew needs the CA's certificate", "No such file"},
  };
  for (auto const& c : cases) {
    auto r = request(out);
    c.change(r);
    std::string const said = refusal(r);
    CAPTURE(said);
    CHECK(said.starts_with(c.option));
    CHECK(has(said, c.why));
  }
  CHECK_THROWS_AS((void)run_setup(request(out), 1'000'000), config_error);  // a clock in 1970
  CHECK(tree(place.path()) == before);
}

TEST_CASE("setup: an empty directory is taken, and what was made is not overwritten") {
  mgw::test::temporary_directory const place;
  fs::create_directory(place.path() / "gw");
  (void)run_setup(request(place.path() / "gw/"), now);
  auto const made = tree(place.path());
  CHECK(made.contains("gw/server.crt"));
  CHECK(has(refusal(request(place.path() / "gw")), "--renew makes a new server certificate"));
  CHECK(tree(place.path()) == made);
}

TEST_CASE(
    "setup: renewal makes a new certificate by the same CA for the same key and hosts, and changes nothing else") {
  mgw::test::temporary_directory const place;
  fs::path const out = place.path() / "gw";
  (void)run_setup(request(out), now);
  auto const before = tree(place.path());
  constexpr std::time_t later = now + 800 * 86'400;
  CHECK(has(run_setup(renewal(out), later), "anew for gateway.example, 192.0.2.7, good until 2031-06-28"));
  auto after = tree(place.path());
  auto const server = certificate_from_pem(after["gw/server.crt"]);
  CHECK(after["gw/server.crt"] != before.at("gw/server.crt"));
  after["gw/server.crt"] = before.at("gw/server.crt");
  CHECK(after == before);
  auto const ca = certificate_from_pem(before.at("gw/ca.crt"));
  CHECK(X509_verify(server.get(), X509_get0_pubkey(ca.get())) == 1);
  CHECK(X509_check_private_key(server.get(), key_from_pem(before.at("gw/server.key")).get()) == 1);

  auto other = renewal(out);
  other.hosts = {"new.example"};
  (void)run_setup(other, later);
  CHECK(hosts_of(certificate_from_pem(text(out / "server.crt")).get()) ==
        std::vector<certificate_host>{{"new.example", false}});
}

TEST_CASE("setup: renewal makes a new key where there is none, and refuses a CA that is no good") {
  mgw::test::temporary_directory const place;
  fs::path const out = place.path() / "gw";
  (void)run_setup(request(out), now);
  std::string const old_key = text(out / "server.key");
  fs::remove(out / "server.key");
  bool const root = ::geteuid() == 0;
  if (root) REQUIRE(::chown((out / "state").c_str(), 4711, 4712) == 0);  // as for a gateway that runs as this user
  (void)run_setup(renewal(out), now);
  struct stat key{};
  REQUIRE(::stat((out / "server.key").c_str(), &key) == 0);
  CHECK(key.st_uid == (root ? 4711 : ::geteuid()));
  CHECK(key.st_gid == (root ? 4712 : ::getegid()));
  CHECK(text(out / "server.key") != old_key);
  CHECK(mode(out / "server.key") == 0600);
  CHECK(X509_check_private_key(certificate_from_pem(text(out / "server.crt")).get(),
                               key_from_pem(text(out / "server.key")).get()) == 1);

  auto const made = tree(place.path());
  auto const refused_with = [&](char const* name, std::string const& content) {
    std::string const good = text(out / name);
    std::ofstream(out / name, std::ios::trunc) << content;
    std::string const said = refusal(renewal(out));
    std::ofstream(out / name, std::ios::trunc) << good;
    return said;
  };
  CHECK(has(refused_with("ca.key", to_pem(make_key().get())), "ca.key\" is not the key of"));
  CHECK(has(refused_with("ca.key", "x"), "ca.key\": no key"));
  CHECK(has(refused_with("ca.crt", made.at("gw/server.crt")), "ca.crt\" is no CA's certificate"));
  CHECK(has(refused_with("server.key", "x"), "server.key\": no key"));
  CHECK(has(refused_with("server.crt", "x"), "server.crt\": no certificate"));
  CHECK(has(refused_with("server.crt", made.at("gw/ca.crt")), "--host is not given"));
  CHECK_THROWS_WITH_AS((void)run_setup(renewal(out), now + 7400 * std::time_t{86'400}),
                       doctest::Contains("ca.crt\" ended on 2047-01-15"), config_error);
  CHECK(tree(place.path()) == made);
}

TEST_CASE("setup: whatever fails, all is made or nothing is left") {
  mgw::test::temporary_directory const place;
  fs::path const out = place.path() / "gw";
  mgw::test::failing_files disk;
  for (bool const all_after : {false, true})
    for (std::size_t n = 0;; ++n) {
      CAPTURE(n);
      REQUIRE(n < 200);
      disk.fail_at(n, ENOSPC, all_after);
      try {
        (void)run_setup(request(out), now, disk);
        CHECK(n == disk.seen());  // it was never reached
        fs::remove_all(out);
        break;
      } catch (std::system_error const& e) {
        CHECK(e.code() == std::errc::no_space_on_device);
        CHECK(has(e.what(), place.path().string()));
        CHECK(fs::is_empty(place.path()));
      }
    }

  disk.heal();
  (void)run_setup(request(out), now, disk);
  auto const before = tree(place.path());
  for (std::size_t n = 0;; ++n) {
    CAPTURE(n);
    REQUIRE(n < 200);
    disk.fail_at(n, EIO, true);
    try {
      (void)run_setup(renewal(out), now, disk);
      CHECK(n == disk.seen());
      break;
    } catch (std::runtime_error const&) {  // a file that cannot be read is named with its owner and mode
      CHECK(tree(place.path()) == before);
    }
  }
}

}  // namespace gateway::setup_test
