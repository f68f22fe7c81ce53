#include "open_cache.hpp"

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <unistd.h>

#include <cerrno>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace gateway::open_cache_test {
namespace {

/// The real disk, on which nothing can be made or opened for one reason.
class broken_files final : public mgw::cache::file_ops {
public:
  explicit broken_files(int why, bool at_open) : why_(why), at_open_(at_open) {}
  mgw::result<bool> make_directory(std::string const& path) override {
    if (!at_open_) return std::error_code(why_, std::generic_category());
    return file_ops::make_directory(path);
  }
  mgw::result<std::shared_ptr<mgw::cache::file const>> open(std::string const& path, int flags) override {
    if (at_open_) return std::error_code(why_, std::generic_category());
    return file_ops::open(path, flags);
  }

private:
  int const why_;
  bool const at_open_;
};

struct opening {
  mgw::test::temporary_directory directory;
  std::vector<std::string> errors;

  std::unique_ptr<mgw::cache::disk_store> operator()(mgw::cache::file_ops& ops) {
    mgw::cache::disk_store::options where;
    where.path = directory.path();
    auto const log = [this](mgw::log_level level, std::string_view line) {
      if (level == mgw::log_level::error) errors.emplace_back(line);
    };
    return open_or_do_without(where, log, ops);
  }
};

}  // namespace

TEST_CASE("a cache whose disk has trouble at start is done without, with one line that says so") {
  for (int const why : {EROFS, EIO, ENOSPC, EDQUOT, EUCLEAN, ENODEV, ESTALE})
    for (bool const at_open : {true, false}) {
      CAPTURE(why);
      CAPTURE(at_open);
      opening open;
      broken_files disk(why, at_open);
      CHECK(open(disk) == nullptr);
      REQUIRE(open.errors.size() == 1);
      CHECK(open.errors[0].find("served without a cache until the next start") != std::string::npos);
      CHECK(open.errors[0].find(open.directory.path().string()) != std::string::npos);
    }
}

TEST_CASE("a cache with a wrong path or owner is a mistake that is told") {
  for (int const why : {EACCES, EPERM, ENOENT, ENOTDIR, ELOOP}) {
    CAPTURE(why);
    opening open;
    broken_files disk(why, true);
    CHECK_THROWS_AS((void)open(disk), std::system_error);
    CHECK(open.errors.empty());
  }
}

TEST_CASE("a cache that another process has is refused, not done without") {
  opening open;
  auto const first = open(mgw::cache::posix_file_ops());
  REQUIRE(first);
  CHECK_THROWS_AS((void)open(mgw::cache::posix_file_ops()), std::runtime_error);
  CHECK(open.errors.empty());
}

TEST_CASE("a path that nobody set is done without where it cannot be used; one that was set is refused with its key") {
  std::string const key = "ARTIFACTS_PROXY_CACHE_PATH (Features.ArtifactsProxy.ArtifactsCache.Path)";
  std::string const uid = "uid " + std::to_string(::geteuid());
  for (int const why : {EACCES, EPERM, ENOENT, ENOTDIR, ELOOP, EROFS, ENOSPC}) {
    CAPTURE(why);
    mgw::test::temporary_directory const d;
    std::vector<std::string> errors;
    auto const log = [&](mgw::log_level level, std::string_view line) {
      if (level == mgw::log_level::error) errors.emplace_back(line);
    };
    broken_files disk(why, false);
    settings s;
    s.cache.path = d.path().string();
    s.cache.path_is_default = true;
    CHECK(open_cache(s, log, disk) == nullptr);
    REQUIRE(errors.size() == 1);
    for (std::string const& part : {key, uid, s.cache.path, std::string("ARTIFACTS_PROXY_CACHE_ENABLED=false")})
      CHECK(errors[0].find(part) != std::string::npos);
    s.cache.path_is_default = false;
    if (is_disk_trouble(std::error_code(why, std::generic_category()))) {
      CHECK(open_cache(s, log, disk) == nullptr);
      continue;
    }
    std::string refusal;
    try {
      (void)open_cache(s, log, disk);
    } catch (config_error const& e) {
      refusal = e.what();
    }
    for (std::string const& part : {key + " is \"" + s.cache.path + '"', "accepted: a directory that " + uid})
      CHECK(refusal.find(part) != std::string::npos);
    CHECK(errors.size() == 1);
  }
}

}  // namespace gateway::open_cache_test
