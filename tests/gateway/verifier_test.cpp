#include "verifier/child_verifier.hpp"

#include "artifact_signing.hpp"
#include "artifact_support.hpp"
#include "verifier_support.hpp"

#include <doctest/doctest.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::verifier_test {

using state = body_verdict::state;

namespace {

std::string noise(std::size_t size) {
  std::mt19937 random(3);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

/// The child says of it what the reader says without a sandbox.
void check_same(std::string_view bytes, std::size_t piece = std::string_view::npos) {
  auto const here = judge(bytes);
  auto const there = verified(bytes, piece);
  CHECK(there.what == (here ? state::good : state::bad));
  CHECK(there.why == (here ? std::string() : detail::shown(here.message())));
}

/// A payload with this entry in it, and with it in the manifest.
std::string with_payload(std::string const& archive, std::string const& suffix) {
  artifact_sample s;
  s.suffix = suffix;
  auto e = s.entries();
  e.back().content = archive;
  return tar(e);
}

/// Zstandard's shortest way to say that something is long: blocks of 128 KiB that are one byte, four bytes each.
std::string zstd_of_zeros(std::string_view first, std::size_t blocks) {
  auto const header = [](std::size_t size, unsigned type, bool last) {
    std::size_t const n = size << 3U | type << 1U | (last ? 1U : 0U);
    return std::string{static_cast<char>(n), static_cast<char>(n >> 8U), static_cast<char>(n >> 16U)};
  };
  std::string out("\x28\xb5\x2f\xfd\x00\x38", 6);
  out += header(first.size(), 0, false);
  out += first;
  for (std::size_t i = 0; i != blocks; ++i) out += header(131072, 1, i + 1 == blocks) + std::string(1, '\0');
  return out;
}

}  // namespace

TEST_CASE("verifier: good artifacts of each compression, in pieces of any size") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    auto const small = verified(s.all(), 7);
    CHECK(small.what == state::good);
    CHECK(small.why.empty());
    s.files.push_back({"noise", noise(900'000)});
    s.files.push_back({"zeros", std::string(3'000'000, '\0')});
    std::string const bytes = s.all();
    for (std::size_t const piece : {std::size_t{4093}, std::size_t{131072}, bytes.size()}) {
      auto const v = verified(bytes, piece);
      CHECK(v.what == state::good);
      CHECK(v.why.empty());
    }
  }
  CHECK(verified(artifact_sample().all(), 1).what == state::good);
}

TEST_CASE("verifier: what is wrong is told as the reader tells it") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    std::string const bytes = s.all();
    check_same(bytes.substr(0, bytes.size() - 700));
    check_same(bytes.substr(0, 700));
    check_same(bytes + "x");
    check_same(bytes + bytes);
    for (std::size_t i = 0; i != s.entries().size(); ++i) {
      CAPTURE(i);
      auto e = s.entries();
      e[i].content[e[i].content.size() / 2] ^= 1;
      check_same(tar(e), 1000);
    }
  }
  check_same("");
  check_same(std::string(100'000, 'x'));
}

TEST_CASE("verifier: a bit changed anywhere ends in a verdict, and in the same one") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    std::string bytes = s.all();
    for (std::size_t i = 0; i < bytes.size(); i += bytes.size() / 29) {
      CAPTURE(i);
      bytes[i] ^= 4;
      check_same(bytes, 1 + i % 5000);
      bytes[i] ^= 4;
    }
  }
}

