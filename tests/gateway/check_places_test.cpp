#include "commands/check_places.hpp"

#include "gateway/support.hpp"
#include "support/temporary_directory.hpp"

#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <ostream>
#include <string>

namespace gateway::check_places_test {

using test::all;
using test::from_environment;
using test::has;

namespace {

/// A file system of this size.
struct sized : mgw::cache::file_ops {
  mgw::cache::file_system_space has;
  mgw::result<mgw::cache::file_system_space> space(std::string const&) override { return has; }
};
constexpr std::uint64_t gib = 1u << 30;

}  // namespace

TEST_CASE("a check tells of each directory whether it can be used, and makes none") {
  mgw::test::temporary_directory const d;
  std::string const here = d.path().string(), file = here + "/file", missing = here + "/not/there";
  std::ofstream(file) << "x";
  auto const checked = [&](std::string const& state, std::string const& cache) {
    auto c = from_environment({{{"STATE_DIRECTORY", state}, {"ARTIFACTS_PROXY_CACHE_PATH", cache}}});
    check_places(c);
    return c;
  };
  auto const good = checked(here, missing);
  CHECK(all(good.errors) == "");
  CHECK(has(all(good.notes), "STATE_DIRECTORY (StateDirectory) is \"" + here + "\": uid "));
  CHECK(has(all(good.notes), "ARTIFACTS_PROXY_CACHE_PATH (Features.ArtifactsProxy.ArtifactsCache.Path) is \"" +
                                 missing + "\": it is not there"));
  CHECK(!std::filesystem::exists(here + "/not"));
  auto const bad = checked(file, file + "/x");
  CHECK(has(all(bad.errors),
            "STATE_DIRECTORY (StateDirectory) is \"" + file + "\": Not a directory; it belongs to uid "));
  CHECK(has(all(bad.errors), "cannot be made in " + file + ": Not a directory"));
  CHECK(all(bad.notes) == "");
  CHECK(::access(file.c_str(), F_OK) == 0);
}

TEST_CASE("a check tells whether the audit log can be written, and what follows if not") {
  mgw::test::temporary_directory const d;
  std::string const here = d.path().string(), file = here + "/file", log = here + "/log";
  std::ofstream(file) << "x";
  auto const checked = [&](std::string const& path, char const* on_failure = "warn", char const* proxy = "false") {
    auto c = from_environment({{{"STATE_DIRECTORY", here},
                                {"ARTIFACTS_PROXY_ENABLED", proxy},
                                {"AUDIT_PATH", path},
                                {"AUDIT_ON_FAILURE", on_failure}}});
    check_places(c);
    return c;
  };
  CHECK(checked("").notes.empty());
  for (std::string const& path : {log, file, here + "/not/there/log"}) {
    CAPTURE(path);
    auto const good = checked(path);
    CHECK(all(good.errors) + all(good.warnings) == "");
    CHECK(has(all(good.notes),
              "AUDIT_PATH (Audit.Path) is \"" + path + (path == file ? "\": uid " : "\": it is not there")));
    CHECK(has(all(good.notes), "STATE_DIRECTORY (StateDirectory) is \""));  // the log's key is there
  }
  CHECK_FALSE(std::filesystem::exists(log));
  for (std::string const& path : {file + "/log", here}) {
    CAPTURE(path);
    auto const warned = checked(path);
    CHECK(all(warned.errors) == "");
    REQUIRE(warned.warnings.size() == 1);
    CHECK(has(warned.warnings.front(), "AUDIT_PATH (Audit.Path) is \"" + path + "\": "));
    CHECK(warned.warnings.front().ends_with(", or nothing is recorded"));
    auto const refused = checked(path, "refuse");
    CHECK(refused.errors.size() == 1);
    CHECK(refused.warnings.empty());
  }
  std::ofstream(here + "/audit-key") << "no key";
  CHECK(has(all(checked(log).errors), "its key, " + here + "/audit-key: "));
}

TEST_CASE("directories that nobody set are no errors: a start goes on without them, and it is said what that costs") {
  mgw::test::temporary_directory const d;
  std::string const file = (d.path() / "file").string();
  std::ofstream(file) << "x";
  auto const checked = [&](bool by_default, bool mtls) {
    configuration c;
    c.values.cache.path = c.values.state_directory = file + "/x";
    c.settle();
    CHECK(c.values.cache.path_is_default);
    CHECK(c.values.state_is_default);
    c.values.cache.path_is_default = c.values.state_is_default = by_default;
    c.values.mtls.enabled = mtls;
    check_places(c);
    return c;
  };
  auto const by_default = checked(true, false);
  CHECK(all(by_default.errors) == "");
  CHECK(has(all(by_default.warnings), "or links to artifacts end with each process"));
  CHECK(has(all(by_default.warnings), "or no artifact is kept"));
  CHECK(checked(false, false).errors.size() == 2);
  auto const bound = checked(true, true);
  CHECK(all(bound.errors) == "");
  CHECK(has(all(bound.warnings), "or which certificate is which device's is forgotten with each process"));
  CHECK(checked(false, true).errors.size() == 2);
}

TEST_CASE("a check compares the free space with the cache's limits") {
  mgw::test::temporary_directory const d;
  struct row {
    std::uint64_t total, available;
    char const *max_size, *min_free;
    char const* warning;  // empty: none
    char const* note;
  };
  row const rows[] = {
      {100 * gib, 60 * gib, "", "", "",
       "60 GiB of 100 GiB are free, 5.0 GiB of them stay free (MinFree), and artifacts may take 55 GiB"},
      {100 * gib, 100 * gib, "", "", "", "artifacts may take 90 GiB"},
      {100 * gib, 60 * gib, "10GiB", "", "", "artifacts may take 10 GiB"},
      {100 * gib, 10 * gib, "10GiB", "", "MaxSize) is 10GiB, but there is room for 5.0 GiB in ",
       "artifacts may take 5.0 GiB"},
      {100 * gib, 10 * gib, "9GiB", "1GiB", "", "artifacts may take 9.0 GiB"},
      {100 * gib, 5 * gib, "", "", "nothing can be kept in it: 5.0 GiB of 100 GiB are free", "artifacts may take 0 B"},
      {100 * gib, 60 * gib, "", "200GiB", "nothing can be kept in it", ""},
  };
  for (row const& r : rows) {
    CAPTURE(r.total);
    CAPTURE(r.available);
    CAPTURE(r.max_size);
    auto c = from_environment({{{"ARTIFACTS_PROXY_CACHE_PATH", d.path().string()},
                                {"STATE_DIRECTORY", d.path().string()},
                                {"ARTIFACTS_PROXY_CACHE_MAX_SIZE", r.max_size},
                                {"ARTIFACTS_PROXY_CACHE_MIN_FREE", r.min_free}}});
    sized ops;
    ops.has.total = r.total;
    ops.has.available = r.available;
    places_check(c, ops).run();
    CHECK(all(c.errors) == "");
    CHECK(c.warnings.size() == (*r.warning == '\0' ? 0 : 1));
    CHECK(has(all(c.warnings), r.warning));
    CHECK(has(all(c.notes), r.note));
  }
}

TEST_CASE("what the cache holds already counts as room for it") {
  mgw::test::temporary_directory const d;
  std::ofstream(d.path() / "object") << std::string(1 << 20, 'x');
  auto c = from_environment({{{"ARTIFACTS_PROXY_CACHE_PATH", d.path().string()},
                              {"STATE_DIRECTORY", d.path().string()},
                              {"ARTIFACTS_PROXY_CACHE_MIN_FREE", "1"}}});
  sized ops;
  ops.has.total = 100 * gib;
  ops.has.available = 1;
  places_check(c, ops).run();
  CHECK(all(c.warnings) == "");
  CHECK(has(all(c.notes), "artifacts may take 1.0 MiB"));
}

TEST_CASE("a check opens the keys that artifacts are verified with") {
  mgw::test::temporary_directory const d;
  auto c = from_environment({{{"ARTIFACTS_PROXY_CACHE_PATH", d.path().string()},
                              {"STATE_DIRECTORY", d.path().string()},
                              {"ARTIFACTS_PROXY_CACHE_VERIFY_KEYS", "/nonexistent/key"}}});
  check_places(c);
  CHECK(has(all(c.errors), "VerifyKeys): /nonexistent/key: No such file"));
}

}  // namespace gateway::check_places_test
