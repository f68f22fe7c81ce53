#include <mgw/cache/journal.hpp>

#include "disk_support.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::cache::journal_test {
namespace {

checkpoint_record record(std::uint64_t size) {
  checkpoint_record r;
  r.size = size;
  r.digest.fill(static_cast<unsigned char>(size));
  return r;
}

struct sample {
  std::string header = *write_journal_header(test::test_meta(3, 1000));
  std::string with(std::vector<checkpoint_record> const& records) const {
    std::string text = header;
    for (auto const& r : records) text += write_checkpoint(r, crc32c(header));
    return text;
  }
};

}  // namespace

TEST_CASE("a journal comes back as it was written") {
  sample const s;
  std::vector<checkpoint_record> const records{record(1), record(300), record(1000)};
  auto const j = read_journal(s.with(records));
  REQUIRE(j);
  CHECK(j->meta == test::test_meta(3, 1000));
  CHECK(j->records == records);
  CHECK(j->header_size == s.header.size());
  CHECK(j->offset_after(3) == s.with(records).size());
}
TEST_CASE("a journal cut anywhere keeps its whole records") {
  sample const s;
  std::string const text = s.with({record(1), record(300)});
  for (std::size_t n = 0; n <= text.size(); ++n) {
    CAPTURE(n);
    auto const j = read_journal(std::string_view(text).substr(0, n));
    if (n < s.header.size()) {
      CHECK_FALSE(j);
      continue;
    }
    REQUIRE(j);
    CHECK(j->records.size() == (n - s.header.size()) / checkpoint_record_size);
  }
}
TEST_CASE("a damaged record ends a journal, a damaged header refuses it") {
  sample const s;
  std::string const text = s.with({record(1), record(300), record(500)});
  for (std::size_t n = 0; n < text.size(); ++n) {
    CAPTURE(n);
    std::string bad = text;
    bad[n] = static_cast<char>(bad[n] ^ 0x10);
    auto const j = read_journal(bad);
    if (n < s.header.size()) {
      CHECK_FALSE(j);
    } else {
      REQUIRE(j);
      CHECK(j->records.size() == (n - s.header.size()) / checkpoint_record_size);
    }
  }
}
TEST_CASE("records that cannot be are not believed") {
  sample const s;
  struct {
    std::vector<checkpoint_record> records;
    std::size_t kept;
  } const table[] = {
      {{record(0)}, 0},
      {{record(10), record(10)}, 1},
      {{record(10), record(9)}, 1},
      {{record(1000), record(1001)}, 1},
  };
  for (auto const& row : table) {
    auto const j = read_journal(s.with(row.records));
    REQUIRE(j);
    CHECK(j->records.size() == row.kept);
  }
  // A record of another journal, left in the same disk block.
  auto const j = read_journal(s.header + write_checkpoint(record(5), crc32c(s.header) + 1));
  REQUIRE(j);
  CHECK(j->records.empty());

  meta endless = test::test_meta(4, 0);
  endless.length_known = false;
  std::string const header = *write_journal_header(endless);
  auto const k = read_journal(header + write_checkpoint(record(5), crc32c(header)));
  REQUIRE(k);
  CHECK(k->records.size() == 1);
}
TEST_CASE("a journal's header that breaks the format is refused") {
  std::string const m = *write_meta(test::test_meta(3, 1000));
  std::string const size = std::to_string(m.size());
  struct {
    std::string text;
    error expected;
  } const table[] = {
      {"", error::malformed},
      {"mgw-part", error::malformed},
      {"mgw-part 0\n" + size + "\n" + m, error::malformed},
      {"mgw-part 2\nwhatever", error::newer_version},
      {"mgw-part 1\n", error::malformed},
      {"mgw-part 1\nx\n" + m, error::malformed},
      {"mgw-part 1\n00000000000000000" + size + "\n" + m, error::malformed},
      {"mgw-part 1\n999999\n" + m, error::malformed},
      {"mgw-part 1\n18446744073709551616\n" + m, error::malformed},
      {"mgw-part 1\n" + std::to_string(m.size() - 1) + "\n" + m, error::checksum_mismatch},
  };
  for (auto const& row : table) {
    CAPTURE(row.text);
    CHECK(read_journal(row.text).error() == row.expected);
  }
}

}  // namespace mgw::cache::journal_test
