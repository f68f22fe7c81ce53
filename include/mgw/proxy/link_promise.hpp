#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/proxy/disk_threads.hpp>
#include <mgw/proxy/fetch_options.hpp>

#include <asio/awaitable.hpp>

#include <cstdint>
#include <optional>

namespace mgw::proxy {

/// What a client may be given on its link: the bytes of one generation and no others. Clients resume by offset alone
/// and compare nothing but the total, so it is here that two generations are kept from being spliced.
///
/// The first byte of a body pins the link to its generation; a resume is served from that one only. A link that was
/// not begun here may be resumed unless the object was replaced after the link was made, or is made anew for each link.
/// Where the disk hangs, the pin is in memory: it holds for this life of the process, and is written when the disk
/// answers again. Only a crash in between forgets it; then the link counts as one that was not begun here.
/// Thread rule: one exchange's worker. Precondition: ledger and threads outlive it.
class link_promise {
public:
  link_promise(cache::ledger& book, disk_threads& disk, cache::key const& k, fetch_source const& source)
      : book_(book), disk_(disk), key_(k), link_(source.link), issued_(source.issued), until_(source.link_ends), only_begun_(source.one_link_only) {}

  std::optional<cache::link_id> const& link() const noexcept { return link_; }
  /// Whether a body that does not begin with the first byte may be sent of this generation; 0: an unknown one.
  bool allows_resume(std::uint64_t generation) const {
    auto const begun = link_ ? book_.begun_with(*link_) : std::nullopt;
    if (begun) return generation != 0 && *begun == generation;
    return !only_begun_ && issued_ >= book_.replaced_at(key_);
  }
  /// Whether the bytes of this generation were found to be bad: nobody gets them.
  bool is_condemned(std::uint64_t generation) const { return book_.is_condemned(key_, generation); }
  /// A body of this generation is about to begin. Returns when the pin is durable, or cannot be made so in time.
  asio::awaitable<void> begin(std::uint64_t generation) {
    if (!link_ || !book_.begin(*link_, generation, until_)) co_return;
    auto flush = [book = &book_] { return book->flush(); };
    (void)co_await disk_.ask(disk_.ledger, flush);
  }

private:
  cache::ledger& book_;
  disk_threads& disk_;
  cache::key const key_;
  std::optional<cache::link_id> const link_;
  std::int64_t const issued_, until_;
  bool const only_begun_;
};

}  // namespace mgw::proxy
