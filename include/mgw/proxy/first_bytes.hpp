#pragma once

#include <mgw/http/framing.hpp>
#include <mgw/http/range.hpp>
#include <mgw/http/serializer.hpp>
#include <mgw/net/deadline.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/origin_request.hpp>
#include <mgw/upstream/cancellable.hpp>
#include <mgw/upstream/client_exchange.hpp>
#include <mgw/upstream/pool.hpp>

#include <asio/awaitable.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::proxy {

/// The leading bytes of an object upstream, and no more of them than needed: a little by a range, then more and more.
///
/// One step fails and the whole is given up: whoever asks can do without. An upstream that knows no ranges is read as
/// far as needed and then left. Thread rule: the pool's worker. Preconditions: all referred to live as long.
class first_bytes {
public:
  struct sizes {
    std::size_t first = 8 * 1024;    ///< bytes asked for at first; four times as many each time after that
    std::size_t most = 1024 * 1024;  ///< bytes that are read at most
    sizes() = default;
  };

  first_bytes(upstream::pool& pool, net::deadline_queue& deadlines, fetch_options const& options,
              fetch_counters& counters)
      : origin_(pool, deadlines, options, counters), counters_(counters) {}

  /// Reads until `enough(bytes so far)`. False: that was not to be had, or the object ended, before it was enough.
  template <class Enough>
  asio::awaitable<bool> read(fetch_source const& source, sizes limits, Enough enough);

  std::string const& bytes() const noexcept { return bytes_; }
  /// Gives `read` up. Idempotent; what connects at this moment does so to its end.
  void cancel() noexcept {
    cancelled_ = true;
    asking_.cancel();
  }

private:
  bool continues(upstream::client_exchange const& up, std::size_t until);
  template <class Enough>
  asio::awaitable<bool> take(upstream::client_exchange& up, std::size_t most, Enough const& enough);

  origin_request origin_;
  fetch_counters& counters_;
  std::string bytes_;
  std::string etag_;
  upstream::cancellable asking_;
  bool cancelled_ = false;
};

template <class Enough>
asio::awaitable<bool> first_bytes::read(fetch_source const& source, sizes limits, Enough enough) {
  bytes_.clear();
  etag_.clear();
  for (std::size_t piece = limits.first; bytes_.size() < limits.most; piece *= 4) {
    std::size_t const until = std::min(limits.most, bytes_.size() + piece);
    std::string fields;
    http::append_field(fields, "Range", "bytes=" + std::to_string(bytes_.size()) + "-" + std::to_string(until - 1));
    if (!etag_.empty()) http::append_field(fields, "If-Match", etag_);
    auto const watch = [this](upstream::cancellable what) {
      asking_ = what;
      if (cancelled_) what.cancel();
    };
    origin_answer const got = co_await origin_.ask(source, fields, watch);
    if (!got.up || cancelled_) co_return false;
    if (got.up->head().status == 200) {
      bytes_.clear();
      bool const whole = co_await take(*got.up, limits.most, enough);
      co_return whole;
    }
    if (!continues(*got.up, until)) co_return false;
    // To the end of the piece, so that the connection can be used again.
    auto const never = [](std::string_view) { return false; };
    (void)co_await take(*got.up, until, never);
    if (bytes_.size() < until) co_return enough(std::string_view(bytes_));
    if (enough(std::string_view(bytes_))) co_return true;
  }
  co_return false;
}

/// Whether this is the piece that was asked for, or what there is of it, of the same generation as those before.
inline bool first_bytes::continues(upstream::client_exchange const& up, std::size_t until) {
  auto const& fields = up.head().fields;
  auto const range = http::parse_content_range(fields.value("Content-Range"));
  if (up.head().status != 206 || !range || !range->range) return false;
  if (range->range->first != bytes_.size() || range->range->last >= until) return false;
  auto const etag = fields.value("ETag");
  if (!bytes_.empty()) return !etag_.empty() && etag == etag_;
  if (etag.starts_with('"')) etag_ = etag;
  return true;
}

/// Adds the body up to `most` bytes in all, or until they are enough; says whether they are.
template <class Enough>
asio::awaitable<bool> first_bytes::take(upstream::client_exchange& up, std::size_t most, Enough const& enough) {
  for (;;) {
    asking_ = &up;
    body::chunk const c = co_await up.read_body();
    asking_ = nullptr;
    std::string_view const wanted = c.bytes.substr(0, most - bytes_.size());
    bytes_ += wanted;
    counters_.first_time_bytes.fetch_add(wanted.size(), std::memory_order_relaxed);
    if (!wanted.empty() && enough(std::string_view(bytes_))) co_return true;
    if (c.ec || c.end || wanted.size() != c.bytes.size()) co_return false;
  }
}

}  // namespace mgw::proxy