TEST_CASE("verifier: a good artifact comes with its labels") {
  artifact_sample s;
  s.header_info =
      R"({"payloads":[{"type":"x"}],"artifact_provides":{"artifact_name":"a b\u000a\u00e4"},)"
      R"("artifact_depends":{"device_type":["one","t,wo","","three"]}})";
  auto const v = verified(s.all(), 100);
  REQUIRE(v.what == state::good);
  head_digest head;
  head.add("version", s.version);
  head.add("manifest", s.manifest());
  label_list const wanted{{"artifact-name", "a b\n\xc3\xa4"}, {"device-types", "one,three"}, {"artifact-head", head.hex()}};
  CHECK(v.labels == wanted);
  CHECK(label_value(v.labels, "device-types") == "one,three");
  CHECK(label_value(v.labels, "imported").empty());

  // A name longer than a label is none; the rest is told.
  s.header_info =
      R"({"payloads":[{"type":"x"}],"artifact_provides":{"artifact_name":")" + std::string(max_name_label + 1, 'n') +
      R"("},"artifact_depends":{"device_type":[]}})";
  auto const unnamed = verified(s.all());
  CHECK(unnamed.what == state::good);
  CHECK(unnamed.labels.size() == 1);
  CHECK(label_value(unnamed.labels, "artifact-head").size() == 64);

  auto lenient = child_options();
  lenient.only_artifacts = false;
  CHECK(verified("something else", 1, lenient).labels.empty());
}

TEST_CASE("verifier: a label that the child should not have said") {
  for (std::string const how : {"label without a head", "label of another name", "label twice", "label in words"})
    check_bad(verified("x", 1, misbehaving(how).options()), "it made the verifier say what it never says");
}

TEST_CASE("verifier: signatures") {
  key_ptr const ec{EVP_EC_gen("P-256")};
  key_ptr const rsa{EVP_RSA_gen(2048)};
  key_ptr const other{EVP_EC_gen("P-256")};
  auto options = child_options();
  options.keys = pem_of(other) + pem_of(ec) + pem_of(rsa);
  artifact_sample s;
  auto const unsigned_one = verified(s.all(), 100, options);
  check_bad(unsigned_one, "the artifact is not signed");
  for (auto const& signature : {base64(raw_of(sign(ec, s.manifest()))), base64(sign(rsa, s.manifest()))}) {
    s.signature = signature;
    CHECK(verified(s.all(), 1, options).what == state::good);
    CHECK(verified(s.all()).what == state::good);  // no keys: not looked at
  }
  s.signature[10] = s.signature[10] == 'A' ? 'B' : 'A';
  check_bad(verified(s.all(), 100, options), "manifest.sig: the signature is by none of the keys");
  options.keys = "no key";
  auto const v = verified(s.all(), 100, options);
  CHECK(v.what == state::unable);
  CHECK(v.why == "the keys are not to be used");
}

