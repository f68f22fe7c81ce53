#include "artifact/reader.hpp"

#include "artifact_support.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace gateway::artifact_reader_test {
namespace {

/// Pieces of random sizes, many of them small.
byte_source at_random(std::string_view bytes, unsigned seed) {
  return [bytes, random = std::minstd_rand(seed)]() mutable -> source_piece {
    std::size_t const n = std::size_t{1} << (random() % 12);
    auto const now = bytes.substr(0, 1 + random() % n);
    bytes.remove_prefix(now.size());
    return {now, {}};
  };
}

void check_good(artifact_reader& reader, artifact_sample const& s) {
  CHECK(reader.read_head());
  CHECK(reader.info().header.artifact_name.empty());
  CHECK(reader.read_header());
  CHECK(reader.info().header.artifact_name == "release-2");
  CHECK(reader.info().header.device_types == std::vector<std::string>{"qemux86-64", "raspberrypi4"});
  REQUIRE(reader.info().header.payloads.size() == 1);
  CHECK(reader.info().header.payloads[0] == "single-file");
  CHECK(reader.info().files.empty());
  REQUIRE_MESSAGE(reader.read_payloads(), reader.read_payloads().message());
  REQUIRE(reader.info().files.size() == s.files.size() + s.augment_files.size());
  for (std::size_t i = 0; i != s.files.size(); ++i) {
    CHECK(reader.info().files[i].name == "data/0000/" + s.files[i].name);
    CHECK(reader.info().files[i].size == s.files[i].content.size());
    CHECK(reader.info().files[i].sha256 == mgw::test::sha256_hex(s.files[i].content));
    CHECK_FALSE(reader.info().files[i].augmented);
  }
  CHECK(reader.read_payloads());
  CHECK(reader.read_head());
}

}  // namespace

TEST_CASE("artifact: each compression, in pieces of every size") {
  artifact_keys const no_keys;
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    std::string const bytes = s.all();
    for (std::size_t const piece : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{511}, std::size_t{512},
                                    std::size_t{513}, bytes.size()}) {
      CAPTURE(piece);
      artifact_reader reader(read_from(bytes, piece), no_keys, {});
      check_good(reader, s);
      CHECK(reader.info().signature == signature_state::none);
    }
    for (unsigned seed = 1; seed != 20; ++seed) {
      artifact_reader reader(at_random(bytes, seed), no_keys, {});
      check_good(reader, s);
    }
  }
}

TEST_CASE("artifact: large files") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    std::mt19937_64 random(7);
    std::string big;
    while (big.size() < 500'000) big += std::to_string(random());
    s.files.push_back({"big", big});
    s.files.push_back({"zeros", std::string(2'000'001, '\0')});
    s.files.push_back({"empty", ""});
    artifact_keys const no_keys;
    std::string const bytes = s.all();
    artifact_reader reader(read_from(bytes, 65536), no_keys, {});
    check_good(reader, s);
  }
}

