#pragma once

#include "audit/chain.hpp"
#include "audit/files.hpp"
#include "audit/reader.hpp"
#include "audit/record.hpp"
#include "support/temporary_directory.hpp"

#include <mgw/cache/file.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace gateway::audit::test {

inline std::string contents(std::string const& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void put(std::string const& path, std::string_view bytes) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}
/// Lines with their line feeds.
inline std::vector<std::string> lines_of(std::string const& text) {
  std::vector<std::string> out;
  for (std::size_t begin = 0; begin < text.size();) {
    std::size_t const end = text.find('\n', begin);
    std::size_t const next = end == text.npos ? text.size() : end + 1;
    out.push_back(text.substr(begin, next - begin));
    begin = next;
  }
  return out;
}
inline std::string joined(std::vector<std::string> const& lines) {
  std::string out;
  for (auto const& l : lines) out += l;
  return out;
}

inline chain_key test_key() {
  return {std::string(32, 'k'), std::string(64, '7')};
}

/// A directory for a log and its key.
struct place {
  mgw::test::temporary_directory directory{true};
  std::string log = (directory.path() / "audit.log").string();
  std::string state = directory.path().string();

  /// The names of the log's files, the oldest first.
  std::vector<std::string> files() const {
    std::vector<std::string> out;
    auto const all = open_log(mgw::cache::posix_file_ops(), log);
    if (all)
      for (auto const& f : *all) out.push_back(f.path);
    return out;
  }
  verification verified(chain_key const& key = test_key(), verify_options const& options = {}) const {
    auto found = verify(mgw::cache::posix_file_ops(), log, key, options);
    return found ? *std::move(found) : verification{};
  }
};

/// The first line of a file.
inline record file_record(std::uint64_t number, std::string_view previous) {
  record r("file");
  r.add("file", number).add("previous", previous);
  return r;
}

/// A log of three files with three lines each, of which the first ones begin the files.
inline void write_three_files(place const& p) {
  chain c(test_key(), test_key().start());
  for (std::uint64_t file = 1; file <= 3; ++file) {
    std::string text = c.seal(file_record(file, c.head().mac).body());
    for (std::uint64_t i = 0; i != 2; ++i) {
      record r("delivery");
      r.add("device", "device-" + std::to_string(file)).add("size", i);
      text += c.seal(r.body());
    }
    put(file == 3 ? p.log : full_name(p.log, file), text);
  }
}

}  // namespace gateway::audit::test