TEST_CASE("verifier: more keys than a socket holds") {
  key_ptr const ec{EVP_EC_gen("P-256")};
  auto options = child_options();
  options.keys = std::string(2'000'000, '\n') + pem_of(ec);
  artifact_sample s;
  s.signature = base64(sign(ec, s.manifest()));
  CHECK(verified(s.all(), 100'000, options).what == state::good);
}

namespace {

asio::awaitable<void> head_at_its_last_byte(std::string bytes, std::size_t length) {
  auto const ex = co_await asio::this_coro::executor;
  auto& io = static_cast<asio::io_context&>(asio::query(ex, asio::execution::context));
  for (std::size_t const piece : {std::size_t{100}, std::size_t{1000}, length - 1}) {
    CAPTURE(piece);
    child_verifier verifier(io, child_options());
    auto v = co_await verifier.head();
    CHECK(v.what == state::open);
    for (std::size_t at = 0; at != length - 1;) {
      std::string_view const now = std::string_view(bytes).substr(at, std::min(piece, length - 1 - at));
      v = co_await verifier.take(now);
      CHECK(v.what == state::open);
      v = co_await verifier.head();
      CHECK(v.what == state::open);
      at += now.size();
    }
    v = co_await verifier.take(std::string_view(bytes).substr(length - 1, 1));
    v = co_await verifier.head();
    CHECK(v.what == state::head_good);
    v = co_await verifier.take(std::string_view(bytes).substr(length));
    CHECK(v.what == state::head_good);
    v = co_await verifier.finish();
    CHECK(v.what == state::good);
    v = co_await verifier.take("more");
    CHECK(v.what == state::good);
    v = co_await verifier.head();
    CHECK(v.what == state::good);
    v = co_await verifier.finish();
    CHECK(v.what == state::good);
  }
}

asio::awaitable<void> bad_head(std::string bytes, std::size_t length, std::string why) {
  auto const ex = co_await asio::this_coro::executor;
  auto& io = static_cast<asio::io_context&>(asio::query(ex, asio::execution::context));
  child_verifier verifier(io, child_options());
  auto v = co_await verifier.take(std::string_view(bytes).substr(0, length));
  v = co_await verifier.head();
  check_bad(v, why);
  v = co_await verifier.take(bytes);
  check_bad(v, why);
  v = co_await verifier.finish();
  check_bad(v, why);
}

asio::awaitable<void> head_of_a_batch(std::string bytes) {
  auto const ex = co_await asio::this_coro::executor;
  auto& io = static_cast<asio::io_context&>(asio::query(ex, asio::execution::context));
  child_verifier verifier(io, child_options());
  auto v = co_await verifier.take(bytes);
  v = co_await verifier.head();
  CHECK(v.what == state::head_good);
}

}  // namespace

TEST_CASE("verifier: the head is answered as soon as its last byte was taken, and not before") {
  // Two entries of two blocks each, and the header that says that no signature follows.
  mgw::test::run_io(head_at_its_last_byte(artifact_sample().all(), std::size_t{512} * 5));
  artifact_sample s;
  s.files.push_back({"noise", noise(128 * 1024)});
  mgw::test::run_io(head_of_a_batch(s.all().substr(0, std::size_t{128} * 1024)));
}

TEST_CASE("verifier: a bad head is known without another byte") {
  artifact_sample s;
  auto e = s.entries();
  e[1].content[0] = 'x';
  mgw::test::run_io(bad_head(tar(e), std::size_t{512} * 4, "manifest: a line of the manifest is not understood"));
  mgw::test::run_io(bad_head("<html>" + std::string(600, ' '), 600, "this is no Mender artifact"));
}

TEST_CASE("verifier: what is no artifact is bad, or good where others are welcome; a broken artifact is always bad") {
  auto options = child_options();
  options.only_artifacts = false;
  std::string const artifact = artifact_sample().all();
  for (std::string const& bytes :
       {std::string(), std::string("x"), std::string(1'000'000, 'x'), std::string(9999, '\0')}) {
    for (std::size_t const piece : {std::size_t{100'000}, std::size_t{999}}) {
      check_bad(verified(bytes, piece), "this is no Mender artifact");
      CHECK(verified(bytes, piece, options).what == state::good);
    }
  }
  CHECK(verified(artifact, 1000, options).what == state::good);
  check_bad(verified(artifact.substr(0, 1000), 1000, options), "the end is missing");
  check_bad(verified(artifact + 'x', 1000, options), "something follows");
}

TEST_CASE("verifier: archive bombs end soon, with a reason") {
  struct {
    char const* what;
    std::string bytes;
    char const* why;
  } const cases[] = {
      {"a few kilobytes are half a gigabyte",
       with_payload(zstd_of_zeros(tar_entry{"blob.bin", "", '0', "", "77777777777"}.header(), 4096), ".zst"),
       "unpacks to too much"},
      {"a file of 8 TB that is not there",
       with_payload(tar({{"blob.bin", "", '0', "", std::string("\x80\0\0\0\0\0\x08\0\0\0\0\0", 12)}}), ""),
       "the end is missing"},
      {"an artifact of 8 TB", tar({{"version", "", '0', "", std::string("\x80\0\0\0\0\0\x08\0\0\0\0\0", 12)}}),
       "too large"},
      {"..", with_payload(tar({{"../blob.bin", "x"}}), ""), "no name that a file may have here"},
      {"a device", with_payload(tar({{"blob.bin", "", '3'}}), ""), "not a plain file"},
      {"a link", with_payload(tar({{"blob.bin", "", '2', "/etc/passwd"}}), ""), "not a plain file"},
      {"holes",
       with_payload(tar({{"x",
                          mgw::test::pax_record("GNU.sparse.size", "1000000000000") +
                              mgw::test::pax_record("GNU.sparse.map", "0,1,999999999999,1"),
                          'x'},
                         {"blob.bin", "ab"}}),
                    ""),
       "not a plain file"},
      {"an artifact in an artifact", with_payload(artifact_sample().all(), ""), "not in the manifest"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.what);
    check_bad(verified(c.bytes, 131072), c.why);
  }
  artifact_sample many;
  many.suffix = ".gz";
  many.header = {{"header-info", {}}};
  for (int i = 0; i != 20'000; ++i) many.header.push_back({"scripts/" + std::to_string(i), ""});
  check_bad(verified(many.all()), "too many entries");
  artifact_sample million;
  million.suffix = ".gz";
  million.files.clear();
  auto e = million.entries();
  std::string const entries = tar(std::vector<tar_entry>(1000, {"a", ""}), 0);
  std::string all;
  for (int i = 0; i != 1000; ++i) all += entries;
  e.back().content = packed(all, ".gz");
  check_bad(verified(tar(e)), "data/0000/a: this file is not in the manifest");
  artifact_sample deep;
  deep.header_info = R"({"payloads":)" + std::string(100'000, '[') + std::string(100'000, ']') + '}';
  check_bad(verified(deep.all()), "description is not understood");
}

TEST_CASE("verifier: what libarchive looks up for odd names and records does not leave the sandbox") {
  using mgw::test::pax_record;
  std::string const odd = "\xc3\xa4\xff";
  std::vector<std::vector<tar_entry>> const all = {
      {{odd, "x"}},
      {{"a", "x", '0', "", "", std::string_view("ustar  \0", 8)}},
      {{"x", pax_record("path", "\xc3\xa4"), 'x'}, {"a", "x"}},
      {{"x", pax_record("path", odd), 'x'}, {"a", "x"}},
      {{"x", pax_record("hdrcharset", "BINARY") + pax_record("path", odd), 'x'}, {"a", "x"}},
      {{"x", pax_record("hdrcharset", "ISO-IR 10646 2000 UTF-8") + pax_record("uname", odd), 'x'}, {"a", "x"}},
      {{"x", pax_record("linkpath", odd) + pax_record("gname", "\xe2\x82\xac"), 'x'}, {"a", "x"}},
      {{"x", pax_record("SCHILY.acl.access", "user::rwx,group::r-x,other::r--,user:" + odd + ":rwx"), 'x'}, {"a", "x"}},
      {{"x", pax_record("SCHILY.fflags", "nodump,\xff") + pax_record("SCHILY.dev", "1"), 'x'}, {"a", "x"}},
      {{"x", pax_record("LIBARCHIVE.xattr.user%2ea", "YWJj") + pax_record("SCHILY.xattr.user.b", odd), 'x'},
       {"a", "x"}},
      {{"x", pax_record("mtime", "99999999999999999999.5") + pax_record("atime", "-1.5"), 'x'}, {"a", "x"}},
      {{"x", pax_record("size", "99999999999999999999"), 'x'}, {"a", "x"}},
      {{"g", pax_record("comment", odd), 'g'}, {"a", "x"}},
      {{"././@LongLink", odd + std::string(300, 'n') + std::string(1, '\0'), 'L'}, {"a", "x"}},
      {{"././@LongLink", odd + std::string(300, 'n') + std::string(1, '\0'), 'K'}, {"a", "", '2', "b"}},
      {{"a", "volume", 'V'}, {"b", "x"}},
      {{"a", "x", 'M'}, {"b", "x", 'D'}},
  };
  for (std::size_t i = 0; i != all.size(); ++i) {
    CAPTURE(i);
    check_same(with_payload(tar(all[i]), ""));
    check_same(tar(all[i]));
  }
}

TEST_CASE("verifier: over its limit of memory is bad, unless a sanitizer takes the limit away") {
  artifact_sample s;
  s.suffix = ".xz";
  s.files.push_back({"noise", noise(200'000)});
  auto options = child_options();
  options.max_memory = std::size_t{4} << 20U;  // xz looks back 8 MiB
  auto const v = verified(s.all(), 5000, options);
  if (built_with_sanitizer)
    CHECK(v.what == state::good);
  else
    check_bad(v, "over its limit of memory");
  options.max_memory = std::size_t{16} << 20U;
  CHECK(verified(s.all(), 5000, options).what == state::good);
}

}  // namespace gateway::verifier_test
