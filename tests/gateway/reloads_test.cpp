#include "lifecycle/reloads.hpp"
// The header under test comes first.
#include "lifecycle/certificate_ends.hpp"
#include "lifecycle/configuration_reload.hpp"
#include "lifecycle/server_certificate.hpp"
#include "lifecycle/watched_files.hpp"

#include "gateway/support.hpp"

#include <mgw/net/worker_pool.hpp>

#include <support/temporary_directory.hpp>
#include <support/test_certificates.hpp>

#include <doctest/doctest.h>
#include <openssl/ssl.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace gateway::reloads_test {
namespace {

using test::has;

void write(std::filesystem::path const& file, std::string_view text) {
  std::filesystem::path const next = file.string() + ".next";
  std::ofstream(next) << text;
  std::filesystem::rename(next, file);
}

/// What has happened so far, from any thread.
class events {
public:
  void add(std::string what) {
    std::lock_guard const lock(mutex_);
    all_.push_back(std::move(what));
    more_.notify_all();
  }
  /// Waits for so many; all that there are then.
  std::vector<std::string> at_least(std::size_t n) {
    std::unique_lock lock(mutex_);
    more_.wait(lock, [&] { return all_.size() >= n; });
    return all_;
  }
  mgw::log_sink sink() {
    return [this](mgw::log_level level, std::string_view text) {
      add((level == mgw::log_level::error  ? "error: "
           : level == mgw::log_level::warn ? "warn: "
                                           : "info: ") +
          std::string(text));
    };
  }

private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<std::string> all_;
};

constexpr std::chrono::hours never{24};

}  // namespace

TEST_CASE("a file that was replaced is seen once, when it has stayed the same for two looks") {
  mgw::test::temporary_directory const here;
  auto const file = here.path() / "file", link = here.path() / "link";
  write(file, "one");
  std::filesystem::create_symlink(file, link);
  watched_files w({link.string(), "", (here.path() / "missing").string()});
  CHECK_FALSE(w.changed());
  write(file, "two");
  CHECK_FALSE(w.changed());
  CHECK(w.changed());
  CHECK_FALSE(w.changed());
  write(here.path() / "other", "two");
  std::filesystem::remove(link);
  std::filesystem::create_symlink(here.path() / "other", link);
  CHECK_FALSE(w.changed());
  CHECK(w.changed());
  std::filesystem::permissions(here.path() / "other", std::filesystem::perms::owner_read);
  CHECK_FALSE(w.changed());
  CHECK(w.changed());
  write(here.path() / "missing", "");
  CHECK_FALSE(w.changed());
  CHECK(w.changed());
  write(file, "known");
  w.accept();
  CHECK_FALSE(w.changed());
  CHECK_FALSE(w.changed());
}

TEST_CASE("a signal reads everything anew, in order, and what fails keeps nothing else from it") {
  events seen;
  mgw::net::worker_pool workers(1);
  reloads r(seen.sink(), never);
  r.add([] { throw std::runtime_error("no such thing"); });
  r.add(watched_files({"/nonexistent"}), [&] { seen.add("read"); });
  r.announce([&] { seen.add("begin"); }, [&] { seen.add("end"); });
  r.watch(workers);
  std::thread runs([&] { workers.run(); });
  std::vector<std::string> const once = {"begin", "error: not read anew: no such thing", "read", "end"};
  std::raise(SIGHUP);
  CHECK(seen.at_least(4) == once);
  std::raise(SIGHUP);
  CHECK(seen.at_least(8).size() == 8);
  workers.stop();
  runs.join();
  CHECK(r.close_for(std::chrono::hours(1)));
  std::raise(SIGHUP);  // ignored from here on
  std::signal(SIGHUP, SIG_DFL);
}

TEST_CASE("a change of a file reads that one anew, without a signal") {
  events seen;
  mgw::test::temporary_directory const here;
  mgw::net::worker_pool workers(1);
  reloads r(seen.sink(), std::chrono::milliseconds(1));
  r.add([&] { seen.add("not asked for"); });
  r.add(watched_files({(here.path() / "a").string()}), [&] { seen.add("a"); });
  r.add(watched_files({(here.path() / "b").string()}), [&] { seen.add("b"); });
  r.watch(workers);
  write(here.path() / "b", "1");
  CHECK(seen.at_least(1) == std::vector<std::string>{"b"});
  write(here.path() / "a", "1");
  CHECK(seen.at_least(2) == std::vector<std::string>{"b", "a"});
  CHECK(r.close_for(std::chrono::hours(1)));
  std::signal(SIGHUP, SIG_DFL);
}

