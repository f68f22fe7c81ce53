#pragma once

#include <mgw/cache/error.hpp>
#include <mgw/cache/fill.hpp>
#include <mgw/cache/generation.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/cache/read_at.hpp>
#include <mgw/cache/store.hpp>
#include <mgw/core/result.hpp>
#include <mgw/proxy/body_verifier.hpp>
#include <mgw/proxy/fetch_job.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/fill_disk.hpp>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace mgw::proxy {

/// What came of writing.
struct written {
  enum class state {
    good,
    other_bytes,   ///< what arrived is not what is there, or is more than was announced
    store_failed,  ///< it cannot be stored
    condemned,     ///< the verifier has refused it: these bytes must not be fetched again
    unverified,    ///< the verifier failed: another try may succeed
    late,          ///< the disk took too long (fill_disk): the fill ends
  };
  state what = state::good;
  std::string why;
  written() = default;
  written(state s, std::string text) : what(s), why(std::move(text)) {}
  explicit operator bool() const noexcept { return what == state::good; }
};

/// The storing half of a fill: one generation of an object goes into a part of the store, is verified on its way, made
/// durable from time to time, and shown to its readers.
///
/// What readers see: nothing before the verifier has found the head good, and not the last `withheld` bytes before its
/// verdict. Without a verifier they see all that is stored. With `whole_only` nothing before all of it is good.
/// Thread rule: the job's worker. Precondition: all that is given outlives it.
template <cache::CacheStore Store>
class fill_writer {
public:
  using part = typename Store::part_type;
  using clock = std::chrono::steady_clock;

  fill_writer(fetch_job& job, Store& objects, cache::ledger& book, fill_disk& disk, fetch_options const& options,
              fetch_counters& counters, asio::io_context& io)
      : job_(job),
        store_(objects),
        book_(book),
        disk_(disk),
        options_(options),
        counters_(counters),
        io_(io) {}
  fill_writer(fill_writer const&) = delete;
  fill_writer& operator=(fill_writer const&) = delete;
  /// However it ends, a stop in the middle of anything included: what is durable is kept, unless it is worth nothing.
  ~fill_writer() {
    if (part_ && !worthless_ && !doubted_) part_->suspend();
  }

  bool begun() const noexcept { return part_.has_value(); }
  std::uint64_t size() const { return part_ ? part_->size() : 0; }
  /// Precondition: begun.
  cache::meta const& meta() const { return part_->meta(); }
  /// Of the whole object, as soon as it is known.
  std::optional<std::uint64_t> length() const noexcept { return length_; }
  void set_length(std::uint64_t n) {
    length_ = n;
    job_.current()->set_length(n);
  }

