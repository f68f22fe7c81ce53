#include <mgw/cache/meta.hpp>

#include "disk_support.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <limits>
#include <ostream>
#include <string>
#include <string_view>

namespace mgw::cache::meta_test {
namespace {

meta full_meta() {
  meta m;
  m.key = test::test_key(0xa5);
  m.length = std::numeric_limits<std::uint64_t>::max();
  m.etag = "\"a%b\"";
  m.last_modified = "Tue, 15 Nov 1994 12:45:26 GMT";
  m.content_type = "application/octet-stream";
  m.content_disposition = "attachment; filename=\"gr\xc3\xbc\xc3\x9f\x65.mender\"";
  m.stored_at = 1'700'000'000;
  m.generation = 12'345'678'901;
  m.sha256 = std::string(64, 'e');
  m.labels = {{"artifact-name", "release 1\n"}, {"device-type", "b"}, {"device-type", "a"}, {"empty", ""}};
  m.pinned = true;
  return m;
}

/// A metadata file of these lines, with the right checksum.
std::string sealed(std::string_view lines) {
  std::string text(lines);
  return text + "crc32c " + meta_detail::hex8(crc32c(text)) + "\n";
}

std::string const key_line = "key " + std::string(64, 'a') + "\n";

}  // namespace

TEST_CASE("crc32c of the known vectors") {  // RFC 3720 B.4
  CHECK(crc32c("123456789") == 0xe3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8a9136aau);
  CHECK(crc32c("6789", crc32c("12345")) == 0xe3069283u);
  CHECK(crc32c("") == 0);
}
TEST_CASE("a running SHA-256 answers and goes on") {
  sha256 s;
  sha256_digest d{};
  CHECK_FALSE(s.digest(d));
  CHECK(to_hex(d) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_FALSE(s.update("a"));
  CHECK_FALSE(s.digest(d));
  CHECK_FALSE(s.update("bc"));
  sha256 moved = std::move(s);
  CHECK_FALSE(moved.digest(d));
  CHECK(to_hex(d) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(s.update("x") == error::digest_unavailable);
  CHECK(s.digest(d) == error::digest_unavailable);
}
TEST_CASE("metadata comes back as it was written") {
  meta m = full_meta();
  auto text = write_meta(m);
  REQUIRE(text);
  auto back = read_meta(*text);
  REQUIRE(back);
  CHECK(*back == m);

  meta unknown;
  unknown.length_known = false;
  text = write_meta(unknown);
  REQUIRE(text);
  back = read_meta(*text);
  REQUIRE(back);
  CHECK(*back == unknown);
}
TEST_CASE("a value may hold any bytes a server sends") {
  meta m = full_meta();
  m.etag.clear();
  for (int i = 0; i < 256; ++i) m.etag += static_cast<char>(static_cast<unsigned char>(i));
  m.content_type = "x\nlength 1\ncrc32c 00000000\n";
  auto const text = write_meta(m);
  REQUIRE(text);
  auto const back = read_meta(*text);
  REQUIRE(back);
  CHECK(*back == m);
}
TEST_CASE("a value has a limit") {
  meta m = full_meta();
  for (std::string meta::* member :
       {&meta::etag, &meta::last_modified, &meta::content_type, &meta::content_disposition}) {
    m.*member = std::string(max_meta_value, '\xff');
    CHECK(write_meta(m));
    m.*member += 'x';
    CHECK(write_meta(m).error() == error::value_too_long);
    m.*member = std::string(max_meta_value, '\xff');
  }
  m.labels.assign(max_labels, {"n", std::string(max_label_bytes / max_labels - 1, '\xff')});
  auto const text = write_meta(m);  // the longest there is
  REQUIRE(text);
  CHECK(text->size() <= max_meta_file);
  CHECK(read_meta(*text));
  m.sha256 = "short";
  CHECK(write_meta(m).error() == error::malformed);
}
TEST_CASE("labels have a form and limits, and keep their order") {
  meta m = full_meta();
  CHECK(m.label("artifact-name") == "release 1\n");
  CHECK(m.label("device-type") == "b");
  CHECK(m.label("other").empty());
  for (char const* name : {"", "a b", "a\n", "\xc3\xa4", "a%"}) {
    CAPTURE(name);
    m.labels = {{name, "x"}};
    CHECK(check_labels(m.labels) == error::malformed);
    CHECK(write_meta(m).error() == error::malformed);
  }
  m.labels.assign(max_labels, {"n", "v"});
  CHECK(write_meta(m));
  m.labels.emplace_back("n", "v");
  CHECK(write_meta(m).error() == error::value_too_long);
  m.labels = {{"n", std::string(max_label_bytes - 1, '\xff')}};
  CHECK(write_meta(m));
  m.labels[0].first += 'n';
  CHECK(write_meta(m).error() == error::value_too_long);
}
TEST_CASE("metadata cut anywhere or with any bit flipped is refused") {
  auto const text = write_meta(full_meta());
  REQUIRE(text);
  for (std::size_t n = 0; n < text->size(); ++n) {
    CAPTURE(n);
    CHECK_FALSE(read_meta(text->substr(0, n)));
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = *text;
      bad[n] = static_cast<char>(bad[n] ^ (1 << bit));
      CHECK_FALSE(read_meta(bad));
    }
  }
  CHECK_FALSE(read_meta(*text + "x"));
}
TEST_CASE("metadata that breaks the format is refused") {
  std::string many_labels;
  for (std::size_t i = 0; i < max_labels; ++i) many_labels += "label a \n";
  REQUIRE(read_meta(sealed("mgw-meta 1\n" + key_line + "length 1\n" + many_labels)));
  struct {
    std::string text;
    error expected;
  } const table[] = {
      {"", error::malformed},
      {"garbage", error::malformed},
      {sealed("mgw-meta\n" + key_line + "length 1\n"), error::malformed},
      {sealed("mgw-meta 0\n" + key_line + "length 1\n"), error::malformed},
      {sealed("mgw-meta 1x\n" + key_line + "length 1\n"), error::malformed},
      {sealed("mgw-meta 99999999999\n" + key_line + "length 1\n"), error::malformed},
      {"mgw-meta 2\nwhatever a later release writes", error::newer_version},
      {"mgw-meta 1\n", error::malformed},
      {sealed("mgw-meta 1\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line), error::malformed},
      {sealed("mgw-meta 1\nlength 1\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + key_line + "length 1\n"), error::malformed},
      {sealed("mgw-meta 1\nkey aa\nlength 1\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length -1\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length \n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 18446744073709551616\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nsha256 xyz\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nstored-at x\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\netag %\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\netag %4\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\netag %4G\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\netag " + std::string(max_meta_value + 1, 'x') + "\n"),
       error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nline\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nno end"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\n" + std::string(max_meta_file, 'x') + " \n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nlabel a\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nlabel  a\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nlabel a %\n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\nlabel a " + std::string(max_label_bytes, 'x') + "\n"),
       error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\n" + many_labels + "label a \n"), error::malformed},
      {sealed("mgw-meta 1\n" + key_line + "length 1\npinned no\n"), error::malformed},
      {"mgw-meta 1\n" + key_line + "length 1\ncrc32c 00000000\n", error::checksum_mismatch},
  };
  for (auto const& row : table) {
    CAPTURE(row.text.substr(0, 200));
    CHECK(read_meta(row.text).error() == row.expected);
  }
  auto const later = read_meta(sealed("mgw-meta 1\n" + key_line + "length 1\nsomething-new 5\n"));
  REQUIRE(later);
  CHECK(later->length == 1);
}
TEST_CASE("each error has a sentence") {
  for (int i = 1; i <= static_cast<int>(error::no_checkpoint); ++i) {
    std::error_code const ec = static_cast<error>(i);
    CHECK(ec.message() != "unknown cache error");
    CHECK(ec.default_error_condition().category() == std::generic_category());
  }
  CHECK(make_error_code(error::not_enough_space) == std::errc::no_space_on_device);
  CHECK(std::error_code(99, error_category()).message() == "unknown cache error");
}

}  // namespace mgw::cache::meta_test
