#include "doctor/listening.hpp"

#include "doctor/device_view.hpp"
#include "doctor/directories.hpp"
#include "gateway/support.hpp"

#include <support/blocking_tls.hpp>
#include <support/scripted_server.hpp>
#include <support/temporary_directory.hpp>
#include <support/test_pki.hpp>

#include <doctest/doctest.h>

#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

namespace gateway::doctor::doctor_local_test {
namespace {

using gateway::test::has;
namespace pki = mgw::test::pki;
using mgw::test::blocking_socket;
using mgw::test::scripted_server;
using mgw::test::temporary_directory;

constexpr milliseconds soon{20'000};  // nothing here comes near it

unix_seconds now() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

std::string http(int status, std::string const& body = {}) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\n" +
         (status == 204 ? std::string("\r\n") : "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
}

/// What a gateway says of itself, or another program to everything.
std::string gateway_says(std::string const& head, std::string const& health) {
  if (has(head, "/gateway/alive ")) return http(204);
  if (has(head, "/gateway/health ")) return http(has(health, "true") ? 200 : 503, health);
  return http(404);
}

/// A CA, and a server's certificate of it in files.
struct files {
  explicit files(char const* names = "DNS:gw.example,IP:127.0.0.1", pki::shape shape = pki::shape("gw"),
                 bool with_intermediate = false)
      : ca(pki::make_ca("root")) {
    pki::identity const middle = pki::make_ca("middle", &ca);
    pki::identity const& by = with_intermediate ? middle : ca;
    pki::identity const one = pki::issue(&by, shape);
    pki::extend(one.certificate.get(), NID_subject_alt_name, names);
    pki::check(X509_sign(one.certificate.get(), by.key.get(), EVP_sha256()) != 0);
    pki::write_text(path("ca"), pki::pem_of(ca));
    pki::write_text(path("cert"), pki::pem_of(one));
    pki::write_text(path("chain"), pki::pem_of(one) + pki::pem_of(middle));
    pki::write_text(path("turned"), pki::pem_of(one) + pki::pem_of(ca) + pki::pem_of(middle));
    pki::write_text(path("key"), pki::key_pem_of(one));
  }
  std::string path(char const* name) const { return (directory.path() / name).string(); }
  temporary_directory directory;
  pki::identity ca;
};

findings view(files const& f, char const* chain, std::string const& host, bool with_ca = true) {
  return judge_certificate(read_chain(f.path(chain)), {with_ca ? f.path("ca") : std::string(), host}, now());
}

}  // namespace

TEST_CASE("doctor: a port that nobody has is free, and one that another program has is a problem") {
  finding const any = check_port({"http port", "HTTP_LISTEN", "127.0.0.1:0"}, false, soon);
  CHECK(any.how == level::ok);
  scripted_server const other([](blocking_socket& c) {
    std::string unread;
    if (!scripted_server::read_head(c, unread).empty()) c.send(http(404));
  });
  std::string const at = "127.0.0.1:" + std::to_string(other.port());
  finding const taken = check_port({"http port", "HTTP_LISTEN", at}, false, soon);
  CHECK(taken.how == level::problem);
  CHECK(has(taken.found, "another program"));
  CHECK(has(taken.advice, "ss -ltnp"));
  CHECK(check_port({"http port", "HTTP_LISTEN", "nowhere"}, false, soon).how == level::problem);
}

TEST_CASE("doctor: of the addresses of metrics and of the status page a gateway is told from another program") {
  scripted_server const there([](blocking_socket& c) {
    std::string unread;
    bool const page = has(scripted_server::read_head(c, unread), "GET /status.json ");
    c.send(page ? http(200, R"({"version":"1"})") : http(404));
  });
  settings s;
  s.admin.listen = s.metrics.listen = "127.0.0.1:" + std::to_string(there.port());
  CHECK(check_ports(s, soon).front().how == level::ok);
  s.metrics.enabled = true;
  auto const found = check_ports(s, soon);
  REQUIRE(found.size() == 2);
  CHECK(found[0].check == "metrics port");
  CHECK(found[0].how == level::problem);
  CHECK(has(found[0].advice, "METRICS_LISTEN"));
  CHECK(has(found[1].found, "a gateway runs there"));
  s.metrics.listen = "127.0.0.1:0";
  CHECK(check_ports(s, soon)[0].how == level::ok);
  s.admin.listen = "nowhere";
  CHECK(check_ports(s, soon)[1].how == level::problem);
  s.admin.enabled = s.metrics.enabled = false;
  CHECK(check_ports(s, soon).empty());
}

TEST_CASE("doctor: without its page the gateway starts, unless somebody has set the address") {
  scripted_server const other([](blocking_socket& c) {
    std::string unread;
    if (!scripted_server::read_head(c, unread).empty()) c.send(http(404));
  });
  settings s;
  s.admin.listen = "127.0.0.1:" + std::to_string(other.port());
  for (bool const by_default : {true, false}) {
    s.admin.listen_is_default = by_default;
    auto const found = check_ports(s, soon);
    REQUIRE(found.size() == 1);
    CHECK(found[0].how == (by_default ? level::warning : level::problem));
    CHECK(has(found[0].found, "another program"));
    CHECK(has(found[0].advice, "ADMIN_LISTEN"));
  }
}

TEST_CASE("doctor: the audit log's file and its directory") {
  temporary_directory const d;
  std::string const here = d.path().string(), file = here + "/log";
  auto const look = [&](std::string const& path) {
    settings s;
    s.state_directory = here;
    s.audit.path = path;
    for (finding const& f : check_directories(s, soon))
      if (f.check == "audit log") return f;
    return finding(level::problem, "nothing", "");
  };
  CHECK(look("").check == "nothing");
  CHECK(look(here + "/not/there/log").how == level::ok);
  CHECK(look(file).how == level::ok);
  CHECK(has(look(file).found, "not there yet"));
  CHECK_FALSE(std::filesystem::exists(file));
  std::ofstream(file) << "x";
  CHECK(look(file).how == level::ok);
  CHECK(has(look(file).found, "can be written to"));
  CHECK(std::filesystem::file_size(file) == 1);
  finding const below = look(file + "/log");
  CHECK(below.how == level::problem);
  CHECK(has(below.advice, "AUDIT_PATH (Audit.Path)"));
  CHECK(look(here).how == level::problem);
  CHECK(has(look(here).found, "is no file"));
}

TEST_CASE("doctor: an address that this machine does not have is explained") {
  finding const f = check_port({"http port", "HTTP_LISTEN", "192.0.2.1:0"}, false, soon);
  CHECK(f.how == level::problem);
  CHECK(has(f.advice, "no interface of this machine has this address"));
}

TEST_CASE("doctor: a port that only root may have is explained") {
  finding const f = judge_no_listener({"https port", "HTTPS_LISTEN", ":443"}, mgw::net::system_error(EACCES), 443, 1024);
  CHECK(f.how == level::problem);
  CHECK(has(f.found, ":443 cannot be listened on"));
  CHECK(has(f.advice, "CAP_NET_BIND_SERVICE"));
  CHECK(has(f.advice, "HTTPS_LISTEN"));
}

TEST_CASE("doctor: a gateway that has the port says how it is") {
  for (bool const ready : {true, false}) {
    std::string const health = ready ? "{\"ready\":true}" : "{\"ready\":false,\"reasons\":[\"upstream: tcp: no\"]}";
    scripted_server const running([health](blocking_socket& c) {
      std::string unread;
      for (;;) {
        std::string const head = scripted_server::read_head(c, unread);
        if (head.empty() || !c.send(gateway_says(head, health))) return;
      }
    });
    finding const f =
        check_port({"http port", "HTTP_LISTEN", "127.0.0.1:" + std::to_string(running.port())}, false, soon);
    CHECK(f.how == (ready ? level::ok : level::warning));
    CHECK(has(f.found, ready ? "is ready" : "upstream: tcp: no"));
  }
}

TEST_CASE("doctor: a running gateway with another certificate than the file has is told to read it anew") {
  files const shown, written;
  scripted_server const running([&shown](blocking_socket& c) {
    try {
      mgw::test::blocking_tls tls(std::move(c), shown.path("cert"), shown.path("key"));
      std::string in;
      while (tls.receive(in))
        if (has(in, "\r\n\r\n") && tls.send(gateway_says(in, "{\"ready\":true}"))) in.clear();
    } catch (std::runtime_error const&) {
    }
  });
  std::string const at = "127.0.0.1:" + std::to_string(running.port());
  CHECK(check_port({"https port", "HTTPS_LISTEN", at, shown.path("cert")}, false, soon).how == level::ok);
  finding const old = check_port({"https port", "HTTPS_LISTEN", at, written.path("cert")}, false, soon);
  CHECK(old.how == level::warning);
  CHECK(has(old.advice, "kill -HUP"));
}

TEST_CASE("doctor: a gateway that wants clients' certificates is known by its own") {
  files const own, other;
  scripted_server const running([&own](blocking_socket& c) {
    try {
      mgw::test::blocking_tls tls(std::move(c), own.path("cert"), own.path("key"));  // and then it closes
    } catch (std::runtime_error const&) {
    }
  });
  std::string const at = "127.0.0.1:" + std::to_string(running.port());
  CHECK(check_port({"https port", "HTTPS_LISTEN", at, own.path("cert")}, true, soon).how == level::ok);
  CHECK(check_port({"https port", "HTTPS_LISTEN", at, own.path("cert")}, false, soon).how == level::problem);
  CHECK(check_port({"https port", "HTTPS_LISTEN", at, other.path("cert")}, true, soon).how == level::problem);
}

TEST_CASE("doctor: a device's view of the certificate: dates, names and chain") {
  files const good;
  auto const all = view(good, "cert", "gw.example");
  REQUIRE(all.size() == 3);
  for (auto const& f : all) CHECK_MESSAGE(f.how == level::ok, f.check, ": ", f.found);
  finding const name = view(good, "cert", "other.example")[1];
  CHECK(name.how == level::problem);
  CHECK(has(name.found, "DNS:gw.example"));
  CHECK(view(good, "cert", "127.0.0.1")[1].how == level::ok);
  CHECK(view(good, "cert", "")[1].how == level::warning);
  finding const system = view(good, "cert", "gw.example", false)[2];
  CHECK(system.how == level::warning);
  CHECK(has(system.advice, "--ca"));
  files const another;
  auto const wrong = judge_certificate(read_chain(good.path("cert")), {another.path("ca"), "gw.example"}, now());
  CHECK(wrong[2].how == level::problem);
  auto const none = judge_certificate(read_chain(good.path("cert")), {good.path("nothing"), "gw.example"}, now());
  CHECK(none[2].how == level::problem);
  CHECK(view(good, "key", "gw.example").front().how == level::problem);
}

TEST_CASE("doctor: intermediate certificates must be in the file, each behind the one that it has issued") {
  files const f("DNS:gw.example", pki::shape("gw"), true);
  auto const without = view(f, "cert", "gw.example");
  REQUIRE(without.size() == 3);
  CHECK(without[2].how == level::problem);
  CHECK(has(without[2].advice, "intermediate"));
  CHECK(view(f, "chain", "gw.example")[2].how == level::ok);
  auto const turned = view(f, "turned", "gw.example");
  REQUIRE(turned.size() == 4);
  CHECK(turned[2].how == level::ok);
  CHECK(turned[3].how == level::warning);
}

TEST_CASE("doctor: a certificate that has ended, ends soon, or has not begun is told by its dates") {
  struct row {
    int from, to;
    level how;
  };
  for (auto const& r : {row{-20, -1, level::problem},
                        {1, 20, level::problem},
                        {-300, 3, level::warning},
                        {-300, 20, level::warning},  // as a start says, too
                        {-300, 40, level::ok}}) {
    CAPTURE(r.to);
    pki::shape s("gw");
    s.from_days = r.from;
    s.to_days = r.to;
    CHECK(view(files("DNS:gw.example", s), "cert", "gw.example").front().how == r.how);
  }
}

TEST_CASE("doctor: a directory can be written to, or can be made, or something is in its place") {
  temporary_directory const d;
  auto const look = [](std::filesystem::path const& p) {
    return check_directory(p.string(), "cache directory", "KEY");
  };
  CHECK(look(d.path()).how == level::ok);
  CHECK(std::filesystem::is_empty(d.path()));
  finding const to_make = look(d.path() / "a" / "b");
  CHECK(to_make.how == level::ok);
  CHECK(has(to_make.found, "not there yet"));
  CHECK(std::filesystem::is_empty(d.path()));
  std::ofstream(d.path() / "file") << "x";
  for (auto const& p : {d.path() / "file", d.path() / "file" / "below"}) {
    finding const f = look(p);
    CHECK(f.how == level::problem);
    CHECK(has(f.advice, "KEY"));
  }
}

TEST_CASE("doctor: free space is held against the cache's limits") {
  constexpr std::uint64_t gib = std::uint64_t{1} << 30;
  struct row {
    std::uint64_t available, used, max_size, min_free;
    level how;
    char const* part;
  };
  for (auto const& r : std::vector<row>{
           {50 * gib, 0, 0, 0, level::ok, "room for 45 GiB"},  // 5 % of 100 GiB stay free
           {50 * gib, 10 * gib, 20 * gib, gib, level::ok, "room for 20 GiB"},
           {50 * gib, 0, 60 * gib, gib, level::warning, "smaller"},
           {5 * gib, 0, 0, 0, level::problem, "nothing can be kept"},
           {5 * gib, gib, 0, 20 * gib, level::problem, "nothing can be kept"},  // nor what is kept now
           {5 * gib, 3 * gib, 0, 0, level::ok, "room for 3.0 GiB"},
           {6 * gib - 1, 0, 0, 0, level::warning, "larger artifacts"},
           {6 * gib, 0, 0, 0, level::ok, "room for 1.0 GiB"},
           {50 * gib, 0, gib - 1, 0, level::warning, "MAX_SIZE higher"},
       }) {
    finding const f = judge_space(100 * gib, r.available, r.used, r.max_size, r.min_free);
    CAPTURE(f.found);
    CHECK(f.how == r.how);
    CHECK(has(f.found + f.advice, r.part));
  }
}

TEST_CASE("doctor: a disk that hangs costs its time limit") {
  auto const over = std::make_shared<std::promise<void>>();
  auto const hangs = over->get_future().share();
  auto const got = with_limit(milliseconds(1), "cache directory", "/mnt", [hangs] {
    hangs.wait();
    return findings{};
  });
  REQUIRE(got.size() == 1);
  CHECK(got[0].how == level::problem);
  CHECK(has(got[0].found, "does not answer"));
  over->set_value();
  CHECK(with_limit(soon, "c", "/", [] { return findings{finding(level::ok, "c", "f")}; }).front().how == level::ok);
  CHECK(with_limit(soon, "c", "/", []() -> findings { throw std::runtime_error("no"); }).front().how == level::problem);
}

}  // namespace gateway::doctor::doctor_local_test
