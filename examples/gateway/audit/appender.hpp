#pragma once

#include "audit/chain.hpp"
#include "audit/files.hpp"
#include "audit/record.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/core/result.hpp>

#include <fcntl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway::audit {

struct appender_options {
  std::string path;
  std::string state_directory;  ///< of the key and the noted head
  std::uint64_t max_file_size = std::uint64_t{64} << 20U;
};

/// Writes records at the end of the log, and begins a new file when one is full.
///
/// A file is opened anew after every fault: what is there by then is looked at, so that no line is written twice, none
/// is missing, and half a line is cut. What was found at the first opening is recorded: a torn line that was cut, and
/// that the log ends before the head that was noted last. Errors: the disk's, std::errc::bad_message for a key or a
/// last line that is none; all of them may pass, and the same call is made again then. Thread rule: one thread at a
/// time; everything here blocks.
class appender {
public:
  explicit appender(appender_options options, mgw::cache::file_ops& disk = mgw::cache::posix_file_ops())
      : options_(std::move(options)), disk_(disk) {}

  /// Writes the records in order, and takes those that are written off the front.
  std::error_code append(std::deque<record>& records) {
    bool first = true;
    while (first || !records.empty() || !notes_.empty()) {
      first = false;
      if (auto const ec = ready()) return closed(ec);
      if (auto const ec = write_batch(records)) return closed(ec);
      if (size_ >= options_.max_file_size)
        if (auto const ec = rotate()) return closed(ec);
    }
    return {};
  }
  /// What was written is on disk then.
  std::error_code sync() {
    if (!dirty_) return {};
    if (auto const ec = ready()) return closed(ec);
    if (auto const ec = disk_.fdatasync(file_->fd())) {
      // The system may have dropped what it could not write, and not say so again.
      if (notes_.empty()) notes_.emplace_back("sync_failed");
      return closed(ec);
    }
    dirty_ = false;
    return {};
  }
  /// The same, and the head is noted in the state directory.
  std::error_code sync_and_note() {
    if (auto const ec = sync()) return ec;
    bool const news = chain_ && !(noted_ && *noted_ == chain_->head());
    if (!news || !notes_.empty()) return {};  // that lines were lost stands in the log before it is forgotten here
    if (auto const ec = note_head(disk_, head_file(options_.state_directory), chain_->head())) return ec;
    noted_ = chain_->head();
    return {};
  }
  bool dirty() const noexcept { return dirty_; }
  /// Of the last line that is written; nothing before the first.
  std::optional<chain_head> head() const { return chain_ && file_ ? std::optional(chain_->head()) : std::nullopt; }

private:
  static constexpr std::size_t max_batch = std::size_t{256} << 10U;

  std::error_code closed(std::error_code ec) {
    file_.reset();
    return ec;
  }

  /// Opens the file, if it is not open, and finds out where the chain stands.
  std::error_code ready() {
    if (file_) return {};
    if (!key_) {
      auto key = key_or_new(disk_, key_file(options_.state_directory));
      if (!key) return key.error();
      key_ = *std::move(key);
    }
    auto const full = full_files(disk_, options_.path);
    if (!full) return full.error();
    number_ = full->empty() ? 1 : full->back() + 1;
    auto file = disk_.open(options_.path, O_RDWR | O_CREAT | O_APPEND);
    if (!file) return file.error();
    if (auto const ec = disk_.lock((*file)->fd())) return ec;
    auto tail = cut_tail((*file)->fd());
    if (!tail) return tail.error();
    size_ = tail->size;
    bool const fresh = size_ == 0;
    if (fresh && !full->empty()) {
      auto const last = disk_.open(full_name(options_.path, full->back()), O_RDWR | O_APPEND);
      if (!last) return last.error();
      auto of_last = cut_tail((*last)->fd());
      if (!of_last) return of_last.error();
      tail->head = std::move(of_last->head);
    }
    if (!chain_) {
      auto noted = read_head(disk_, head_file(options_.state_directory));
      if (!noted) return noted.error();
      before_ = *std::move(noted);
    }
    settle(tail->head.value_or(key_->start()));
    if (auto const ec = disk_.fsync_directory(directory())) return ec;
    file_ = *std::move(file);
    return {};
  }

