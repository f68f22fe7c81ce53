#include "artifact/tar_reader.hpp"

#include "artifact_support.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway::artifact_tar_reader_test {
namespace {

struct seen {
  std::vector<std::pair<std::string, std::string>> files;
  std::error_code error;
};

seen read_all(std::string_view bytes, std::size_t piece) {
  tar_reader reader(read_from(bytes, piece), artifact_limits().max_entry_headers, artifact_limits().max_padding);
  seen out;
  while (reader.next()) {
    out.files.emplace_back(reader.name(), "");
    for (auto p = reader.read(); !p.is_end() && !p.failure; p = reader.read()) out.files.back().second += p.bytes;
  }
  out.error = reader.error();
  return out;
}

void check_same(std::string_view bytes, std::error_code error,
                std::vector<std::pair<std::string, std::string>> const& files) {
  for (std::size_t const piece : {std::size_t{1}, std::size_t{3}, std::size_t{512}, std::size_t{1000}, bytes.size()}) {
    CAPTURE(piece);
    auto const got = read_all(bytes, piece);
    CHECK(got.error == error);
    CHECK(got.files == files);
  }
}
void check_type_refused(std::string_view bytes) {
  check_same(bytes, artifact_error::bad_entry_type, {});
}

/// A source without an end: `first`, then `again` for ever. Counts what it gives.
struct endless {
  std::string first, again;
  std::uint64_t given = 0;
  source_piece operator()() {
    auto const& now = given == 0 ? first : again;
    given += now.size();
    return {now, {}};
  }
};

}  // namespace

TEST_CASE("tar: plain files, with the extensions that writers need") {
  std::string const long_name(150, 'n');
  std::string const content(1000, 'c');
  check_same(tar({}), {}, {});
  check_same(tar({{"a", ""}, {"b", content}, {"c", "x"}}), {}, {{"a", ""}, {"b", content}, {"c", "x"}});
  // PAX: as Go's archive/tar writes a long name, an owner's number above 2^21, and a size.
  auto const pax = mgw::test::pax_record("path", long_name) + mgw::test::pax_record("uid", "1668000500") +
                   mgw::test::pax_record("uname", "J\xc3\xb6rg") + mgw::test::pax_record("size", "4");
  check_same(tar({{"PaxHeaders.0/x", pax, 'x'}, {"short", "data"}}), {}, {{long_name, "data"}});
  // GNU: a long name, and a size in base 256.
  std::string_view const gnu("ustar  \0", 8);
  std::string const base256 = std::string("\x80", 1) + std::string(10, '\0') + "\x04";
  check_same(tar({{"././@LongLink", long_name + '\0', 'L', "", "", gnu}, {"short", "data", '0', "", base256, gnu}}), {},
             {{long_name, "data"}});
}

TEST_CASE("tar: what is skipped is not read") {
  std::string const bytes = tar({{"a", std::string(2000, 'a')}, {"b", "bb"}});
  tar_reader reader(read_from(bytes, 100), 0, 0);
  CHECK(reader.next());
  CHECK(reader.next());
  CHECK(reader.name() == "b");
  CHECK(reader.size() == 2);
  CHECK_FALSE(reader.next());
  CHECK_FALSE(reader.next());
  CHECK_FALSE(reader.error());
  CHECK(reader.read().is_end());
}

TEST_CASE("tar: nothing but plain files") {
  for (char const type : {'1', '2', '3', '4', '5', '6', 'D'}) {
    CAPTURE(type);
    check_type_refused(tar({{"a", "", type, "target"}}));
  }
  check_type_refused(tar({{"a", "data", '1', "target"}}));
  check_type_refused(tar({{"a/", "data"}}));
  check_type_refused(tar({{"x", mgw::test::pax_record("linkpath", "t"), 'x'}, {"a", "", '2'}}));
}

TEST_CASE("tar: no files with holes") {
  using mgw::test::pax_record;
  check_type_refused(tar(
      {{"x", pax_record("GNU.sparse.size", "1000000000000") + pax_record("GNU.sparse.map", "0,1,999999999999,1"), 'x'},
       {"a", "dd"}}));
  check_type_refused(tar({{"x",
                           pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0") +
                               pax_record("GNU.sparse.realsize", "1000000000000"),
                           'x'},
                          {"a", "1\n999999999999\n1\n" + std::string(495, '\0') + "d"}}));
  // Another size than there are data.
  auto const other_size = tar({{"x", pax_record("SCHILY.realsize", "1000000000000"), 'x'}, {"a", "dd"}});
  auto const got = read_all(other_size, 512);
  CHECK(got.error == artifact_error::bad_entry_type);
  // GNU's old form: one piece at 0, then a hole.
  tar_entry old{"a", "d", 'S', "", "", std::string_view("ustar  \0", 8)};
  std::string bytes = old.header();
  bytes.replace(386, 48,
                "00000000000\0"
                "00000000001\0"
                "77777777777\0"
                "00000000000\0",
                48);
  bytes.replace(483, 12, "77777777777\0", 12);
  bytes = tar_entry::with_checksum(bytes) + "d" + std::string(511, '\0') + std::string(1024, '\0');
  check_type_refused(bytes);
}

