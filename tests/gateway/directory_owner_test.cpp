#include "control/directory_owner.hpp"

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>
#include <system_error>

namespace gateway::directory_owner_test {
namespace {

namespace fs = std::filesystem;
constexpr uid_t first = 61'001, second = 61'002;

struct tree {
  mgw::test::temporary_directory directory;
  fs::path const root = directory.path();

  tree() { fs::create_directories(root / "a" / "cache"); }
  void link(std::string const& to, std::string const& at) const { fs::create_symlink(to, root / at); }
  mgw::result<directory_owner> owner(std::string const& path) const {
    return owner_of_directory((root / path).string());
  }
  std::error_code refusal(std::string const& path) const {
    auto const o = owner(path);
    return o ? std::error_code{} : o.error();
  }
  void give(std::string const& path, uid_t user) const {
    REQUIRE(::lchown((root / path).c_str(), user, user + 10) == 0);
  }
};

}  // namespace

TEST_CASE("the owner of a directory, by any path that leads there") {
  tree const t;
  std::ofstream(t.root / "file") << "x";
  t.link("a", "relative");
  t.link((t.root / "a").string(), "absolute");
  t.link("../relative/cache", "a/up");
  t.link("file", "to-file");
  t.link("loop", "loop");
  for (std::string const path :
       {"a/cache", "a//cache/", "a/./cache/../cache", "relative/cache", "absolute/cache", "a/up"}) {
    CAPTURE(path);
    auto const o = t.owner(path);
    REQUIRE(o);
    CHECK(o->user == ::geteuid());
  }
  CHECK(t.refusal("missing") == std::errc::no_such_file_or_directory);
  CHECK(t.refusal("file") == std::errc::not_a_directory);
  CHECK(t.refusal("to-file") == std::errc::not_a_directory);
  CHECK(t.refusal("file/x") == std::errc::not_a_directory);
  CHECK(t.refusal("loop") == std::errc::too_many_symbolic_link_levels);
}

TEST_CASE("nobody leads root to another user's directory by a symbolic link" * doctest::skip(::geteuid() != 0)) {
  tree const t;
  t.give("a/cache", first);
  t.link("a/cache", "roots");
  t.link("a/cache", "owners");
  t.link("a/cache", "others");
  t.link("roots", "others-to-roots");
  t.link("owners", "others-to-owners");
  t.link("a", "others-above");
  t.give("owners", first);
  for (std::string const path : {"others", "others-to-roots", "others-to-owners", "others-above"}) t.give(path, second);
  for (std::string const path : {"a/cache", "roots", "owners"}) {
    CAPTURE(path);
    auto const o = t.owner(path);
    REQUIRE(o);
    CHECK(o->user == first);
    CHECK(o->group == first + 10);
  }
  for (std::string const path : {"others", "others-to-roots", "others-to-owners", "others-above/cache"}) {
    CAPTURE(path);
    CHECK(t.refusal(path) == std::errc::too_many_symbolic_link_levels);
  }
}

}  // namespace gateway::directory_owner_test
