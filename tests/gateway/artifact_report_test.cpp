#include "artifact/report.hpp"

#include "artifact/head_digest.hpp"
#include "artifact_support.hpp"
#include "gateway/support.hpp"

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway::artifact_report_test {
namespace {

using gateway::test::has;

/// A directory that goes with the test.
class scratch {
public:
  std::string file(std::string const& name) const { return (directory_.path() / name).string(); }
  std::string write(std::string const& name, std::string_view content) const {
    std::ofstream(file(name), std::ios::binary) << content;
    return file(name);
  }
  /// Runs it in the directory, quietly.
  bool run(std::string const& command) const {
    return std::system(("cd '" + directory_.path().string() + "' && { " + command + "; } >log 2>&1").c_str()) == 0;
  }

private:
  mgw::test::temporary_directory directory_;
};

struct answer {
  int status = 0;
  std::string out;
  std::string errors;
};

std::string text_of(std::FILE* f) {
  std::string out;
  std::rewind(f);
  for (int c = std::fgetc(f); c != EOF; c = std::fgetc(f)) out += static_cast<char>(c);
  std::fclose(f);
  return out;
}

answer verify(std::string file, std::vector<std::string> keys = {}) {
  std::FILE* const out = std::tmpfile();
  std::FILE* const errors = std::tmpfile();
  answer a;
  a.status = verify_file({std::move(file), std::move(keys)}, out, errors);
  a.out = text_of(out);
  a.errors = text_of(errors);
  return a;
}

/// The digest of the head of a sample without signature and augments.
std::string head_of(artifact_sample const& a) {
  head_digest d;
  d.add("version", a.version);
  d.add("manifest", a.manifest());
  return d.hex();
}

}  // namespace

TEST_CASE("artifact report: a good one, a bad one, none") {
  scratch const s;
  artifact_sample a;
  auto const good = verify(s.write("good", a.all()));
  CHECK(good.status == 0);
  CHECK(good.errors.empty());
  CHECK(good.out ==
        "artifact   release-2\n"
        "devices    qemux86-64, raspberrypi4\n"
        "payload    single-file\n"
        "file       " +
            mgw::test::sha256_hex("/var/lib") +
            "  8  data/0000/dest_dir\n"
            "file       " +
            mgw::test::sha256_hex(std::string(3000, 'b')) +
            "  3000  data/0000/blob.bin\n"
            "head       " +
            head_of(a) +
            "\n"
            "signature  none\n"
            "verdict    good\n");
  auto const cut = verify(s.write("cut", a.all().substr(0, 7900)));
  CHECK(cut.status == 1);
  CHECK(has(cut.out, "artifact   release-2\n"));
  CHECK(has(cut.out, "verdict    bad: data/0000/dest_dir: the end is missing\n"));
  auto const none = verify(s.write("none", "hello"));
  CHECK(none.status == 1);
  CHECK(none.out == "verdict    bad: this is no Mender artifact\n");
  a.signature = "AAAA";
  CHECK(has(verify(s.write("signed", a.all())).out, "signature  not checked: no key given\n"));
}

TEST_CASE("artifact report: what cannot be read is not called bad") {
  scratch const s;
  CHECK(verify(s.file("nothing")).status == 2);
  CHECK(has(verify(s.file("nothing")).errors, "No such file"));
  CHECK(verify(s.file("")).status == 2);  // a directory
  std::string const good = s.write("good", artifact_sample().all());
  CHECK(verify(good, {s.file("nothing")}).status == 2);
  CHECK(verify(good, {s.write("no-key", "x")}).status == 2);
  CHECK(verify(good, {good}).out.empty());
}

TEST_CASE("artifact report: nothing of an artifact's gets to the terminal as it is") {
  scratch const s;
  artifact_sample a;
  a.header_info =
      R"({"payloads":[{"type":"\u001b[2J"}],"artifact_provides":{"artifact_name":"a\nverdict    good\u009b"},"artifact_depends":{"device_type":["\u0000\u007f"]}})";
  auto const out = verify(s.write("a", a.all())).out;
  CHECK(has(out, R"(artifact   a\x0averdict    good\xc2\x9b)"
                 "\n"));
  CHECK(has(out, "devices    \\x00\\x7f\n"));
  CHECK(has(out, "payload    \\x1b[2J\n"));
  auto entries = artifact_sample().entries();
  entries.push_back({"\x1b[31m", ""});
  CHECK(has(verify(s.write("b", tar(entries))).out, "bad: \\x1b[31m: this entry does not belong here\n"));
}

TEST_CASE("artifact report: what mender-artifact writes") {
  scratch const s;
  if (!s.run("command -v mender-artifact && command -v openssl")) {
    MESSAGE("mender-artifact or openssl is not installed");
    return;
  }
  REQUIRE(s.run(
      "printf /tmp/x > dest_dir && head -c 200000 /dev/urandom > blob.bin && "
      "openssl genrsa -traditional -out rsa.pem 2048 && openssl rsa -in rsa.pem -pubout -out rsa.pub && "
      "openssl ecparam -genkey -name prime256v1 -noout -out ec.pem && openssl ec -in ec.pem -pubout -out ec.pub"));
  std::string const write =
      "mender-artifact --compression $c write module-image -T single-file -n release-3 -t qemux86-64 -t other -f "
      "dest_dir ";
  for (std::string const how : {"none", "gzip", "lzma", "zstd_fastest", "zstd_better"}) {
    CAPTURE(how);
    std::string const set = "c=" + how + "; ";
    if (!s.run(set + write + "-f blob.bin -o plain")) {
      CHECK(how.starts_with("zstd"));  // not before 3.11
      continue;
    }
    auto const plain = verify(s.file("plain"));
    CHECK(plain.status == 0);
    CHECK(has(plain.out, "artifact   release-3\ndevices    qemux86-64, other\npayload    single-file\n"));
    CHECK(has(plain.out, "  200000  data/0000/blob.bin\n"));
    CHECK(has(plain.out, "signature  none\nverdict    good\n"));
    CHECK(has(verify(s.file("plain"), {s.file("rsa.pub")}).out, "verdict    bad: the artifact is not signed\n"));

    REQUIRE(s.run(set + write + "-f blob.bin -k rsa.pem -o rsa && " + write + "-f blob.bin -k ec.pem -o ec"));
    for (std::string const key : {"rsa", "ec"}) {
      auto const right = verify(s.file(key), {s.file("rsa.pub"), s.file("ec.pub")});
      CHECK(right.status == 0);
      CHECK(has(right.out, "signature  good: " + s.file(key + ".pub")));
      auto const wrong = verify(s.file(key), {s.file(key == "rsa" ? "ec.pub" : "rsa.pub")});
      CHECK(wrong.status == 1);
      CHECK(
          has(wrong.out,
              "signature  by none of the keys\nverdict    bad: manifest.sig: the signature is by none of the keys\n"));
    }

    REQUIRE(s.run(set + write + "--augment-file blob.bin --augment-type single-file -o augmented"));
    auto const augmented = verify(s.file("augmented"));
    CHECK(has(augmented.out, "  data/0000/blob.bin  (augmented)\nhead       "));
    CHECK(has(augmented.out, "\nsignature  none\nverdict    good\n"));
  }
  REQUIRE(s.run("mender-artifact write bootstrap-artifact -n release-3 -t qemux86-64 -o empty"));
  auto const empty = verify(s.file("empty"));
  CHECK(empty.status == 0);
  CHECK(has(empty.out, "payload    none\n"));
  REQUIRE(
      s.run("mender-artifact write rootfs-image -v 2 -n release-3 -t qemux86-64 -f blob.bin "
            "--no-default-software-version -o old || "
            "mender-artifact write rootfs-image -v 2 -n release-3 -t qemux86-64 -f blob.bin -o old"));
  CHECK(has(verify(s.file("old")).out,
            "verdict    bad: version: the artifact's format is not supported (format version 2, not 3)\n"));
}

}  // namespace gateway::artifact_report_test
