#include <mgw/cache/disk_layout.hpp>

#include <mgw/cache/file.hpp>

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <system_error>
#include <vector>

namespace mgw::cache::disk_layout_test {
namespace {

/// Records what is flushed; the first so many fail.
struct flush_ops final : file_ops {
  int failing = 0;
  std::vector<std::string> flushed;
  std::error_code fsync_directory(std::string const& path) override {
    if (failing-- > 0) return std::make_error_code(std::errc::io_error);
    flushed.push_back(path);
    return {};
  }
};

}  // namespace

TEST_CASE("a directory whose name could not be made durable is not taken for durable when it is found again") {
  mgw::test::temporary_directory dir;
  std::string const top = dir.path().string(), object = top + "/objects/ab/abcd", other = top + "/objects/cd/cdef";
  flush_ops ops;
  disk_layout const layout(top, ops, {});
  layout.make_trees();
  ops.flushed.clear();
  CHECK_FALSE(layout.make_shard(object));
  CHECK(ops.flushed == std::vector{top + "/objects"});
  CHECK_FALSE(layout.make_shard(object));  // it is there
  CHECK(ops.flushed.size() == 1);
  ops.failing = 1;
  CHECK(layout.make_shard(other) == std::errc::io_error);
  CHECK(ops.flushed.size() == 1);
  CHECK_FALSE(layout.make_shard(other));
  CHECK(ops.flushed == std::vector{top + "/objects", top + "/objects"});
}

}  // namespace mgw::cache::disk_layout_test
