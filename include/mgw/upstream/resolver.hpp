#pragma once

#include <mgw/upstream/cancellable.hpp>
#include <mgw/upstream/error.hpp>
#include <mgw/upstream/name_lookup.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace mgw::upstream {

struct resolver_options {
  std::chrono::seconds life{30};               ///< how long an answer is used
  std::chrono::milliseconds deadline{10'000};  ///< how long one is waited for; the look-up goes on behind that
  std::size_t max_addresses = 16;              ///< of one name; more are left out
  lookup_function lookup = system_lookup;
  std::shared_ptr<lookup_threads> threads = lookup_threads::common();
};

/// Names to addresses, remembered for a short life, the address that worked last first.
///
/// Numeric addresses need no lookup. A name is looked up once at a time, whoever asks; an answer that comes after the
/// deadline is there for the next one. Thread rule: one per worker thread. Errors: error::lookup_timeout, and what the
/// look-up says.
class resolver {
public:
  using list = std::vector<asio::ip::tcp::endpoint>;
  struct answer {
    std::error_code ec;
    std::shared_ptr<list const> addresses;
  };

  explicit resolver(resolver_options options = {}) : options_(std::move(options)), book_(std::make_shared<book>()) {}

  /// `giver` may end it: operation_aborted.
  asio::awaitable<answer> resolve(std::string host, std::uint16_t port, give_up* giver = nullptr) {
    answer out;
    std::error_code not_numeric;
    auto const numeric = asio::ip::make_address(host, not_numeric);
    if (!not_numeric) {
      out.addresses = std::make_shared<list const>(1, asio::ip::tcp::endpoint(numeric, port));
      co_return out;
    }
    if (auto const it = book_->known.find({host, port}); it != book_->known.end() && it->second.until > clock::now()) {
      out.addresses = it->second.addresses;
      co_return out;
    }
    auto const executor = co_await asio::this_coro::executor;
    auto const asked = ask({std::move(host), port}, executor);
    out = co_await wait(asked, giver);
    co_return out;
  }

  /// The address that worked is tried first next time, also when the name has been looked up again.
  void prefer(std::string const& host, std::uint16_t port, asio::ip::tcp::endpoint const& good) {
    auto const it = book_->known.find({host, port});
    if (it == book_->known.end()) return;
    it->second.good = good;
    if (it->second.addresses->front() != good) it->second.addresses = with_first(*it->second.addresses, good);
  }
  /// Nothing there worked: ask again next time.
  void forget(std::string const& host, std::uint16_t port) { book_->known.erase({host, port}); }

private:
  using clock = std::chrono::steady_clock;
  using name = std::pair<std::string, std::uint16_t>;
  struct entry {
    std::shared_ptr<list const> addresses;
    clock::time_point until;
    std::optional<asio::ip::tcp::endpoint> good;
  };
  /// A look-up under way. All but the thread's own result: this resolver's thread.
  struct question {
    answer result;
    bool done = false;
    std::vector<asio::steady_timer*> waiting;
  };
  struct book {  // plain data: a look-up's thread may be the last to hold it
    std::map<name, entry> known;
    std::map<name, std::shared_ptr<question>> asked;
  };
  static constexpr std::size_t max_known = 1024;

  std::shared_ptr<question> ask(name const& what, asio::any_io_executor const& executor);
  asio::awaitable<answer> wait(std::shared_ptr<question> asked, give_up* giver);
  static std::shared_ptr<list const> with_first(list addresses, asio::ip::tcp::endpoint const& good) {
    auto const at = std::find(addresses.begin(), addresses.end(), good);
    if (at != addresses.end()) std::rotate(addresses.begin(), at, at + 1);
    return std::make_shared<list const>(std::move(addresses));
  }
  static looked_up look_up(lookup_function const& lookup, std::string const& host) noexcept {
    try {
      return lookup(host);
    } catch (std::bad_alloc const&) {
      return {std::make_error_code(std::errc::not_enough_memory), {}};
    }
  }

  resolver_options options_;
  std::shared_ptr<book> book_;
};

inline std::shared_ptr<resolver::question> resolver::ask(name const& what, asio::any_io_executor const& executor) {
  if (auto const it = book_->asked.find(what); it != book_->asked.end()) return it->second;
  auto q = std::make_shared<question>();
  // On our thread, when the answer is there; not at all if the context has gone.
  auto settle = [q, what, b = book_, life = options_.life, most = options_.max_addresses](looked_up const& found) {
    q->done = true;
    q->result.ec = found.ec;
    b->asked.erase(what);
    if (!found.ec) {
      list addresses;
      for (auto const& a : found.addresses)
        if (addresses.size() < most) addresses.emplace_back(a, what.second);
      if (b->known.size() >= max_known) b->known.clear();
      entry& e = b->known[what];
      e.addresses =
          e.good ? with_first(std::move(addresses), *e.good) : std::make_shared<list const>(std::move(addresses));
      e.until = clock::now() + life;
      q->result.addresses = e.addresses;
    }
    for (auto* const t : q->waiting) t->cancel();
  };
  auto job = [settle = std::move(settle), lookup = options_.lookup, host = what.first, executor,
              door = late_posts::of(executor)] {
    looked_up found = look_up(lookup, host);
    if (!found.ec && found.addresses.empty()) found.ec = asio::error::host_not_found;
    auto deliver = [settle, found = std::move(found)] { settle(found); };
    door->post(executor, std::move(deliver));
  };
  q->result.ec = options_.threads->start(std::move(job));
  if (q->result.ec)
    q->done = true;
  else
    book_->asked.emplace(what, q);
  return q;
}

inline asio::awaitable<resolver::answer> resolver::wait(std::shared_ptr<question> asked, give_up* giver) {
  answer out;
  bool const given = giver != nullptr && giver->given();
  if (!asked->done && !given) {
    auto const executor = co_await asio::this_coro::executor;
    asio::steady_timer timer(executor);
    timer.expires_after(options_.deadline);
    struct place {  // in the question's list, however this coroutine ends
      question& q;
      asio::steady_timer* t;
      place(question& asked_of, asio::steady_timer& waits) : q(asked_of), t(&waits) { q.waiting.push_back(t); }
      place(place const&) = delete;
      place& operator=(place const&) = delete;
      ~place() { std::erase(q.waiting, t); }
    } const listed(*asked, timer);
    give_up::during const watched(giver, &timer);
    std::error_code ignored;
    co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  if (asked->done)
    out = asked->result;
  else if (giver != nullptr && giver->given())
    out.ec = asio::error::operation_aborted;
  else
    out.ec = error::lookup_timeout;
  co_return out;
}

}  // namespace mgw::upstream
