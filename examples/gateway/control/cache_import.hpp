#pragma once

#include "artifact/labels.hpp"
#include "control/protocol.hpp"
#include "verifier/child_verifier.hpp"
#include "verifier/options.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/generation.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/sha256.hpp>
#include <mgw/proxy/body_verifier.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include <boost/json/object.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

/// A verifier for a thread that may block: the same child as downloads have. If its verdict is not wanted any more, the
/// child is ended.
class blocking_verifier {
public:
  using verdict = mgw::proxy::body_verdict;

  explicit blocking_verifier(verifier_options options) : child_(io_, std::move(options)) {}

  verdict take(std::string_view bytes, step_function const& step) { return run(child_.take(bytes), step); }
  verdict finish(step_function const& step) { return run(child_.finish(), step); }

private:
  verdict run(asio::awaitable<verdict> work, step_function const& step) {
    std::exception_ptr failure;
    std::optional<verdict> out;
    asio::co_spawn(io_, std::move(work), [&](std::exception_ptr e, verdict v) {
      failure = e;
      out.emplace(std::move(v));
      io_.stop();
    });
    while (!out) {
      io_.restart();
      io_.run_for(std::chrono::milliseconds(200));
      if (!out && !step(0, 0, {})) child_.give_up();
    }
    if (failure) std::rethrow_exception(failure);
    return *std::move(out);
  }

  asio::io_context io_{1};
  child_verifier child_;
};

/// Brings one Mender artifact from a file into the cache: it is read twice, first to verify it and to learn its key,
/// then to copy it; so nothing of a file that is bad gets there, and one that changes meanwhile is noticed.
/// Afterwards it is there, whole and pinned. What is there already is not believed: it is read, and replaced if it is
/// bad.
class cache_import {
public:
  /// `file`: open for reading, with a size; `name`: what messages call it. All of these outlive the object.
  cache_import(mgw::cache::disk_store& store, verifier_options const& how, int file, std::string const& name,
               step_function const& step)
      : store_(store), how_(how), file_(file), name_(name), step_(step) {}

  /// The answer: `key`, `name`, `size`, `sha256`, and `already` if it was there before.
  boost::json::object run() {
    auto const size = ops_.size(file_);
    if (!size) return failure(name_ + ": " + size.error().message());
    size_ = *size;
    try {
      if (!verify() || !copy()) return answer_;
    } catch (std::exception const& e) {
      return failure(name_ + ": " + e.what());
    }
    return answer_;
  }

private:
  using verdict = mgw::proxy::body_verdict;

  bool refuse(std::string const& why, int status = exit_status::undone) {
    answer_ = failure(name_ + ": " + why, status);
    return false;
  }
  bool refuse(std::error_code ec) { return refuse(ec.message()); }
  /// Gives the whole file to `take(bytes)`, which returns false to end it, and notes its digest.
  template <class Take>
  bool read(std::uint64_t done_before, std::string& sha256, Take take);
  bool verify();
  bool keep_what_is_there();
  bool copy();

  mgw::cache::disk_store& store_;
  verifier_options const& how_;
  int file_;
  std::string const& name_;
  step_function const& step_;
  mgw::cache::file_ops& ops_ = mgw::cache::posix_file_ops();
  std::uint64_t size_ = 0;
  std::string sha256_;
  mgw::cache::key key_;
  label_list labels_;
  boost::json::object answer_;
};

template <class Take>
bool cache_import::read(std::uint64_t done_before, std::string& sha256, Take take) {
  std::vector<char> block(std::size_t{128} << 10U);
  mgw::cache::sha256 hash;
  for (std::uint64_t at = 0; at != size_;) {
    if (!step_(done_before + at, 2 * size_, name_)) return refuse("the import was ended");
    std::size_t const wanted = static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), size_ - at));
    auto const n = ops_.read_full(file_, std::span(block.data(), wanted), at);
    if (!n) return refuse(n.error());
    if (*n != wanted) return refuse("the file became shorter while it was read");
    std::string_view const bytes(block.data(), wanted);
    if (auto const ec = hash.update(bytes)) return refuse(ec);
    if (!take(bytes)) return false;
    at += wanted;
  }
  mgw::cache::sha256_digest digest{};
  if (auto const ec = hash.digest(digest)) return refuse(ec);
  sha256 = mgw::cache::to_hex(digest);
  return true;
}

inline bool cache_import::verify() {
  verifier_options how = how_;
  how.only_artifacts = true;
  blocking_verifier verifier(std::move(how));
  auto const good = [this](verdict const& v) {
    if (v.what == verdict::state::bad) return refuse("not imported: " + v.why, exit_status::bad);
    if (v.what == verdict::state::unable)
      return refuse(step_(0, 0, {}) ? "not verified: " + v.why : "the import was ended");
    return true;
  };
  if (!read(0, sha256_, [&](std::string_view bytes) { return good(verifier.take(bytes, step_)); })) return false;
  verdict const v = verifier.finish(step_);
  if (!good(v)) return false;
  auto const key = mgw::cache::import_key(sha256_);
  if (!key) return refuse(key.error());
  key_ = *key;
  labels_ = v.labels;
  labels_.emplace_back(label::imported, std::to_string(std::time(nullptr)));
  return true;
}

/// True if the cache has it, whole, and it is pinned now.
inline bool cache_import::keep_what_is_there() {
  auto const found = store_.verify(key_);
  // One that cannot be read, either, is replaced by what was brought. A pin fails if it has just been removed.
  return found && *found == mgw::cache::disk_store::verdict::good && !store_.pin(key_, true);
}

inline bool cache_import::copy() {
  auto const shown_name = label_value(labels_, label::artifact_name);
  boost::json::object done{
      {"status", exit_status::done}, {"key", key_.hex()}, {"name", json_view(json_text(shown_name))}, {"size", size_}, {"sha256", sha256_}};
  if (keep_what_is_there()) {
    done.emplace("already", true);
    answer_ = std::move(done);
    return true;
  }
  mgw::cache::meta about;
  about.key = key_;
  about.length = size_;
  about.etag = '"' + sha256_ + '"';
  about.content_type = "application/vnd.mender-artifact";
  about.generation = mgw::cache::import_generation(key_);
  about.labels = labels_;
  auto part = store_.create(about);
  if (!part)
    return part.error() == mgw::cache::error::being_filled ? refuse("it is being imported already")
                                                           : refuse(part.error());
  // Somebody carried it here: it is not to go because nobody has asked for it yet.
  part->pin_with_commit();
  std::string copied;
  auto const append = [&](std::string_view bytes) {
    auto const ec = part->append(bytes);
    return !ec || refuse(ec);
  };
  if (!read(size_, copied, append)) return false;
  if (copied != sha256_) return refuse("the file changed while it was read");
  if (auto const ec = part->commit(size_)) return refuse(ec);
  answer_ = std::move(done);
  return true;
}

}  // namespace gateway