TEST_CASE("a new server certificate is shown, one that does not fit its key is not, and both are told") {
  mgw::test::test_certificates made;
  auto const other = made.issue("other", mgw::test::test_certificates::request("other", "DNS:other"));
  mgw::test::temporary_directory const here;
  settings s;
  s.https.certificate = (here.path() / "server.crt").string();
  s.https.key = (here.path() / "server.key").string();
  auto const install = [&](std::string const& certificate, std::string const& key) {
    for (auto const& [from, to] : {std::pair(certificate, s.https.certificate), std::pair(key, s.https.key)})
      std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  };
  install(made.server.certificate, made.server.key);
  events seen, told;
  mgw::net::worker_pool workers(1);
  reloads r(seen.sink(), never);
  server_certificate c(s, nullptr, seen.sink());
  CHECK(SSL_CTX_get0_certificate(c.context().native()) != nullptr);
  std::vector<std::string> names;
  c.watch(
      r,
      [&](mgw::net::tls_context const& next) {
        char name[64];
        X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_CTX_get0_certificate(next.native())), NID_commonName, name,
                                  sizeof name);
        names.emplace_back(name);
      },
      [&](std::string_view trouble, std::string_view) { told.add(std::string(trouble)); });
  r.watch(workers);

  install(other.certificate, other.key);
  r.ask();
  CHECK(told.at_least(1).back().empty());
  install(other.certificate, made.server.key);
  r.ask();
  CHECK(has(told.at_least(2).back(), "a mismatch, the key is not that of the certificate"));
  std::filesystem::remove(s.https.key);
  r.ask();
  CHECK(has(told.at_least(3).back(), "HTTPS_SERVER_KEY (HTTPS.ServerKey) is \"" + s.https.key + "\": "));
  install(made.expired_server.certificate, made.expired_server.key);
  r.ask();
  CHECK(told.at_least(4).back().empty());
  CHECK(r.close_for(std::chrono::hours(1)));
  std::signal(SIGHUP, SIG_DFL);

  CHECK(names == std::vector<std::string>{"other", "localhost"});
  std::string const log = test::all(seen.at_least(0));
  CHECK(has(log, "info: the server certificate was read anew: HTTPS_SERVER_CERTIFICATE"));
  CHECK(has(log, "error: the server certificate stays the one of before: "));
  CHECK(has(log, "warn: "));
  CHECK(has(log, "it has expired on "));
}

TEST_CASE("the end of a certificate is that of the file that was read last, and stays if none can be read") {
  mgw::test::test_certificates made;
  certificate_ends ends;
  ends.note("server", "");
  CHECK(ends.all().empty());
  ends.note("server", made.expired_server.certificate);
  ends.note("client_ca", made.ca_file);
  auto const before = ends.all();
  REQUIRE(before.size() == 2);
  ends.note("server", made.server.certificate);
  ends.note("server", "/nonexistent");
  auto const after = ends.all();
  REQUIRE(after.size() == 2);
  CHECK(after[0].first == "server");
  CHECK(after[0].second > before[0].second);
  CHECK(after[1] == before[1]);
}

TEST_CASE("a configuration that is read anew gives its log level, and the keys that need a restart are named") {
  std::string text = R"({"HTTPS": {"Listen": ":443"}, "Workers": 2, "Log": {"Level": "info"}})";
  events seen;
  std::vector<std::string> levels{"info"};
  configuration_reload::outcome done;
  configuration_reload::options o;
  o.read = [&] { return test::from_text(text); };
  o.set_level = [&](std::string const& level) {
    bool const other = levels.back() != level;
    levels.push_back(level);
    return other;
  };
  o.log = seen.sink();
  o.told = [&](configuration_reload::outcome const& what) { done = what; };
  configuration_reload const again(test::from_text(text).values, o);
  again();
  CHECK((done.trouble.empty() && done.log_level.empty() && done.restart.empty()));
  CHECK(seen.at_least(1) == std::vector<std::string>{"info: the configuration was read anew"});
  text = R"({"HTTPS": {"Listen": ":8443"}, "Workers": 3, "Log": {"Level": "debug"}})";
  again();
  CHECK(done.log_level == "debug");
  CHECK(done.restart == std::vector<std::string>{"HTTPS.Listen", "Workers"});
  CHECK(seen.at_least(3).back() == "warn: changed, and needs a restart: HTTPS.Listen, Workers");
  CHECK(levels == std::vector<std::string>{"info", "info", "debug"});
  text = R"({"Workers": 4, "Log": {"Level": "loud"}})";
  again();
  CHECK(has(done.trouble, "Log.Level"));
  CHECK((done.log_level.empty() && done.restart.empty()));
  CHECK(has(seen.at_least(4).back(), "error: the configuration stays the one of before: "));
  CHECK(levels.size() == 3);
}

}  // namespace gateway::reloads_test