TEST_CASE("artifact: stages, with no more read than they need") {
  artifact_sample s;
  s.files.push_back({"more", std::string(300'000, 'm')});
  std::string const bytes = s.all();
  std::size_t given = 0;
  artifact_keys const no_keys;
  artifact_reader reader(
      [&]() -> source_piece {
        auto const now = std::string_view(bytes).substr(given, 512);
        given += now.size();
        return {now, {}};
      },
      no_keys, {});
  CHECK(given == 0);
  CHECK(reader.read_head());
  CHECK(given == 512 * 5);  // two entries of two blocks, and the header that says that there is no signature
  CHECK(reader.read_header());
  CHECK(given < 512 * 16);
  CHECK(reader.read_payloads());
  CHECK(given == bytes.size());
}

TEST_CASE("artifact: what is no artifact is told from one that is broken") {
  std::string const no_tar[] = {"",
                                "x",
                                std::string(511, '\0'),
                                std::string(10240, '\0'),
                                std::string(5000, 'x'),
                                "PK\x03\x04" + std::string(2000, 'z'),
                                packed(artifact_sample().all(), ".gz"),
                                tar({{"manifest", "x"}, {"version", R"({"format":"mender","version":3})"}}),
                                tar({{"./version", "x"}}),
                                tar({{"folder/", "", '5'}}),
                                artifact_sample().all().substr(0, 300)};
  for (auto const& bytes : no_tar) {
    CAPTURE(bytes.size());
    for (std::size_t const piece : {std::size_t{1}, std::size_t{512}, std::size_t{99999}}) {
      auto const v = judge(bytes, piece);
      CHECK(v.not_an_artifact());
      CHECK_FALSE(v);
    }
  }
  CHECK_FALSE(judge(tar({{"version", "x"}})).not_an_artifact());
  check_refused(tar({{"version", "", '2', "manifest"}}), artifact_error::bad_entry_type, "version");
}

TEST_CASE("artifact: version") {
  struct {
    std::string_view text;
    artifact_error why;
    std::string_view detail;
  } const cases[] = {
      {R"({"format":"mender","version":2})", artifact_error::unsupported_version, "format version 2, not 3"},
      {R"({"format":"mender","version":4})", artifact_error::unsupported_version, "format version 4, not 3"},
      {R"({"format":"mender","version":-1})", artifact_error::unsupported_version, "format version -1, not 3"},
      {R"({"format":"mender","version":"3"})", artifact_error::bad_version, ""},
      {R"({"format":"mender","version":3.0})", artifact_error::bad_version, ""},
      {R"({"format":"mender","version":99999999999999999999})", artifact_error::bad_version, ""},
      {R"({"format":"other","version":3})", artifact_error::bad_version, ""},
      {R"({"format":"mender"})", artifact_error::bad_version, ""},
      {R"({"version":3})", artifact_error::bad_version, ""},
      {R"([3])", artifact_error::bad_version, ""},
      {R"({"format":"mender","version":3)", artifact_error::bad_version, ""},
      {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", artifact_error::bad_version, ""},
      {"", artifact_error::bad_version, ""},
  };
  for (auto const& c : cases) {
    CAPTURE(c.text);
    artifact_sample s;
    s.version = c.text;
    check_refused(s, c.why, "version");
    CHECK(judge(s.all()).detail == c.detail);
  }
  artifact_sample s;
  s.version = R"({"version":3,"format":"mender","more":[1,2]})";
  CHECK(judge(s.all()));
}

TEST_CASE("artifact: entries in no other order") {
  artifact_sample s;
  s.augmented = true;
  s.augment_files = {{"delta", "d"}};
  s.signature = "AAAA";
  auto const right = s.entries();
  CHECK(judge(tar(right)));
  // Any one left out, but for the signature; any two neighbours changed; any one twice.
  for (std::size_t i = 0; i != right.size(); ++i) {
    CAPTURE(right[i].name);
    auto without = right;
    without.erase(without.begin() + static_cast<std::ptrdiff_t>(i));
    CHECK(bool(judge(tar(without))) == (right[i].name == "manifest.sig"));
    auto twice = right;
    twice.insert(twice.begin() + static_cast<std::ptrdiff_t>(i), right[i]);
    CHECK_FALSE(judge(tar(twice)));
    if (i == 0) continue;
    auto changed = right;
    std::swap(changed[i], changed[i - 1]);
    CHECK_FALSE(judge(tar(changed)));
  }
  for (std::size_t i = 1; i <= right.size(); ++i) {
    auto more = right;
    more.insert(more.begin() + static_cast<std::ptrdiff_t>(i), {"more", "x"});
    check_refused(tar(more), artifact_error::unexpected_entry, "more");
  }
  struct {
    std::size_t entry;
    std::string_view name;
  } const renamed[] = {{1, "./manifest"},          {1, "Manifest"},       {4, "header.tar.bz2"},
                       {4, "header.tar."},         {4, "header"},         {5, "header-augment.tar.gz"},
                       {6, "data/0001.tar"},       {6, "data/0000"},      {6, "data/0000.tar.lz4"},
                       {6, "data/0000.tar.gz.gz"}, {6, "/data/0000.tar"}, {6, "../data/0000.tar"}};
  for (auto const& r : renamed) {
    CAPTURE(r.name);
    auto other = right;
    other[r.entry].name = r.name;
    check_refused(tar(other), artifact_error::unexpected_entry, r.name);
  }
}

TEST_CASE("artifact: two payloads, and none") {
  artifact_sample s;
  s.header_info =
      R"({"payloads":[{"type":"a"},{"type":null}],"artifact_provides":{"artifact_name":"n"},"artifact_depends":{"device_type":["d"]}})";
  CHECK(judge(s.all()));
  auto entries = s.entries();
  entries.push_back({"data/0001.tar.gz", packed(tar({}), ".gz")});
  CHECK(judge(tar(entries)));
  entries.push_back({"data/0002.tar", tar({})});
  check_refused(tar(entries), artifact_error::unexpected_entry, "data/0002.tar");

  artifact_sample none;
  none.files.clear();
  CHECK(judge(none.all()));
  auto bare = none.entries();
  bare.pop_back();
  CHECK(judge(tar(bare)));

  artifact_sample missing;
  auto without = missing.entries();
  without.pop_back();
  check_refused(tar(without), artifact_error::missing_file, "data/0000/blob.bin");
}

TEST_CASE("artifact: checksums") {
  artifact_sample s;
  auto e = s.entries();
  e[0].content = R"({"format":"mender","version":3 })";
  check_refused(tar(e), artifact_error::wrong_checksum, "version");
  for (auto const suffix : suffixes) {
    s.suffix = suffix;
    e = s.entries();
    e[2].content[e[2].content.size() / 2] ^= 1;
    check_refused(tar(e), artifact_error::wrong_checksum, "header.tar" + std::string(suffix));
    artifact_sample other = s;
    other.files[1].content[1234] = 'c';
    e = s.entries();
    e[3] = other.entries()[3];
    check_refused(tar(e), artifact_error::wrong_checksum, "data/0000/blob.bin");
    other = s;
    other.files[1].content += 'b';
    e[3] = other.entries()[3];
    check_refused(tar(e), artifact_error::wrong_checksum, "data/0000/blob.bin");
  }
}

TEST_CASE("artifact: files that are not in the manifest, or not there, or there twice") {
  artifact_sample const s;
  auto const with = [&s](std::vector<tar_entry> const& files) {
    auto e = s.entries();
    e.back().content = tar(files);
    return tar(e);
  };
  check_refused(with({s.files[0], s.files[1], {"more", "x"}}), artifact_error::not_in_manifest, "data/0000/more");
  check_refused(with({s.files[0]}), artifact_error::missing_file, "data/0000/blob.bin");
  check_refused(with({s.files[0], s.files[1], s.files[0]}), artifact_error::repeated_entry, "data/0000/dest_dir");
  CHECK(judge(with({s.files[1], s.files[0]})));
  for (std::string const name : {"..", ".", "../blob.bin", "/blob.bin", "a/b", "./blob.bin", "blob bin", "b\xc3\xb6",
                                 "blob.bin/", "a\nb", "a\\b"}) {
    CAPTURE(name);
    auto const v = judge(with({s.files[0], {name, "x"}}));
    CHECK((v.error == artifact_error::bad_entry_name || v.error == artifact_error::bad_entry_type));
  }
}

TEST_CASE("artifact: manifests") {
  artifact_sample const s;
  std::string const good = s.manifest();
  std::string const hex(64, 'a');
  auto const with = [&s](std::string const& text) {
    auto e = s.entries();
    e[1].content = text;
    return tar(e);
  };
  CHECK(judge(with(good)));
  std::string const broken[] = {good + "\n",
                                "\n" + good,
                                good + hex + "  data/0000/x",
                                good + hex + " data/0000/x\n",
                                good + hex + "   data/0000/x\n",
                                good + hex + "\t\tdata/0000/x\n",
                                good + std::string(64, 'A') + "  data/0000/x\n",
                                good + std::string(63, 'a') + "  data/0000/x\n",
                                good + std::string(65, 'a') + "  data/0000/x\n",
                                good + std::string(64, 'g') + "  data/0000/x\n",
                                good + hex + "  \n",
                                good + hex + "  data/0000/x\r\n",
                                good + hex + "  data/0000/\n",
                                good + hex + "  data/0000/..\n",
                                good + hex + "  data/0000/.\n",
                                good + hex + "  data/0000/a/b\n",
                                good + hex + "  data/000/x\n",
                                good + hex + "  data/00000/x\n",
                                good + hex + "  data/000x/x\n",
                                good + hex + "  data/0000\n",
                                good + hex + "  /data/0000/x\n",
                                good + hex + "  manifest\n",
                                good + hex + "  header-augment.tar\n",
                                good + hex + "  header.tar.gz\n",
                                good + hex + "  header.tar.bz2\n",
                                good + hex + "  x\n",
                                good + hex + "  version\n",
                                good + hex + "  data/0000/dest_dir\n",
                                good + std::string("\0", 1),
                                good.substr(0, good.size() - 1)};
  for (auto const& text : broken) {
    CAPTURE(text);
    check_refused(with(text), artifact_error::bad_manifest, "manifest");
  }
  for (std::string const line : {"header.tar", "version"}) {
    std::string text;
    for (std::size_t at = 0; at != good.size();) {
      std::size_t const end = good.find('\n', at) + 1;
      std::string const one = good.substr(at, end - at);
      if (!one.ends_with("  " + line + "\n")) text += one;
      at = end;
    }
    check_refused(with(text), artifact_error::incomplete_manifest, "manifest");
  }
  check_refused(with(""), artifact_error::incomplete_manifest, "manifest");
  check_refused(with(good + hex + "  data/0007/x\n"), artifact_error::missing_file, "data/0007/x");
  // The suffix is part of the name.
  auto e = s.entries();
  e[2].name = "header.tar.gz";
  check_refused(tar(e), artifact_error::not_in_manifest, "header.tar.gz");
}

TEST_CASE("artifact: augmented") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    s.augmented = true;
    s.augment_files = {{"delta", "dddd"}};
    artifact_keys const no_keys;
    std::string const bytes = s.all();
    artifact_reader reader(read_from(bytes, 100), no_keys, {});
    check_good(reader, s);
    CHECK(reader.info().files.back().name == "data/0000/delta");
    CHECK(reader.info().files.back().augmented);

    auto e = s.entries();
    artifact_sample other = s;
    other.augment_files[0].content = "ddde";
    e.back() = other.entries().back();
    check_refused(tar(e), artifact_error::wrong_checksum, "data/0000/delta");
    e = s.entries();
    e[4].content[20] ^= 1;
    check_refused(tar(e), artifact_error::wrong_checksum, "header-augment.tar" + std::string(suffix));
  }
  artifact_sample s;
  s.augmented = true;
  auto const with = [&s](std::string const& text) {
    auto e = s.entries();
    e[2].content = text;
    return tar(e);
  };
  std::string const good = s.augment_manifest();
  std::string const hex(64, 'a');
  check_refused(with(good + hex + "  version\n"), artifact_error::bad_manifest, "manifest-augment");
  check_refused(with(good + hex + "  header.tar\n"), artifact_error::bad_manifest, "manifest-augment");
  check_refused(with(""), artifact_error::incomplete_manifest, "manifest-augment");
  check_refused(with(good + hex + "  data/0000/dest_dir\n"), artifact_error::repeated_entry, "data/0000/dest_dir");
  check_refused(with(good + hex + "  data/0000/x\n"), artifact_error::missing_file, "data/0000/x");
}

TEST_CASE("artifact: the header") {
  auto const with = [](std::vector<tar_entry> const& header) {
    artifact_sample s;
    s.header = header;
    return s;
  };
  tar_entry const info{"header-info", {}};
  check_refused(with({}), artifact_error::missing_file, "header.tar/header-info");
  check_refused(with({{"scripts/x", "x"}, info}), artifact_error::unexpected_entry, "header.tar/scripts/x");
  check_refused(with({info, info}), artifact_error::unexpected_entry, "header.tar/header-info");
  check_refused(with({info, {"scripts/x", "x"}, {"scripts/x", "x"}}), artifact_error::repeated_entry,
                "header.tar/scripts/x");
  for (std::string const name : {"x", "scripts", "scripts/../x", "scripts/..", "/scripts/x", "headers/0000/x",
                                 "headers/00/type-info", "headers/0000/type-info/x", "../header-info"}) {
    CAPTURE(name);
    check_refused(with({info, {name, "x"}}), artifact_error::bad_entry_name, "header.tar/" + name);
  }
  CHECK(judge(with({info, {"headers/0000/meta-data", "{}"}, {"headers/0001/type-info", "{}"}}).all()));

  std::string const rest = R"("artifact_provides":{"artifact_name":"n"},"artifact_depends":{"device_type":["d"]})";
  std::string const texts[] = {
      "{}",
      "null",
      "[]",
      "x",
      "{" + rest + "}",
      R"({"payloads":[],)" + rest + "}",
      R"({"payloads":{},)" + rest + "}",
      R"({"payloads":[1],)" + rest + "}",
      R"({"payloads":[{}],)" + rest + "}",
      R"({"payloads":[{"type":1}],)" + rest + "}",
      R"({"payloads":[{"type":"t"}]})",
      R"({"payloads":[{"type":"t"}],"artifact_provides":{"artifact_name":""},"artifact_depends":{"device_type":["d"]}})",
      R"({"payloads":[{"type":"t"}],"artifact_provides":{"artifact_name":1},"artifact_depends":{"device_type":["d"]}})",
      R"({"payloads":[{"type":"t"}],"artifact_provides":[],"artifact_depends":{"device_type":["d"]}})",
      R"({"payloads":[{"type":"t"}],"artifact_provides":{"artifact_name":"n"},"artifact_depends":{"device_type":"d"}})",
      R"({"payloads":[{"type":"t"}],"artifact_provides":{"artifact_name":"n"},"artifact_depends":{"device_type":[1]}})",
      R"({"payloads":[{"type":"t"}],"artifact_provides":{"artifact_name":"n"},"artifact_depends":{}})",
      R"({"payloads":[{"type":"t"}],)" + rest + "} x",
      R"({"payloads":[{"type":"t"}],"a":"\ud800",)" + rest + "}",
      R"({"payloads":[{"type":"t"}],"a":)" + std::string(100, '[') + std::string(100, ']') + "," + rest + "}"};
  for (auto const& text : texts) {
    CAPTURE(text);
    artifact_sample s;
    s.header_info = text;
    check_refused(s, artifact_error::bad_header_info, "header.tar/header-info");
  }
}

TEST_CASE("artifact: never good if cut anywhere, nor with something added") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    std::string const bytes = s.all();
    for (std::size_t n = 0; n < bytes.size(); n += n % 512 == 0 || n % 512 == 511 ? 1 : 51) {
      CAPTURE(n);
      auto const v = judge(std::string_view(bytes).substr(0, n));
      CHECK_FALSE(v);
      CHECK(v.error == (n < 512 ? artifact_error::not_an_artifact : artifact_error::truncated));
      if (n % 512 == 0) CHECK(judge(std::string_view(bytes).substr(0, n), 77).error == v.error);
    }
    artifact_limits const limits;
    CHECK(judge(bytes + std::string(limits.max_padding, '\0')));
    check_refused(bytes + std::string(limits.max_padding + 1, '\0'), artifact_error::trailing_data, "");
    check_refused(bytes + "x", artifact_error::trailing_data, "");
    check_refused(bytes + std::string(1, '\0') + "x", artifact_error::trailing_data, "");
    check_refused(bytes + std::string(40000, '\0') + "x", artifact_error::trailing_data, "");
    check_refused(bytes + bytes, artifact_error::trailing_data, "");
  }
}

