#pragma once

#include "audit/chain.hpp"
#include "audit/files.hpp"
#include "audit/record.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway::audit {

/// A file of the log, open.
struct log_file {
  std::string path;
  std::shared_ptr<mgw::cache::file const> body;
};

/// All files of the log, the oldest first; also while the gateway rotates them. Errors: the system's; none are no
/// error.
inline mgw::result<std::vector<log_file>> open_log(mgw::cache::file_ops& disk, std::string const& path) {
  // The one that is written first: if it gets its number meanwhile, it is found once more among those that are full.
  auto current = disk.open(path, O_RDONLY);
  if (!current && current.error() != std::errc::no_such_file_or_directory) return current.error();
  auto const numbers = full_files(disk, path);
  if (!numbers) return numbers.error();
  std::vector<log_file> out;
  bool twice = false;
  for (std::uint64_t const n : *numbers) {
    std::string const name = full_name(path, n);
    auto body = disk.open(name, O_RDONLY);
    if (!body) return body.error();
    if (current) {
      auto const same = disk.is_named((*current)->fd(), name);
      if (!same) return same.error();
      twice = twice || *same;
    }
    out.push_back({name, *std::move(body)});
  }
  if (current && !twice) out.push_back({path, *std::move(current)});
  return out;
}

/// A line of the log. The text lives for the call.
struct line_view {
  std::string_view text;  ///< without its line feed
  std::uint64_t number;   ///< in its file, from 1
  bool whole;             ///< it has a line feed; only a last one may have none
};

/// Calls `f` for each line until it returns false. A line that is too long comes cut, as not whole. Errors: the disk's.
inline std::error_code each_line(mgw::cache::file_ops& disk, log_file const& file,
                                 std::function<bool(line_view const&)> const& f) {
  std::string rest;
  std::vector<char> block(std::size_t{64} << 10U);
  std::uint64_t at = 0, number = 0;
  for (;;) {
    auto const n = disk.read_full(file.body->fd(), block, at);
    if (!n) return n.error();
    rest.append(block.data(), *n);
    at += *n;
    std::size_t begin = 0;
    for (std::size_t end; (end = rest.find('\n', begin)) != rest.npos; begin = end + 1)
      if (!f({std::string_view(rest).substr(begin, end - begin), ++number, true})) return {};
    rest.erase(0, begin);
    bool const last = *n < block.size();
    if ((last && !rest.empty()) || rest.size() > max_line) f({rest, ++number, false});
    if (last || rest.size() > max_line) return {};
  }
}

/// What `verify` found.
struct verification {
  struct place {
    std::string file;
    std::uint64_t line = 0;
    std::string what;
  };
  std::uint64_t lines = 0, files = 0;
  chain_head head;              ///< of the last good line
  std::optional<place> broken;  ///< the first line that breaks the chain
  std::vector<place> remarks;   ///< what the good lines themselves say was cut, lost or missed; a torn last line
  bool lost = false;            ///< lines were there once that are not there now
  bool good() const noexcept { return !broken && !lost; }
};

struct verify_options {
  bool archived = false;              ///< the oldest files were moved away: begin with the oldest one that is there
  std::vector<chain_head> must_have;  ///< heads that were logged once
};

namespace reader_detail {

/// Goes through the lines one after the other.
class verifier {
public:
  verifier(chain_key const& key, verify_options const& options) : key_(key), options_(options) {
    found_.head = key.start();
  }

  /// False: broken.
  bool take(std::string const& file, line_view const& line, bool last_file) {
    if (!line.whole) {
      if (last_file) {
        found_.remarks.push_back(
            {file, line.number,
             "the last line is not whole (" + std::to_string(line.text.size()) +
                 " bytes): it is being written, or was when the gateway ended; its next start cuts it"});
        return true;
      }
      return fails(file, line, "it is not whole");
    }
    auto const parts = take_apart(line.text);
    if (!parts) return fails(file, line, "it has not the form of a line of this log");
    auto const fields = parse_line(line.text);
    if (!fields) return fails(file, line, "it is no JSON object");
    auto const seq = static_cast<std::uint64_t>(number_in(*fields, "seq"));
    std::string const event = text_in(*fields, "event");
    if (found_.lines == 0 && options_.archived && event == "file")
      found_.head = {seq - 1, text_in(*fields, "previous")};
    std::uint64_t const wanted = found_.head.seq + 1;
    if (mac_of(key_, found_.head.mac, parts->text) != parts->mac) {
      std::string why = "it does not follow from the line before: ";
      if (seq > wanted)
        why += "this is number " + std::to_string(seq) + ", and " + std::to_string(wanted) + " is missing";
      else if (seq < wanted)
        why += "this is number " + std::to_string(seq) + ", and " + std::to_string(wanted) + " should stand here";
      else
        why += "it was changed, or the key is another one";
      return fails(file, line, why);
    }
    if (seq != wanted) return fails(file, line, "its number is not " + std::to_string(wanted));
    if (line.number == 1 && event != "file") return fails(file, line, "a file does not begin so");
    found_.head = {seq, std::string(parts->mac)};
    ++found_.lines;
    for (chain_head const& h : options_.must_have)
      if (h.seq == seq && h.mac != parts->mac)
        return fails(file, line, "another head was logged for number " + std::to_string(seq));
    remark(file, line, event, *fields);
    return true;
  }
  void count_file() { ++found_.files; }

  verification end() {
    for (chain_head const& h : options_.must_have)
      if (!found_.broken && h.seq > found_.head.seq) {
        found_.lost = true;
        found_.remarks.push_back({"", 0,
                                  "the log ends with number " + std::to_string(found_.head.seq) + ", and number " +
                                      std::to_string(h.seq) + " was in it once"});
      }
    return std::move(found_);
  }

private:
  bool fails(std::string const& file, line_view const& line, std::string why) {
    found_.broken = verification::place{file, line.number, std::move(why)};
    return false;
  }
  void remark(std::string const& file, line_view const& line, std::string const& event,
              boost::json::object const& fields) {
    auto const say = [&](std::string what) { found_.remarks.push_back({file, line.number, std::move(what)}); };
    if (event == "cut") say(std::to_string(number_in(fields, "bytes")) + " bytes of a torn line were cut");
    if (event == "missed") say(std::to_string(number_in(fields, "records")) + " records could not be written");
    if (event == "lost") {
      found_.lost = true;
      say("the gateway found the log ending with number " + std::to_string(number_in(fields, "found_seq")) +
          " where it had ended with " + std::to_string(number_in(fields, "expected_seq")));
    }
  }

  chain_key const& key_;
  verify_options const& options_;
  verification found_;
};

}  // namespace reader_detail

/// Follows the chain through all files. Errors: the disk's.
inline mgw::result<verification> verify(mgw::cache::file_ops& disk, std::string const& path, chain_key const& key,
                                        verify_options const& options = {}) {
  auto const files = open_log(disk, path);
  if (!files) return files.error();
  reader_detail::verifier v(key, options);
  bool goes_on = true;
  for (std::size_t i = 0; i != files->size() && goes_on; ++i) {
    auto const& file = (*files)[i];
    v.count_file();
    bool const last = i + 1 == files->size();
    auto const ec =
        each_line(disk, file, [&](line_view const& line) { return goes_on = v.take(file.path, line, last); });
    if (ec) return ec;
  }
  return v.end();
}

}  // namespace gateway::audit
