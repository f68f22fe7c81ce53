#pragma once

#include "api.hpp"
#include "signed_link.hpp"
#include "transfers.hpp"

#include <mgw/http/date.hpp>
#include <mgw/http/range.hpp>

#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace demo {

/// An open file and its validators.
class stored_object {
public:
  static std::optional<stored_object> open(std::string const& path) {
    stored_object o;
    o.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat about{};
    if (o.fd_ < 0 || ::fstat(o.fd_, &about) != 0) return std::nullopt;
    o.size_ = static_cast<std::uint64_t>(about.st_size);
    o.modified_ = about.st_mtim.tv_sec;
    o.etag_ = '"' +
              sha256_hex(std::to_string(o.size_) + ' ' + std::to_string(about.st_ino) + ' ' +
                         std::to_string(about.st_mtim.tv_sec) + ' ' + std::to_string(about.st_mtim.tv_nsec))
                  .substr(0, 32) +
              "-1\"";
    return o;
  }
  stored_object(stored_object&& o) noexcept
      : fd_(std::exchange(o.fd_, -1)), size_(o.size_), modified_(o.modified_), etag_(std::move(o.etag_)) {}
  stored_object& operator=(stored_object&&) = delete;
  ~stored_object() {
    if (fd_ >= 0) ::close(fd_);
  }
  std::uint64_t size() const noexcept { return size_; }
  std::int64_t modified() const noexcept { return modified_; }
  std::string const& etag() const noexcept { return etag_; }
  /// False: the file ended early.
  bool read(std::uint64_t at, char* to, std::size_t n) const {
    while (n != 0) {
      ssize_t const got = ::pread(fd_, to, n, static_cast<off_t>(at));
      if (got <= 0) return false;
      to += got;
      at += static_cast<std::uint64_t>(got);
      n -= static_cast<std::size_t>(got);
    }
    return true;
  }

private:
  stored_object() = default;
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::int64_t modified_ = 0;
  std::string etag_;
};

/// One object behind signed links, answered as an S3 store answers, with faults on demand.
class artifact_store {
public:
  struct options {
    std::string file;
    std::string path;        ///< of the object: `/storage/…`
    unsigned cut_every = 0;  ///< a response breaks after so many percent of the object; 0: never
  };
  artifact_store(options o, link_signer const& links, transfers& control)
      : options_(std::move(o)), links_(links), control_(control) {}

  asio::awaitable<void> operator()(exchange& x) const {
    control_.request();
    bool const open = co_await wait_while_held(x);
    if (!open) {
      x.abort();
      co_return;
    }
    if (control_.what() == transfers::mode::refusing) {
      co_await refuse_xml(x, 503, "SlowDown", "Please reduce your request rate.");
      co_return;
    }
    auto const& target = x.target();
    switch (links_.check(x.request().method, x.request().fields.value("Host"), target.path, target.query)) {
      case link_signer::outcome::wrong:
        co_await refuse_xml(x, 403, "SignatureDoesNotMatch", "The request signature does not match.");
        co_return;
      case link_signer::outcome::expired: co_await refuse_xml(x, 403, "AccessDenied", "Request has expired"); co_return;
      case link_signer::outcome::good: break;
    }
    auto const object = stored_object::open(options_.file);
    if (!object || target.path != links_.prefix() + options_.path) {
      co_await refuse_xml(x, 404, "NoSuchKey", "The specified key does not exist.");
      co_return;
    }
    co_await send(x, *object);
  }

private:
  /// `bytes` of a head's conditions: the part to send, or the refusal that was chosen.
  struct selection {
    int status = 200;
    mgw::http::byte_range range;
  };
  static selection select(mgw::http::fields const& asked, stored_object const& object) {
    selection s;
    if (auto const* const f = asked.find("If-Match");
        f != nullptr && f->value != "*" && f->value.find(object.etag()) == std::string_view::npos) {
      s.status = 412;
      return s;
    }
    std::optional<mgw::http::range_spec> spec;
    if (auto const* const f = asked.find("Range"); f != nullptr) spec = mgw::http::parse_range(f->value);
    if (auto const* const f = asked.find("If-Range");
        f != nullptr && f->value != object.etag() && f->value != mgw::http::format_date(object.modified()))
      spec.reset();
    auto const resolved = mgw::http::resolve(spec, object.size());
    switch (resolved.outcome) {
      case mgw::http::range_outcome::unsatisfiable: s.status = 416; break;
      case mgw::http::range_outcome::partial:
        s.status = 206;
        s.range = resolved.range;
        break;
      case mgw::http::range_outcome::whole:
        s.range.first = 0;
        s.range.last = object.size() - 1;  // an artifact is never empty
        break;
    }
    return s;
  }