TEST_CASE("tar: an archive is whole, and nothing follows it") {
  std::vector<tar_entry> const entries{{"a", std::string(700, 'a')}, {"b", ""}};
  std::string const bytes = tar(entries);
  for (std::size_t n = 0; n != bytes.size(); ++n) {
    CAPTURE(n);
    CHECK(read_all(std::string_view(bytes).substr(0, n), 600).error == artifact_error::truncated);
  }
  CHECK_FALSE(read_all(bytes + std::string(artifact_limits().max_padding, '\0'), 512).error);
  CHECK(read_all(bytes + std::string(artifact_limits().max_padding + 1, '\0'), 512).error ==
        artifact_error::trailing_data);
  CHECK(read_all(bytes + std::string(2000, '\0') + "x", 512).error == artifact_error::trailing_data);
  CHECK(read_all(bytes + "x", 99999).error == artifact_error::trailing_data);
  check_same(tar(entries, 1) + tar_entry{"c", ""}.bytes() + std::string(1024, '\0'), artifact_error::broken_archive,
             {{"a", std::string(700, 'a')}, {"b", ""}});
}

TEST_CASE("tar: broken headers") {
  std::string const good = tar({{"a", "data"}, {"b", "data"}});
  for (std::size_t const at :
       {std::size_t{0}, std::size_t{124}, std::size_t{148}, std::size_t{156}, std::size_t{500}}) {
    std::string bytes = good;
    bytes[1024 + at] ^= 1;
    check_same(bytes, artifact_error::broken_archive, {{"a", "data"}});
  }
  std::string_view const gnu("ustar  \0", 8);
  for (std::string const& size :
       {std::string("\xff") + std::string(11, '\xff'), std::string("\x80") + std::string(11, '\xff')})
    CHECK(read_all(tar({{"a", "data", '0', "", size, gnu}}), 512).error);
  CHECK(read_all(tar({{"x", "nonsense", 'x'}, {"a", "data"}}), 512).error == artifact_error::broken_archive);
  CHECK(read_all(tar({{"x", mgw::test::pax_record("size", "-5"), 'x'}, {"a", "data"}}), 512).error);
  CHECK(read_all(tar({{"x", mgw::test::pax_record("size", "99999999999999999999"), 'x'}, {"a", "data"}}), 512).error);
}

TEST_CASE("tar: headers without an end are given up early") {
  using mgw::test::pax_record;
  std::string_view const gnu("ustar  \0", 8);
  std::string sparse(512, '\0');  // one more block of GNU's old map of holes
  for (std::size_t i = 0; i != 21; ++i)
    sparse.replace(i * 24, 24,
                   "00000000001\0"
                   "00000000001\0",
                   24);
  sparse[504] = 1;
  std::string head = tar_entry{"a", "", 'S', "", "", gnu}.header();
  head.replace(386, 24, sparse.substr(0, 24));
  head[482] = 1;
  std::string map = "99999999\n";
  while (map.size() < 4096) map += "1\n1\n";
  endless sources[] = {
      {tar_entry{"x", pax_record("comment", "c"), 'x'}.bytes(),
       tar_entry{"x", pax_record("comment", "c"), 'x'}.bytes()},
      {tar_entry{"g", pax_record("comment", std::string(5000, 'c')), 'g'}.bytes(),
       tar_entry{"g", pax_record("comment", std::string(5000, 'c')), 'g'}.bytes()},
      {tar_entry{"l", std::string(400, 'n'), 'L', "", "", gnu}.bytes(),
       tar_entry{"l", std::string(400, 'n'), 'L', "", "", gnu}.bytes()},
      {tar_entry{"l", "", 'L', "", "00004000000", gnu}.header(), std::string(4096, 'n')},
      {tar_entry{"l", "", 'L', "", "77777777777", gnu}.header(), std::string(4096, 'n')},
      {tar_entry{"x", "", 'x', "", "00003777777"}.header(), std::string(4096, '1')},
      {tar_entry::with_checksum(head), sparse},
      {tar_entry{"x", pax_record("GNU.sparse.major", "1") + pax_record("GNU.sparse.minor", "0"), 'x'}.bytes() +
           tar_entry{"a", "", '0', "", "77777777777"}.header(),
       map},
  };
  for (auto& s : sources) {
    CAPTURE(s.first[156]);
    tar_reader reader(std::ref(s), artifact_limits().max_entry_headers, artifact_limits().max_padding);
    CHECK_FALSE(reader.next());
    CHECK((reader.error() == artifact_error::extensions_too_large || reader.error() == artifact_error::broken_archive));
    CHECK(s.given <= artifact_limits().max_entry_headers + 8192);
  }
  // The limit, to the byte: the extension's header and content, and the file's header.
  auto const with = [](std::size_t content) {
    std::string const value(content - std::string("65020 comment=\n").size(), 'c');
    return tar({{"x", pax_record("comment", value), 'x'}, {"a", "d"}});
  };
  std::size_t const most = artifact_limits().max_entry_headers - 1024;
  check_same(with(most), {}, {{"a", "d"}});
  check_same(with(most + 1), artifact_error::extensions_too_large, {});
}

}  // namespace gateway::artifact_tar_reader_test
