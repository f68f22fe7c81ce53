#include "artifact/limits.hpp"

#include "artifact_support.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::artifact_limits_test {

/// With `limit` set to `most` the sample is good, with one less it is refused.
template <class T>
void check_limit(artifact_sample const& s, T artifact_limits::* limit, std::size_t most, artifact_error why,
                 std::string_view entry) {
  artifact_limits limits;
  limits.*limit = most;
  auto const v = judge(s.all(), 500, limits);
  CHECK_MESSAGE(v, v.message());
  limits.*limit = most - 1;
  check_refused(s, why, entry, limits);
}

TEST_CASE("artifact limits: one below and at each") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    std::string const end(suffix);
    artifact_sample s;
    s.suffix = suffix;
    check_limit(s, &artifact_limits::max_version, s.version.size(), artifact_error::entry_too_large, "version");
    check_limit(s, &artifact_limits::max_manifest, s.manifest().size(), artifact_error::entry_too_large, "manifest");
    check_limit(s, &artifact_limits::max_header_info, s.header_info.size(), artifact_error::entry_too_large,
                "header.tar" + end + "/header-info");
    check_limit(s, &artifact_limits::max_header_entries, s.header.size(), artifact_error::too_many_entries,
                "header.tar" + end);
    check_limit(s, &artifact_limits::max_payloads, 1, artifact_error::too_many_entries,
                "header.tar" + end + "/header-info");
    check_limit(s, &artifact_limits::max_files, s.files.size(), artifact_error::too_many_entries, "data/0000/blob.bin");
    std::size_t const unpacked = tar(s.files).size();
    artifact_limits limits;
    limits.max_unpacked = unpacked;
    CHECK(judge(s.all(), 500, limits));
    limits.max_unpacked = unpacked - 1;
    check_refused(s, artifact_error::unpacks_to_too_much, "data/0000.tar" + end, limits);
    limits.max_unpacked = 2000;
    check_refused(s, artifact_error::unpacks_to_too_much, "data/0000/blob.bin", limits);

    artifact_sample augmented = s;
    augmented.augmented = true;
    augmented.augment_files = {{"d1", "1"}, {"d2", "2"}, {"d3", "3"}, {"d4", "4"}};
    check_limit(augmented, &artifact_limits::max_manifest, augmented.augment_manifest().size(),
                artifact_error::entry_too_large, "manifest-augment");
    artifact_sample with_signature = s;
    with_signature.signature = "AAAA";
    check_limit(with_signature, &artifact_limits::max_signature, 4, artifact_error::entry_too_large, "manifest.sig");
  }
  artifact_sample s;
  check_limit(s, &artifact_limits::max_header, s.header_tar().size(), artifact_error::entry_too_large, "header.tar");
}

TEST_CASE("artifact limits: all payloads together unpack to no more") {
  artifact_sample s;
  s.header_info =
      R"({"payloads":[{"type":"a"},{"type":"b"}],"artifact_provides":{"artifact_name":"n"},"artifact_depends":{"device_type":["d"]}})";
  auto entries = s.entries();
  entries.push_back({"data/0001.tar.gz", packed(tar({}), ".gz")});
  artifact_limits limits;
  limits.max_unpacked = tar(s.files).size() + 1024;
  CHECK(judge(tar(entries), 100, limits));
  limits.max_unpacked -= 1;
  check_refused(tar(entries), artifact_error::unpacks_to_too_much, "data/0001.tar.gz", limits);
}

TEST_CASE("artifact limits: a header of some kilobytes that unpacks to more than a header has") {
  for (auto const suffix : suffixes) {
    if (suffix.empty()) continue;
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    s.header.push_back({"scripts/bomb", std::string(2 << 20U, '\0')});
    std::string const bytes = s.all();
    CHECK(bytes.size() < 16'000);
    CHECK(judge(bytes));
    artifact_limits limits;
    limits.max_header = 1U << 20U;
    CHECK(judge(bytes, 500, limits).error == artifact_error::unpacks_to_too_much);
  }
}

TEST_CASE("artifact limits: a payload without an end") {
  // 77777777777: 8 GiB less one byte; zstd writes 128 KiB of zeros in four bytes.
  std::string const file = tar_entry{"blob.bin", "", '0', "", "77777777777"}.header();
  std::string frame("\x28\xb5\x2f\xfd\x00\x38\x00\x10\x00", 9);
  frame += file;
  artifact_sample s;
  s.suffix = ".zst";
  auto entries = s.entries();
  entries.pop_back();
  std::string const head =
      tar(entries, 0) + tar_entry{"data/0000.tar.zst", "", '0', "", "77777777777"}.header() + frame;
  std::string zeros;
  while (zeros.size() < 4096) zeros += std::string("\x02\x00\x10\x00", 4);
  std::uint64_t given = 0;
  artifact_limits limits;
  limits.free_unpacked = 8U << 20U;
  artifact_keys const no_keys;
  artifact_reader reader(
      [&]() -> source_piece {
        std::string_view const now = given == 0 ? head : zeros;
        given += now.size();
        return {now, {}};
      },
      no_keys, limits);
  CHECK(reader.read_header());
  CHECK(reader.read_payloads().error == artifact_error::unpacks_to_too_much);
  CHECK(reader.read_payloads().entry == "data/0000/blob.bin");
  CHECK(given < 100'000);
}

TEST_CASE("artifact limits: a million entries end at the first that is too many") {
  artifact_sample s;
  std::string const start = tar(s.entries(), 0);
  std::uint64_t given = 0;
  std::string const one = tar_entry{"data/0001.tar", ""}.bytes();
  artifact_keys const no_keys;
  artifact_reader outside(
      [&]() -> source_piece {
        std::string_view const now = given == 0 ? start : one;
        given += now.size();
        return {now, {}};
      },
      no_keys, {});
  CHECK(outside.read_payloads().error == artifact_error::unexpected_entry);
  CHECK(given <= start.size() + 2 * one.size());

  for (int i = 0; i != 4096; ++i) s.files.push_back({"f" + std::to_string(i), ""});
  CHECK(judge(s.all()).error == artifact_error::too_many_entries);
}

}  // namespace gateway::artifact_limits_test