  /// Goes on with the part of an earlier life, if there is one. `store_failed`: there is one, but not now.
  asio::awaitable<written> resume();
  /// Begins a new part. Its generation is set here. `condemned` if this generation was refused before.
  asio::awaitable<written> begin(cache::meta about, std::optional<std::uint64_t> length);
  /// Before more is written: a verifier that is not there yet is fed what is stored.
  asio::awaitable<written> prepare();
  /// Nothing is written for a while: no verifier waits for it, `prepare` makes another one.
  void rest() {
    resting_ = verifier_ != nullptr || resting_;
    verifier_.reset();
  }
  bool resting() const noexcept { return resting_; }
  /// What is there may be wrong, and is compared with what comes: until `trust` nothing of it is durable, nor kept for
  /// another life, in which it would come again in any case.
  asio::awaitable<void> doubt();
  void trust() noexcept { doubted_ = false; }
  /// The bytes at `at`, which is not beyond the end: those before the end are compared, the others added.
  asio::awaitable<written> write(std::string_view bytes, std::uint64_t at);
  /// The same as `checkpoint`, at most once in `checkpoint_every`; or when there is much that is not durable and the link
  /// is `idle`, since it may stay so.
  asio::awaitable<void> checkpoint_if_due(bool idle);
  /// What is there is durable from here on.
  asio::awaitable<void> checkpoint();
  /// All is there: the verdict, then the commit, then readers see it as complete. They do so, too, when the commit fails
  /// (that is logged) or takes too long.
  asio::awaitable<written> finish();
  /// Keeps what is durable for another life.
  asio::awaitable<void> keep();
  /// Forgets this generation; the next one differs, whatever it is called, unless its strong ETag is to be believed.
  asio::awaitable<void> drop(bool believe_etag = false);
  /// Forgets it for good: never again is it fetched, and its readers get it with zeros for what they have not seen.
  asio::awaitable<void> condemn();

private:
  void log(log_level level, std::string const& text) const {
    if (options_.log) options_.log(level, "fill " + job_.object_key().hex().substr(0, 12) + ": " + text);
  }
  void show();
  void publish() {
    if (!options_.whole_only) job_.current()->begin(part_->meta(), disk_.shared(part_->body()), 0);
  }
  written judge(body_verdict const& v);
  asio::awaitable<written> verify(std::string_view bytes);
  std::error_code store_bytes(std::string_view bytes, std::uint64_t at);
  asio::awaitable<void> flush_book();
  asio::awaitable<void> let_go();
  static written too_late() { return {written::state::late, "the disk took too long"}; }

  fetch_job& job_;
  Store& store_;
  cache::ledger& book_;
  fill_disk& disk_;
  fetch_options const& options_;
  fetch_counters& counters_;
  asio::io_context& io_;

  std::optional<part> part_;
  std::optional<std::uint64_t> length_;
  std::unique_ptr<body_verifier> verifier_;
  body_verdict::state verdict_ = body_verdict::state::open;
  bool resting_ = false;
  bool doubted_ = false;
  bool worthless_ = false;  // the part: it is being dropped
  std::uint64_t shown_ = 0;
  std::uint64_t dropped_ = 0;  // the generation that was found to be replaced
  std::uint64_t synced_ = 0;
  clock::time_point synced_when_ = clock::now();
};

template <cache::CacheStore Store>
void fill_writer<Store>::show() {
  if (options_.whole_only) return;
  std::uint64_t visible = size();
  if (options_.verifier && verdict_ != body_verdict::state::good) {
    std::uint64_t const end = length_.value_or(visible);
    visible = verdict_ == body_verdict::state::open ? 0 : std::min(visible, end - std::min(end, options_.withheld));
  }
  shown_ = std::max(shown_, visible);
  job_.current()->grew(shown_);
}

template <cache::CacheStore Store>
written fill_writer<Store>::judge(body_verdict const& v) {
  using state = body_verdict::state;
  if (v.what == state::good && verdict_ != state::good) counters_.verified.fetch_add(1, std::memory_order_relaxed);
  if (v.what == state::bad) {
    counters_.condemned.fetch_add(1, std::memory_order_relaxed);
    return {written::state::condemned, v.why};
  }
  if (v.what == state::unable) {
    counters_.unverified.fetch_add(1, std::memory_order_relaxed);
    verifier_.reset();
    verdict_ = state::open;
    return {written::state::unverified, v.why};
  }
  verdict_ = v.what;
  return {};
}

template <cache::CacheStore Store>
asio::awaitable<written> fill_writer<Store>::verify(std::string_view bytes) {
  body_verdict v = co_await verifier_->take(bytes);
  if (v.what == body_verdict::state::open) v = co_await verifier_->head();
  co_return judge(v);
}

