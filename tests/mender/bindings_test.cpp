#include <mgw/mender/bindings.hpp>
// The header under test comes first.
#include <mgw/cache/file.hpp>

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::mender::bindings_test {
namespace {

using verdict = bindings::verdict;

/// A disk that can be told to fail.
struct faulty_disk final : cache::file_ops {
  bool full = false, no_flush = false;
  result<std::size_t> pwrite(int fd, std::string_view bytes, std::uint64_t offset) override {
    if (full) return std::make_error_code(std::errc::no_space_on_device);
    return file_ops::pwrite(fd, bytes, offset);
  }
  std::error_code fdatasync(int fd) override {
    return no_flush ? std::make_error_code(std::errc::io_error) : file_ops::fdatasync(fd);
  }
};

struct place {
  test::temporary_directory directory;
  binding_options options;
  place() { options.path = (directory.path() / "bindings").string(); }
  std::string contents() const {
    std::ifstream in(options.path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(std::string const& text) const { std::ofstream(options.path, std::ios::binary) << text; }
};

}  // namespace

TEST_CASE("the first pair binds both; every other pair with one of them is told, also after a restart") {
  place p;
  {
    bindings b(p.options);
    CHECK(b.look("CN=a", "{1}") == verdict::unbound);
    CHECK(b.bind("CN=a", "{1}") == verdict::bound);
    CHECK(b.bind("CN=b", "{2}") == verdict::bound);
  }
  for (int restarts = 0; restarts < 2; ++restarts) {
    bindings b(p.options);
    CHECK(b.pairs() == 2);
    CHECK(b.look("CN=a", "{1}") == verdict::bound);
    CHECK(b.bind("CN=a", "{1}") == verdict::bound);
    CHECK(b.bind("CN=a", "{2}") == verdict::other_identity);
    CHECK(b.bind("CN=a", "{3}") == verdict::other_identity);
    CHECK(b.bind("CN=c", "{1}") == verdict::other_subject);
    CHECK(b.look("CN=c", "{1}") == verdict::other_subject);
  }
  CHECK(p.contents().size() == bindings::header.size() + 2 * bindings::record_size);
}

TEST_CASE("without a file pairs and keys are bound all the same, as long as the process lives") {
  bindings b{binding_options()};
  CHECK(b.bind("CN=a", "A") == verdict::bound);
  CHECK(b.bind("CN=b", "A") == verdict::other_subject);
  CHECK_FALSE(b.note_key("A", "key"));
  CHECK(b.knows_key("A", "key"));
  CHECK_FALSE(b.knows_key("A", "other"));
}

TEST_CASE("with allow_rebind the new pair takes the place of the old ones, durably") {
  place p;
  p.options.allow_rebind = true;
  {
    bindings b(p.options);
    CHECK(b.bind("CN=a", "{1}") == verdict::bound);
    CHECK(b.bind("CN=b", "{2}") == verdict::bound);
    CHECK(b.bind("CN=a", "{2}") == verdict::bound);
    CHECK(b.pairs() == 1);
  }
  bindings const b(p.options);
  CHECK(b.pairs() == 1);
  CHECK(b.look("CN=a", "{2}") == verdict::bound);
  CHECK(b.look("CN=b", "{1}") == verdict::unbound);
  CHECK(b.look("CN=b", "{2}") == verdict::other_subject);
}

TEST_CASE("limit: pairs, at and past it; what is bound stays so") {
  place p;
  p.options.max_pairs = 2;
  bindings b(p.options);
  CHECK(b.bind("CN=a", "{1}") == verdict::bound);
  CHECK(b.bind("CN=b", "{2}") == verdict::bound);
  CHECK(b.bind("CN=c", "{3}") == verdict::full);
  CHECK(b.bind("CN=a", "{1}") == verdict::bound);
}

TEST_CASE("keys are remembered for their identity alone, across a restart, up to a limit") {
  place p;
  {
    bindings b(p.options);
    CHECK_FALSE(b.knows_key("{1}", "k"));
    CHECK_FALSE(b.note_key("{1}", "k"));
    CHECK_FALSE(b.note_key("{1}", "k"));
  }
  p.options.max_keys = 2;
  bindings b(p.options);
  CHECK(b.knows_key("{1}", "k"));
  CHECK_FALSE(b.knows_key("{1}", "l"));
  CHECK_FALSE(b.knows_key("{2}", "k"));
  CHECK_FALSE(b.note_key("{2}", "k"));
  // What cannot be remembered must not look new each time.
  CHECK(b.knows_key("{3}", "k"));
  CHECK_FALSE(b.note_key("{3}", "k"));
  CHECK(p.contents().size() == bindings::header.size() + 2 * bindings::record_size);
}

TEST_CASE("what the disk refuses is not bound, and the next try is") {
  place p;
  faulty_disk disk;
  {
    bindings b(p.options, {}, disk);
    disk.full = true;
    CHECK(b.bind("CN=a", "{1}") == verdict::not_written);
    disk.full = false;
    disk.no_flush = true;
    CHECK(b.bind("CN=a", "{1}") == verdict::not_written);
    CHECK(b.note_key("{1}", "k") == std::errc::io_error);
    CHECK(b.look("CN=a", "{1}") == verdict::unbound);
    disk.no_flush = false;
    CHECK(b.bind("CN=a", "{1}") == verdict::bound);
  }
  CHECK(bindings(p.options).look("CN=a", "{1}") == verdict::bound);
}

TEST_CASE("a file that was cut anywhere holds what was whole before the cut, and goes on from there") {
  place p;
  {
    bindings b(p.options);
    CHECK(b.bind("CN=a", "{1}") == verdict::bound);
    CHECK(b.bind("CN=b", "{2}") == verdict::bound);
  }
  std::string const whole = p.contents();
  for (std::size_t size = bindings::header.size(); size < whole.size(); ++size) {
    CAPTURE(size);
    p.write(whole.substr(0, size));
    {
      bindings b(p.options);
      bool const first = size >= bindings::header.size() + bindings::record_size;
      CHECK(b.look("CN=a", "{1}") == (first ? verdict::bound : verdict::unbound));
      CHECK(b.look("CN=b", "{2}") == verdict::unbound);
      CHECK(b.bind("CN=c", "{3}") == verdict::bound);
    }
    CHECK(bindings(p.options).look("CN=c", "{3}") == verdict::bound);
  }
}

TEST_CASE("a damaged record is passed over and told; those behind it count") {
  place p;
  {
    bindings b(p.options);
    CHECK(b.bind("CN=a", "{1}") == verdict::bound);
    CHECK(b.bind("CN=b", "{2}") == verdict::bound);
  }
  std::string text = p.contents();
  char& byte = text[bindings::header.size() + 10];
  byte = static_cast<char>(byte ^ 1);
  p.write(text);
  std::string said;
  bindings const b(p.options, [&](log_level, std::string_view line) { said += line; });
  CHECK(said.find("1 records are damaged") != std::string::npos);
  CHECK(b.look("CN=a", "{1}") == verdict::unbound);
  CHECK(b.look("CN=b", "{2}") == verdict::bound);
}

TEST_CASE("a file that is none of these, of another version, or in use is refused by name") {
  place p;
  auto const refused = [&](char const* why) {
    CHECK_THROWS_WITH_AS(bindings(p.options), doctest::Contains(why), std::runtime_error);
  };
  for (char const* text : {"", "garbage", "mgw-bindings 2\n"}) {
    p.write(text);
    refused("damaged, or of another version");
  }
  std::filesystem::remove(p.options.path);
  {
    bindings const owner(p.options);
    refused("another gateway uses it");
  }
  p.options.path = (p.directory.path() / "absent" / "bindings").string();
  refused("bindings ");
}

}  // namespace mgw::mender::bindings_test
