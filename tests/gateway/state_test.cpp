#include "state.hpp"

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace gateway::state_test {
namespace {

namespace fs = std::filesystem;

gateway::settings at(fs::path const& path) {
  gateway::settings s;
  s.state_directory = path.string();
  return s;
}

std::size_t files_in(fs::path const& path) {
  std::size_t n = 0;
  for (auto const& e : fs::directory_iterator(path)) n += e.exists() ? 1 : 0;
  return n;
}

}  // namespace

TEST_CASE("a secret is made once, is private, and stays the same") {
  mgw::test::temporary_directory const dir;
  fs::path const state = dir.path() / "state";
  auto const first = gateway::link_secrets(at(state));
  REQUIRE(first.size() == 1);
  CHECK(first[0].size() >= mgw::mender::min_secret_size);
  CHECK(gateway::link_secrets(at(state)) == first);
  CHECK(files_in(state) == 1);
  CHECK((fs::status(state / "link-secret").permissions() & fs::perms::mask) ==
        (fs::perms::owner_read | fs::perms::owner_write));
}

TEST_CASE("what a start that was killed left of a secret does not keep the next one from starting") {
  mgw::test::temporary_directory const dir;
  std::ofstream(dir.path() / ("link-secret." + std::to_string(::getpid()))) << "half";
  auto const made = gateway::link_secrets(at(dir.path()));
  REQUIRE(made.size() == 1);
  CHECK(made[0].size() >= mgw::mender::min_secret_size);
  CHECK(files_in(dir.path()) == 1);
}

TEST_CASE("a secret that cannot be kept is refused with the place and the reason") {
  mgw::test::temporary_directory const dir;
  std::ofstream(dir.path() / "file") << "x";
  CHECK_THROWS_AS(gateway::link_secrets(at(dir.path() / "file")), gateway::config_error);
  std::ofstream(dir.path() / "link-secret") << "short";
  CHECK_THROWS_AS(gateway::link_secrets(at(dir.path())), gateway::config_error);
}

TEST_CASE("a secret has no place where nobody set one: one for this process alone, and one line says so") {
  mgw::test::temporary_directory const dir;
  std::ofstream(dir.path() / "file") << "x";
  auto s = at(dir.path() / "file" / "state");
  s.state_is_default = true;
  std::string said;
  auto const log = [&](mgw::log_level level, std::string_view line) {
    CHECK(level == mgw::log_level::error);
    (said += line) += '\n';
  };
  auto const secrets = gateway::link_secrets(s, log);
  REQUIRE(secrets.size() == 1);
  CHECK(secrets[0].size() >= mgw::mender::min_secret_size);
  CHECK(std::count(said.begin(), said.end(), '\n') == 1);
  for (char const* part :
       {"STATE_DIRECTORY (StateDirectory)", "file/state", "Not a directory", "ARTIFACTS_PROXY_CACHE_SECRET"})
    CHECK(said.find(part) != said.npos);
  CHECK(said.find("uid " + std::to_string(::geteuid())) != said.npos);
  s.state_is_default = false;
  CHECK_THROWS_AS(gateway::link_secrets(s, log), gateway::config_error);
  s.state_directory = dir.path().string();  // what is there and cannot be read is no place that is missing
  s.state_is_default = true;
  std::ofstream(dir.path() / "link-secret") << "short";
  CHECK_THROWS_AS(gateway::link_secrets(s, log), gateway::config_error);
}
}  // namespace gateway::state_test