  struct tail_of_file {
    std::optional<chain_head> head;  ///< nothing: there is no line
    std::uint64_t size = 0;
  };
  /// Cuts off what follows the last whole line.
  mgw::result<tail_of_file> cut_tail(int fd) {
    auto const size = disk_.size(fd);
    if (!size) return size.error();
    tail_of_file out;
    std::uint64_t const from = *size - std::min<std::uint64_t>(*size, 2 * max_line);
    std::string end(static_cast<std::size_t>(*size - from), '\0');
    auto const n = disk_.read_full(fd, end, from);
    if (!n) return n.error();
    end.resize(*n);
    std::size_t const last = end.rfind('\n');
    if (last == end.npos && from != 0) return std::make_error_code(std::errc::bad_message);
    std::size_t const kept = last == end.npos ? 0 : last + 1;
    out.size = from + kept;
    std::uint64_t const torn = end.size() - kept;
    if (kept != 0) {
      std::string_view line(end.data(), last);
      std::size_t const begin = line.rfind('\n');
      if (begin != line.npos) line.remove_prefix(begin + 1);
      auto const parts = take_apart(line);
      auto const fields = parts ? parse_line(line) : std::nullopt;
      std::int64_t const seq = fields ? number_in(*fields, "seq") : 0;
      if (seq <= 0) return std::make_error_code(std::errc::bad_message);
      out.head = chain_head{static_cast<std::uint64_t>(seq), std::string(parts->mac)};
    }
    if (torn != 0) {
      if (auto const ec = disk_.truncate(fd, out.size)) return ec;
      if (tried_.empty()) cut_ += torn;  // else it is what we wrote ourselves a moment ago
    }
    return out;
  }

  /// The chain goes on from `found`: after what we wrote of the last batch, or from what another run of us left.
  void settle(chain_head found) {
    bool const again = chain_.has_value();
    auto const expected = before_;
    auto const written = std::find(tried_.begin(), tried_.end(), found.mac);
    if (written != tried_.end()) {
      written_ = static_cast<std::size_t>(written - tried_.begin()) + 1;  // of the batch that seemed to fail
    } else {
      written_ = 0;
      bool const lost =
          expected && (again ? found != *expected
                             : found.seq < expected->seq || (found.seq == expected->seq && found.mac != expected->mac));
      if (lost) {
        record r("lost");
        r.add("expected_seq", expected->seq).add("expected_mac", expected->mac).add("found_seq", found.seq);
        notes_.push_back(std::move(r));
      }
    }
    if (cut_ != 0) {
      record r("cut");
      r.add("bytes", std::exchange(cut_, 0));
      notes_.push_back(std::move(r));
    }
    chain_.emplace(*key_, std::move(found));
    before_ = chain_->head();
  }

  /// The first records, after what there is to say of the file itself.
  std::error_code write_batch(std::deque<record>& records) {
    drop_written(records);
    chain next = *chain_;
    tried_.clear();
    tried_file_ = size_ == 0;
    tried_notes_ = 0;
    std::string bytes;
    auto const put = [&](record const& r) {
      bytes += next.seal(r.body());
      tried_.push_back(next.head().mac);
    };
    if (tried_file_) {
      record r("file");
      r.add("file", number_).add("previous", next.head().mac);
      put(r);
    }
    for (; tried_notes_ != notes_.size(); ++tried_notes_) put(notes_[tried_notes_]);
    std::size_t n = 0;
    auto const has_room = [&] {  // for one in any file that is not full already, however short it is
      return n == 0 ? size_ < options_.max_file_size : size_ + bytes.size() < options_.max_file_size;
    };
    for (; n != records.size() && bytes.size() < max_batch && has_room(); ++n) put(records[n]);
    if (bytes.empty()) return {};
    before_ = chain_->head();
    dirty_ = true;
    if (auto const ec = disk_.write_all(file_->fd(), bytes, size_)) return ec;  // O_APPEND: the offset is not looked at
    chain_ = std::move(next);
    before_ = chain_->head();
    size_ += bytes.size();
    written_ = tried_.size();
    drop_written(records);
    tried_.clear();
    return {};
  }
  /// Takes away the first `written_` of what write_batch had put together.
  void drop_written(std::deque<record>& records) {
    std::size_t n = std::exchange(written_, 0);
    if (n != 0 && tried_file_) --n;
    std::size_t const notes = std::min(n, tried_notes_);
    notes_.erase(notes_.begin(), notes_.begin() + static_cast<std::ptrdiff_t>(notes));
    n = std::min(n - notes, records.size());
    records.erase(records.begin(), records.begin() + static_cast<std::ptrdiff_t>(n));
    tried_file_ = false;
    tried_notes_ = 0;
  }

  std::error_code rotate() {
    if (auto const ec = sync_and_note()) return ec;
    if (auto const ec = disk_.rename(options_.path, full_name(options_.path, number_))) return ec;
    file_.reset();
    return ready();
  }
  std::string directory() const {
    std::filesystem::path const p(options_.path);
    return p.has_parent_path() ? p.parent_path().string() : std::string(".");
  }

  appender_options const options_;
  mgw::cache::file_ops& disk_;
  std::optional<chain_key> key_;
  std::shared_ptr<mgw::cache::file const> file_;  // null: to be opened
  std::optional<chain> chain_;
  std::optional<chain_head>
      before_;  // the last line of which we know that it is written; before `chain_` is: the noted head
  std::optional<chain_head> noted_;
  std::uint64_t number_ = 1, size_ = 0, cut_ = 0;
  bool dirty_ = false;
  std::deque<record> notes_;  // of ours, not written yet
  // What write_batch has put together: MACs in order, first that of a file's beginning, then those of notes.
  std::vector<std::string> tried_;
  bool tried_file_ = false;
  std::size_t tried_notes_ = 0, written_ = 0;
};

}  // namespace gateway::audit