  asio::awaitable<void> send(exchange& x, stored_object const& object) const {
    selection const part = select(x.request().fields, object);
    if (part.status == 412) {
      co_await refuse_xml(x, 412, "PreconditionFailed", "At least one of the preconditions did not hold.");
      co_return;
    }
    std::string content_range;
    if (part.status == 416) {
      mgw::http::append_unsatisfied_range(content_range, object.size());
      co_await refuse_xml(x, 416, "InvalidRange", "The requested range is not satisfiable", content_range);
      co_return;
    }
    x.start(part.status);
    x.field("ETag", object.etag());
    x.field("Last-Modified", mgw::http::format_date(object.modified()));
    x.field("Accept-Ranges", "bytes");
    x.field("Content-Type", "application/vnd.mender-artifact");
    if (part.status == 206) {
      mgw::http::append_content_range(content_range, part.range, object.size());
      x.field("Content-Range", content_range);
    }
    mgw::http::framing framing;
    framing.kind = mgw::http::body_kind::length;
    framing.length = part.range.size();
    x.end_head(framing);
    co_await send_body(x, object, part.range);
  }

  /// In pieces: an artifact is never whole in memory. A connection that is cut is closed without close_notify.
  asio::awaitable<void> send_body(exchange& x, stored_object const& object, mgw::http::byte_range range) const {
    std::uint64_t const until_cut =
        options_.cut_every == 0 ? range.size() : std::max<std::uint64_t>(object.size() * options_.cut_every / 100, 1);
    std::uint64_t at = range.first;
    std::uint64_t const end = range.last + 1;
    std::uint64_t const cut_at = std::min(end, at + until_cut);
    std::vector<char> buffer(64 * 1024);
    while (at != end) {
      bool const open = co_await wait_while_held(x);
      if (!open) break;
      auto const piece = control_.next(cut_at - at, buffer.size());
      co_await wait_until(piece.when);
      if (!object.read(at, buffer.data(), piece.size)) break;
      std::error_code const ec = co_await x.write(std::string_view(buffer.data(), piece.size));
      if (ec) co_return;
      control_.sent(at, piece.size);
      at += piece.size;
      if (at != end && (piece.cut || at == cut_at)) break;
    }
    if (at == end)
      (void)co_await x.finish();
    else
      x.abort();
  }

  /// False: the client left, or the server stops.
  asio::awaitable<bool> wait_while_held(exchange& x) const {
    while (control_.what() == transfers::mode::held) {
      if (x.draining() || x.client_gone()) co_return false;
      co_await wait_until(std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
    }
    co_return !(x.head_sent() && control_.what() == transfers::mode::refusing);
  }
  static asio::awaitable<void> wait_until(std::chrono::steady_clock::time_point when) {
    if (when <= std::chrono::steady_clock::now()) co_return;
    auto const executor = co_await asio::this_coro::executor;
    asio::steady_timer timer(executor, when);
    std::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }

  static asio::awaitable<void> refuse_xml(exchange& x, int status, std::string_view code, std::string_view message,
                                          std::string content_range = {}) {
    std::string const body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" + std::string(code) +
                             "</Code><Message>" + std::string(message) + "</Message></Error>";
    x.start(status);
    x.field("Content-Type", "application/xml");
    if (!content_range.empty()) x.field("Content-Range", content_range);
    mgw::http::framing framing;
    framing.kind = mgw::http::body_kind::length;
    framing.length = body.size();
    x.end_head(framing);
    if (x.request().method != "HEAD") (void)co_await x.write(std::string_view(body));
    (void)co_await x.finish();
  }

  options options_;
  link_signer const& links_;
  transfers& control_;
};

}  // namespace demo