template <cache::CacheStore Store>
asio::awaitable<written> fill_writer<Store>::resume() {
  auto again = [this]() -> result<part> {
    if (job_.stopping()) return std::make_error_code(std::errc::operation_canceled);
    return store_.resume(job_.object_key());
  };
  bool const much = cache::resumes_slowly(store_, job_.object_key());
  auto resumed = co_await disk_.read(much, again);
  if (!resumed) {
    auto const ec = resumed.error();
    bool const ends = ec == std::errc::operation_canceled;  // the threads do, and the part is kept
    if (ends) job_.stop();
    bool const none =
        ends || ec == std::errc::no_such_file_or_directory || ec == make_error_code(cache::error::newer_version);
    if (none) co_return written();
    co_return written(written::state::store_failed, ec.message());
  }
  part_.emplace(*std::move(resumed));
  synced_ = part_->size();
  if (disk_.late()) co_return written();
  if (part_->meta().length_known) length_ = part_->meta().length;
  publish();
  if (!options_.verifier) show();
  co_return written();
}

template <cache::CacheStore Store>
asio::awaitable<written> fill_writer<Store>::begin(cache::meta about, std::optional<std::uint64_t> length) {
  about.generation = cache::generation_of(about.etag, about.last_modified, length);
  if (book_.is_condemned(about.key, about.generation))
    co_return written(written::state::condemned, "these bytes were found to be bad before");
  // One that nothing tells, or that is not what its name says, is like no other.
  while (about.generation == 0 || about.generation == dropped_)
    about.generation = std::random_device{}() * std::uint64_t{0x1'0000'0001} + 1;
  auto make = [this, &about] { return store_.create(about); };
  auto made = co_await disk_.io(make);
  if (!made) co_return written(written::state::store_failed, made.error().message());
  part_.emplace(*std::move(made));
  worthless_ = doubted_ = false;
  if (disk_.late()) co_return too_late();
  length_ = length;
  shown_ = synced_ = 0;
  verdict_ = body_verdict::state::open;
  verifier_.reset();
  resting_ = false;
  if (options_.verifier) verifier_ = options_.verifier(io_);
  if (book_.saw(about.key, about.generation)) co_await flush_book();
  publish();
  co_return written();
}

template <cache::CacheStore Store>
asio::awaitable<written> fill_writer<Store>::prepare() {
  if (!part_ || !options_.verifier || verifier_) co_return written();
  verifier_ = options_.verifier(io_);
  resting_ = false;
  std::string block;
  for (std::uint64_t at = 0; at < part_->size();) {
    block.resize(static_cast<std::size_t>(std::min<std::uint64_t>(options_.batch, part_->size() - at)));
    auto load = [this, &block, at] { return cache::read_exactly(*part_->body(), block, at); };
    std::error_code const ec = co_await disk_.io(load);
    if (ec) co_return written(written::state::store_failed, ec.message());
    if (disk_.late()) co_return too_late();
    written const w = co_await verify(block);
    if (!w || job_.stopping()) co_return w;
    at += block.size();
  }
  show();
  co_return written();
}

/// Runs on the pool.
template <cache::CacheStore Store>
std::error_code fill_writer<Store>::store_bytes(std::string_view bytes, std::uint64_t at) {
  if (at < part_->size()) {
    auto const overlap = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), part_->size() - at));
    std::string stored(overlap, '\0');
    if (auto ec = cache::read_exactly(*part_->body(), stored, at)) return ec;
    if (stored != bytes.substr(0, overlap)) return std::make_error_code(std::errc::bad_message);
    bytes.remove_prefix(overlap);
  }
  return bytes.empty() ? std::error_code{} : part_->append(bytes);
}

template <cache::CacheStore Store>
asio::awaitable<written> fill_writer<Store>::write(std::string_view bytes, std::uint64_t at) {
  std::uint64_t const before = part_->size();
  auto keep = [this, bytes, at] { return store_bytes(bytes, at); };
  std::error_code const ec = co_await disk_.io(keep);
  if (ec == std::errc::bad_message) co_return written(written::state::other_bytes, "other bytes in the same place");
  if (ec == make_error_code(cache::error::length_mismatch))
    co_return written(written::state::other_bytes, "more bytes than announced");
  if (ec) co_return written(written::state::store_failed, ec.message());
  if (disk_.late()) co_return too_late();
  auto const known = static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), before > at ? before - at : 0));
  std::string_view const added = bytes.substr(known);
  if (verifier_ && !added.empty()) {
    written const w = co_await verify(added);
    if (!w) co_return w;
  }
  show();
  co_return written();
}