TEST_CASE("artifact: the archives inside are whole, and nothing follows them") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    std::string const data = s.data_tar();
    std::string const name = "data/0000.tar" + std::string(suffix);
    auto const with = [&](std::string const& content) {
      auto e = s.entries();
      e.back().content = content;
      return tar(e);
    };
    for (std::size_t n = 0; n < data.size(); n += 1 + n / 40) {
      CAPTURE(n);
      CHECK(judge(with(data.substr(0, n))).error == artifact_error::truncated);
    }
    for (std::size_t n = data.size() - 8; n != data.size(); ++n)
      CHECK(judge(with(data.substr(0, n))).error == artifact_error::truncated);
    CHECK_FALSE(judge(with(data + "x")));
    CHECK_FALSE(judge(with(data + std::string(512, 'x'))));
    // Packed together: what follows the two blocks of zeros.
    std::string const files = tar(s.files);
    check_refused(with(packed(files + "x", suffix)), artifact_error::trailing_data, name);
    CHECK(judge(with(packed(files + std::string(9000, '\0'), suffix))));
    check_refused(with(packed(tar(s.files, 0), suffix)), artifact_error::truncated, name);
    check_refused(with(packed(tar(s.files, 1), suffix)), artifact_error::truncated, name);
    if (suffix.empty()) continue;
    // In two members, which each of the formats allows.
    CHECK(judge(with(packed(files.substr(0, 700), suffix) + packed(files.substr(700), suffix))));
    // Another compression than its name says; twice compressed.
    check_refused(with(files), artifact_error::cannot_unpack, name);
    for (auto const other : suffixes)
      if (!other.empty() && other != suffix)
        check_refused(with(packed(files, other)), artifact_error::cannot_unpack, name);
    check_refused(with(packed(packed(files, suffix), suffix)), artifact_error::truncated, name);
  }
}

