#pragma once

#include <mgw/http/fields.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/inventory.hpp>
#include <mgw/mender/relay_options.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward.hpp>

#include <asio/awaitable.hpp>

#include <atomic>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

namespace mgw::mender {

/// Puts attributes of ours into the inventories that devices send.
///
/// Where the server refuses them (400: there may be too many), the inventory goes once more as the device sent it. What
/// cannot be added to (no list, a coding that cannot be undone, more than max_inventory_size) goes as it is, with a
/// warning. So many large ones are held at once; one more is mender_error::overloaded. `options` outlives it. Thread
/// rule: any worker.
class inventory_additions {
public:
  explicit inventory_additions(relay_options const& options) : options_(options) {}

  /// Sends the request, an inventory. Its body may have been taken in part already.
  asio::awaitable<proxy::forward_outcome> send(proxy::exchange& x, proxy::forwarding& f, proxy::forward_call call);

private:
  std::optional<std::string> with_ours(proxy::exchange const& x, std::string const& body) const;

  relay_options const& options_;
  std::atomic<std::size_t> large_{0};  // that are held now
};

/// What is sent in place of `body`, or nothing: it goes as it is.
inline std::optional<std::string> inventory_additions::with_ours(proxy::exchange const& x,
                                                                 std::string const& body) const {
  auto const as_it_is = [&](std::string const& why) {
    options_.warn("the inventory of device \"" + x.notes().device + "\" " + why +
                  ": it goes on without the gateway's attributes");
  };
  auto const coding = x.request().fields.value("Content-Encoding");
  std::optional<std::string> decoded;
  bool const coded = !coding.empty() && !http::iequals(coding, "identity");
  if (coded && options_.decode) decoded = options_.decode(coding, body, max_inventory_size);
  if (coded && !decoded) {
    as_it_is("came in a coding that cannot be undone");
    return std::nullopt;
  }
  auto added = add_attributes(decoded ? *decoded : body, options_.attributes);
  if (!added) as_it_is("cannot be added to (" + added.error().message() + ")");
  if (added && !*added) as_it_is("is no list");
  if (!added || !*added || (!coded && **added == body)) return std::nullopt;
  return *std::move(added);
}

inline asio::awaitable<proxy::forward_outcome> inventory_additions::send(proxy::exchange& x, proxy::forwarding& f,
                                                                         proxy::forward_call call) {
  struct counted {  // of the large ones
    std::atomic<std::size_t>& all;
    std::size_t const others;
    explicit counted(std::atomic<std::size_t>& a) : all(a), others(all.fetch_add(1)) {}
    counted(counted const&) = delete;
    counted& operator=(counted const&) = delete;
    ~counted() { --all; }
  };
  std::optional<counted> large;
  proxy::forward_outcome out = co_await f.hold_body(options_.forward.whole_body);
  if (!out.ec && !f.repeatable()) {
    large.emplace(large_);
    if (large->others >= options_.max_large_inventories) out.ec = mender_error::overloaded;
    if (!out.ec) out = co_await f.hold_body(max_inventory_size);
  }
  if (out.ec) co_return out;
  std::optional<std::string> changed;
  if (f.repeatable())
    changed = with_ours(x, f.held_body());
  else
    options_.warn("the inventory of device \"" + x.notes().device + "\" has more than 1 MiB: it goes on as it is");
  if (!changed) {
    out = co_await f.send(call);
    co_return out;
  }
  std::string original = f.held_body();
  f.replace_body(*std::move(changed));
  auto alone = call;
  call.without = "Content-Encoding";
  out = co_await f.send(call);
  bool const refused = !out.ec && f.response().status == 400;
  if (!refused) co_return out;
  f.replace_body(std::move(original));
  if (options_.pace) options_.pace->spend();
  out = co_await f.send(alone);
  if (!out.ec && f.response().status == 200)
    options_.warn("the server takes the inventory of device \"" + x.notes().device +
                  "\" only without the gateway's attributes: it may have too many of its own");
  co_return out;
}

}  // namespace mgw::mender