template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::checkpoint_if_due(bool idle) {
  bool const much = idle && size() >= synced_ + options_.checkpoint_bytes;
  if (much || clock::now() - synced_when_ >= options_.checkpoint_every) co_await checkpoint();
}

template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::checkpoint() {
  if (!part_ || doubted_ || size() <= synced_) co_return;
  auto sync = [this] { return part_->checkpoint(); };
  std::error_code const ec = co_await disk_.sync(sync);
  if (ec) log(log_level::warn, "no checkpoint: " + ec.message());
  synced_ = size();
  synced_when_ = clock::now();
}

template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::doubt() {
  if (doubted_) co_return;
  doubted_ = true;
  synced_ = 0;
  if constexpr (requires(part& p) { p.withdraw(); }) {
    auto withdraw = [this] { return part_->withdraw(); };
    std::error_code const ec = co_await disk_.sync(withdraw);
    if (ec) log(log_level::warn, "checkpoints cannot be taken back: " + ec.message());
  }
}

template <cache::CacheStore Store>
asio::awaitable<written> fill_writer<Store>::finish() {
  if (verifier_) {
    body_verdict const v = co_await verifier_->finish();
    written const w = judge(v);
    if (!w) co_return w;
    if constexpr (requires { part_->set_labels(v.labels); })
      if (auto const refused = part_->set_labels(v.labels)) log(log_level::warn, "not labelled: " + refused.message());
  }
  std::uint64_t const all = size();
  auto commit = [this, all] { return part_->commit(all); };
  // A copy: while a commit takes long, the pool writes the part's own.
  auto const shown = [this, all, about = part_->meta()] {
    show();
    if (options_.whole_only) job_.current()->begin(about, disk_.shared(part_->body()), all);
    job_.current()->completed();
  };
  std::error_code const ec = co_await disk_.commit(commit, shown);
  // Readers have the bytes on their descriptor either way; only the next start would have to fetch them again.
  if (ec && counters_.store_trouble.due()) log(log_level::error, "complete, but not kept: " + ec.message());
  shown();
  co_await let_go();
  if (!ec) log(log_level::info, "complete, " + std::to_string(all) + " bytes");
  co_return written();
}

template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::keep() {
  if (!part_) co_return;
  if (doubted_) {
    co_await drop(true);
    co_return;
  }
  auto suspend = [this] {
    part_->suspend();
    part_.reset();
    return 0;
  };
  (void)co_await disk_.sync(suspend);
}

/// A part that was neither committed nor suspended is dropped; either way its files are closed: nothing for this thread.
template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::let_go() {
  auto reset = [this] {
    part_.reset();
    return 0;
  };
  (void)co_await disk_.io(reset);
}

template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::drop(bool believe_etag) {
  if (part_) {
    worthless_ = true;
    bool const same = believe_etag && part_->meta().etag.starts_with('"');
    dropped_ = same ? 0 : part_->meta().generation;
    co_await let_go();
  }
  verifier_.reset();
  length_.reset();
}

template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::condemn() {
  worthless_ = true;
  if (part_) book_.condemn(part_->meta().key, part_->meta().generation);
  job_.current()->condemn();
  if (part_) co_await flush_book();
  co_await drop();
}

/// What was told to the ledger is on disk afterwards; with a disk that hangs it stays in memory, and is written later.
template <cache::CacheStore Store>
asio::awaitable<void> fill_writer<Store>::flush_book() {
  auto flush = [book = &book_] { return book->flush(); };
  (void)co_await disk_.threads().ask(disk_.threads().ledger, flush);
}

}  // namespace mgw::proxy