TEST_CASE("artifact: a bit changed anywhere is noticed, or changes nothing that counts") {
  for (auto const suffix : suffixes) {
    CAPTURE(suffix);
    artifact_sample s;
    s.suffix = suffix;
    s.files[1].content.resize(100);
    std::string bytes = s.all();
    std::size_t good = 0;
    for (std::size_t i = 0; i != bytes.size(); ++i) {
      bytes[i] ^= static_cast<char>(1 << i % 8);
      artifact_keys const no_keys;
      artifact_reader reader(read_from(bytes, 300), no_keys, {});
      if (reader.read_payloads()) {
        ++good;
        CHECK(reader.info().header.artifact_name == "release-2");
        CHECK(reader.info().files.size() == 2);
      }
      bytes[i] ^= static_cast<char>(1 << i % 8);
    }
    // Padding, and in headers the bytes after the zero that ends a name.
    CHECK(good < bytes.size() * 3 / 4);
  }
}

TEST_CASE("artifact: the digest of its head covers what stands before the header, in whatever archive") {
  auto const digest_of = [](std::string const& bytes) {
    artifact_keys const no_keys;
    artifact_reader reader(read_from(bytes, 100), no_keys, {});
    (void)reader.read_payloads();
    return reader.info().head_digest;
  };
  artifact_sample s;
  std::string const nul(1, '\0');
  std::string text;
  auto const add = [&](std::string const& name, std::string const& content) {
    text += name + nul + std::to_string(content.size()) + nul + content;
  };
  add("version", s.version);
  add("manifest", s.manifest());
  CHECK(digest_of(s.all()) == mgw::test::sha256_hex(text));

  s.signature = "QUJD\nREVG\n";
  s.augmented = true;
  add("manifest.sig", s.signature);
  add("manifest-augment", s.augment_manifest());
  std::string const whole = digest_of(s.all());
  CHECK(whole == mgw::test::sha256_hex(text));

  // The first bytes are enough: the three blocks of an entry before the header, and the header's own.
  auto entries = s.entries();
  std::size_t head = 512;
  for (std::size_t i = 0; i != 4; ++i) head += entries[i].bytes().size();
  REQUIRE(entries[4].name == "header.tar");
  CHECK(digest_of(s.all().substr(0, head)) == whole);
  CHECK(digest_of(s.all().substr(0, head - 512)).empty());

  // Not the payload, nor how the archive was written; any byte of what counts.
  auto other = entries;
  other[6].content[600] ^= 1;
  other[0].magic = "ustar  ";
  CHECK(digest_of(tar(other)) == whole);
  for (std::size_t i = 2; i != 4; ++i) {
    other = entries;
    other[i].content[0] = static_cast<char>(other[i].content[0] == '0' ? '1' : '0');
    CHECK(digest_of(tar(other)) != whole);
  }
  s.augmented = false;
  CHECK(digest_of(s.all()) != whole);
}

TEST_CASE("artifact: a source that fails is no broken artifact, wherever it fails") {
  artifact_sample s;
  s.suffix = ".xz";
  s.augmented = true;
  std::string const bytes = s.all();
  auto const why = std::make_error_code(std::errc::io_error);
  artifact_keys const no_keys;
  std::size_t n = 0;
  for (bool good = false; !good; ++n) {
    std::size_t left = n;
    std::string_view rest = bytes;
    artifact_reader reader(
        [&]() -> source_piece {
          if (left-- == 0) return {{}, why};
          auto const now = rest.substr(0, 100);
          rest.remove_prefix(now.size());
          return {now, {}};
        },
        no_keys, {});
    auto const& v = reader.read_payloads();
    good = bool(v);
    CHECK(v.source_failed() == !good);
    CHECK((good || v.error == why));
  }
  CHECK(n > bytes.size() / 100);
}

}  // namespace gateway::artifact_reader_test
