// Properties of a proxied connection, from a client's first byte to the last one: client and origins play a part each
// (script.hpp), over connections in memory; `proxy::serve` with `proxy::forward` stands between them. An independent
// reader (messages.hpp) looks at all four byte streams afterwards:
// - origins are sent whole well-formed requests, the client's own and no others; one that is cut ends its connection;
// - the client is sent whole well-formed responses, each the answer to its request; one that is cut looks cut;
// - what either side sent, and nothing else, arrives as the body at the other;
// - it ends when both sides have, and leaves neither connections nor memory behind.
#include "messages.hpp"
#include "property.hpp"
#include "script.hpp"

#include <mgw/net/tls_context.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/serve.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::fuzz {
namespace {

constexpr std::string_view made_here = "made by the proxy";

/// A connection to an origin, and the requests that an independent reader finds on it.
struct origin {
  fuzz::actor actor;
  std::vector<message> requests;  // whole ones
  message begun;                  // what follows them
  std::size_t read = 0;           // bytes of whole requests
  bool tunnel = false;

  origin(asio::any_io_executor ex, std::vector<step> const& part, test::memory_options const& how)
      : actor(std::move(ex), part, how) {}
  std::size_t heads() const { return requests.size() + (begun.head_whole ? 1 : 0); }
  message const& request(std::size_t i) const { return i < requests.size() ? requests[i] : begun; }
};

/// A request's way: which one on which connection.
struct hop {
  std::size_t origin, index;
  std::size_t sent;  // bytes that the origin had sent before
};

/// What the server's observer saw of one exchange.
struct record {
  bool handled = false, observed = false;
  std::string method, target;
  int minor = 1, status = 0;
  bool body_done = false, finished = false, head_sent = false;
  std::size_t first_hop = 0, last_hop = 0;  // of world::hops: [first, last)
  std::uint64_t bytes_out = 0;
};

class world {
public:
  world(play const& p, net::worker& w) : play_(p), worker_(w), client(w.io.get_executor(), p.client, how()) {}

  /// An origin for the pool, if the play has another one.
  std::optional<any_stream> dial() {
    if (origins.size() == play_.upstreams.size()) return std::nullopt;
    auto const ex = worker_.io.get_executor();
    origins.push_back(std::make_unique<origin>(ex, play_.upstreams[origins.size()], how()));
    return origins.back()->actor.give();
  }
  void begin(proxy::exchange const& x) {
    listen();
    record r;
    r.handled = true;
    r.method = x.request().method;
    r.target = x.request().target;
    r.minor = x.request().minor;
    r.first_hop = hops.size();
    records.push_back(std::move(r));
  }
  void end() {
    listen();
    records.back().last_hop = hops.size();
  }
  void observe(proxy::exchange const& x) {
    if (records.empty() || !records.back().handled || records.back().observed) {
      record r;
      r.method = x.request().method;
      r.minor = x.request().minor;
      r.first_hop = r.last_hop = hops.size();
      records.push_back(std::move(r));
    }
    record& r = records.back();
    r.observed = true;
    r.status = x.status();
    r.body_done = x.request_body_done();
    r.finished = x.finished();
    r.head_sent = x.head_sent();
    r.bytes_out = x.bytes_out();
  }

  /// Takes what the proxy wrote, and looks for requests in it. True if there was anything.
  bool listen() {
    std::size_t const before = client.got().size();
    client.listen();
    bool news = client.got().size() != before;
    for (std::size_t i = 0; i < origins.size(); ++i) {
      origin& o = *origins[i];
      std::size_t const had = o.actor.got().size();
      o.actor.listen();
      if (o.actor.got().size() == had) continue;
      news = true;
      read_requests(o, i);
    }
    return news;
  }
  /// Lets one side do its next step. `force`: also one that waits in vain. False if nobody has any.
  bool go_on(bool force) {
    auto const origins_go_on = [&] {
      for (auto const& o : origins)
        if (!o->actor.done() && (force || may_go_on(*o))) return o->actor.go_on(), true;
      return false;
    };
    if (play_.upstream_first && origins_go_on()) return true;
    if (!client.done() && (force || client_may_go_on())) return client.go_on(), true;
    return !play_.upstream_first && origins_go_on();
  }

private:
  test::memory_options how() const {
    test::memory_options o;
    if (play_.short_writes) o.max_write = 7;
    if (play_.short_reads) o.max_read = 5;
    return o;
  }
  bool client_may_go_on() const {
    std::size_t const answered = static_cast<std::size_t>(
        std::count_if(records.begin(), records.end(), [](auto const& r) { return r.observed; }));
    switch (client.next()) {
      case step::kind::await_message: return answered > client.messages();
      case step::kind::await_bytes: return client.got().size() > client.mark();
      case step::kind::send:
      case step::kind::end:
      case step::kind::break_off: return true;
    }
    return true;
  }
  static bool may_go_on(origin const& o) {
    switch (o.actor.next()) {
      case step::kind::await_message: return o.requests.size() > o.actor.messages();
      case step::kind::await_bytes: return o.heads() > o.actor.messages();
      case step::kind::send:
      case step::kind::end:
      case step::kind::break_off: return true;
    }
    return true;
  }
  void read_requests(origin& o, std::size_t index) {
    reading how;
    how.ours = true;
    // After an upgrade anything goes.
    bool const asked = !o.requests.empty() && o.requests.back().count("Upgrade") != 0;
    o.tunnel = o.tunnel || (asked && o.actor.sent().find(" 101") != std::string::npos);
    while (!o.tunnel && o.read < o.actor.got().size()) {
      bool const known = o.begun.head_whole;
      ending const e = read_message(std::string_view(o.actor.got()).substr(o.read), how, o.begun);
      must(e != ending::malformed, "an origin is sent well-formed requests");
      if (o.begun.head_whole && !known) hops.push_back({index, o.requests.size(), o.actor.sent().size()});
      if (e == ending::cut) break;
      o.read += o.begun.size;
      o.requests.push_back(std::exchange(o.begun, message()));
    }
  }

  play const& play_;
  net::worker& worker_;

public:
  actor client;
  std::vector<std::unique_ptr<origin>> origins;
  std::vector<hop> hops;  // in the order in which their heads arrived
  std::vector<record> records;
};

world* current = nullptr;

asio::awaitable<upstream::dialled> dial(upstream::endpoint) {
  upstream::dialled d;
  d.stream = current->dial();
  if (!d.stream) d.ec = asio::error::connection_refused;
  co_return d;
}

/// The proxy; built once.
struct proxy_under_test {
  net::worker_pool workers{1};
  std::unique_ptr<upstream::pool_set> pools;
  std::unique_ptr<proxy::forward> forward[2];
  proxy::server_options options[4];  // small limits, folded Hosts

  proxy_under_test() {
    upstream::pool_options pooling;
    pooling.dial = dial;
    pools = std::make_unique<upstream::pool_set>(workers, net::tls_context::client({}), pooling);
    for (unsigned i = 0; i < 4; ++i) {
      proxy::server_options& o = options[i];
      o.error_body = [](int, proxy::exchange const&) { return std::string(made_here); };
      o.observer = [](proxy::exchange const& x) { current->observe(x); };
      o.limits.fold_equal_hosts = (i & 2) != 0;
      if ((i & 1) == 0) continue;
      o.limits.max_head = 256;
      o.limits.max_target = 64;
      o.limits.max_line = 128;
      o.limits.max_fields = 8;
      o.limits.max_chunk_line = 16;
      o.limits.max_trailer = 32;
      o.max_drain = 32;
      o.max_requests = 3;
    }
    for (int i = 0; i < 2; ++i) {
      proxy::forward_options o;
      o.upstream = upstream::endpoint("origin.example", 80, false);
      o.host = "origin.example";
      o.pseudonym = "fuzzed";
      if (i == 1) {
        o.max_body = 96;
        o.whole_body = 16;
      }
      forward[i] = std::make_unique<proxy::forward>(*pools, o);
    }
  }
};

struct handler {
  proxy::forward const* next;
  asio::awaitable<void> operator()(proxy::exchange& x) const {
    current->begin(x);
    co_await (*next)(x);
    current->end();
  }
};

/// Plays it through: until the proxy has ended, and both sides have no more to say.
void run(proxy_under_test& p, play const& parts, world& w) {
  net::worker& worker = p.workers.worker(0);
  auto const settle = [&] {
    do {
      worker.io.restart();
      worker.io.poll();
    } while (w.listen());
  };
  {
    proxy::peer_info peer;
    peer.address.address(asio::ip::make_address("192.0.2.1"));
    proxy::server_options const& options = p.options[(parts.small ? 1 : 0) + (parts.fold_hosts ? 2 : 0)];
    proxy::exchange x(w.client.give(), peer, options, worker);
    handler const h{p.forward[parts.small ? 1 : 0].get()};
    log_sink const log = [](log_level, std::string_view) { must(false, "no handler fails"); };
    bool done = false;
    asio::co_spawn(worker.io, proxy::serve(x, h, log), [&done](std::exception_ptr e) {
      must(!e, "serving a connection does not throw");
      done = true;
    });
    settle();
    for (bool first = true; !done; first = false) {
      bool const more = w.go_on(false) || w.go_on(true);
      if (!more) break;
      settle();
      if (first && parts.drains && !done) {
        x.drain();
        settle();
      }
    }
    if (!done) {
      w.client.end();
      settle();
    }
    for (std::size_t i = 0; !done && i < w.origins.size(); ++i) {  // one may lead to the next
      w.origins[i]->actor.end();
      settle();
    }
    must(done, "it ends when both sides have");
  }
  settle();
}

bool is_prefix(std::string_view part, std::string_view whole) {
  return whole.substr(0, part.size()) == part;
}

/// The target as an origin must see it. Source: RFC 9112 3.2.1, 3.2.4.
std::string origin_form(std::string_view method, std::string_view target) {
  if (target.starts_with('/') || target == "*") return std::string(target);
  std::size_t const scheme = target.find("://");
  std::size_t const path = scheme == target.npos ? target.npos : target.find_first_of("/?", scheme + 3);
  if (path == target.npos) return method == "OPTIONS" ? "*" : "/";
  return (target[path] == '?' ? "/" : "") + std::string(target.substr(path));
}

/// The final responses that an origin gave, one for each request; the last may be cut.
struct answers {
  std::vector<message> all;
  ending last = ending::whole;
  std::size_t rest = 0;  // bytes that answer nothing
};
answers answers_of(origin const& o, std::size_t requests, std::string_view rest) {
  answers out;
  while (out.all.size() < requests && !rest.empty()) {
    message m;
    reading how;
    how.request = false;
    how.method = o.request(out.all.size()).method;
    how.closed = !o.actor.broke_off() || o.actor.ended();  // a FIN before the RST may have been seen
    out.last = read_message(rest, how, m);
    if (out.last != ending::whole) {
      out.all.push_back(std::move(m));
      break;
    }
    rest.remove_prefix(m.size);
    if (m.status >= 200 || m.status == 101) out.all.push_back(std::move(m));
  }
  out.rest = rest.size();
  return out;
}
answers answers_of(origin const& o) {
  return answers_of(o, o.heads(), o.actor.sent());
}

/// Client and origins agree about the requests.
void check_requests(world const& w) {
  std::string_view rest = w.client.sent();
  bool whole = true;
  for (record const& r : w.records) {
    if (!r.handled) break;
    must(whole, "nothing is made of what follows a cut request");
    message asked;
    ending const e = read_message(rest, reading(), asked);
    must(asked.head_whole, "what is handled is a request");
    must(asked.method == r.method && asked.target == r.target, "what is handled is what was asked");
    whole = e == ending::whole;
    if (r.body_done) must(whole, "a body is done when it is whole");
    if (whole) rest.remove_prefix(asked.size);

    must(r.last_hop - r.first_hop <= 2, "a request is repeated once at most");
    for (std::size_t i = r.first_hop; i < r.last_hop; ++i) {
      origin const& o = *w.origins[w.hops[i].origin];
      std::size_t const index = w.hops[i].index;
      message const& passed = o.request(index);
      if (index != 0)
        must(answers_of(o, index, std::string_view(o.actor.sent()).substr(0, w.hops[i].sent)).rest == 0,
             "a connection with bytes waiting is not used again");
      must(passed.method == asked.method, "the method is passed on");
      must(passed.target == origin_form(asked.method, asked.target), "the target is passed on in origin-form");
      must(passed.value("Host") == "origin.example", "Host is the origin's");
      must(passed.count("X-Forwarded-For") == 1, "who asked is told once");
      for (auto const* name : {"Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "TE", "Trailer"})
        must(passed.count(name) == 0, "hop-by-hop fields stay here");
      if (index < o.requests.size())
        must(whole && passed.body == asked.body, "a whole request has the body that was sent");
      else
        must(is_prefix(passed.body, asked.body), "a cut request has no other body");
      if (i + 1 == r.last_hop) continue;
      must(index != 0, "a request is repeated if the connection was an old one");
      answers const before = answers_of(o);
      must(before.all.size() <= index || before.all[index].status == 408,
           "a request is repeated if it was not answered");
      std::string_view const m = asked.method;
      must(m == "GET" || m == "HEAD" || m == "PUT" || m == "DELETE" || m == "OPTIONS" || m == "TRACE",
           "a request is repeated if that does no harm");
    }
    if (r.status == 101) break;
  }
  std::size_t const handled = static_cast<std::size_t>(
      std::count_if(w.records.begin(), w.records.end(), [](auto const& r) { return r.handled; }));
  std::size_t counted = 0;
  for (record const& r : w.records) counted += r.last_hop - r.first_hop;
  must(counted == w.hops.size(), "origins are sent no request outside of an exchange");
  must(handled <= 2 + w.client.sent().size() / 16, "there are no more exchanges than there are requests");
}

/// What the client is sent answers its requests.
void check_responses(world const& w) {
  std::string_view rest = w.client.got();
  for (std::size_t i = 0; i < w.records.size(); ++i) {
    record const& r = w.records[i];
    must(r.observed, "each exchange is observed");
    message m;
    ending e = ending::cut;
    for (;;) {
      reading how;
      how.request = false;
      how.ours = true;
      how.method = r.method;
      how.closed = w.client.closed() && !w.client.broken();
      e = rest.empty() ? ending::cut : read_message(rest, how, m);
      must(e != ending::malformed, "a client is sent well-formed responses");
      if (e != ending::whole || m.status >= 200 || m.status == 101) break;
      must(r.minor != 0, "HTTP/1.0 knows no interim responses");
      rest.remove_prefix(m.size);
      m = message();
    }
    if (w.client.broke_off()) return;  // what it was sent is lost
    if (r.status == 101 && r.finished) return;
    must((e == ending::whole) == r.finished, "a response is whole if and only if it was finished");
    if (!r.finished) {
      must(i + 1 == w.records.size(), "nothing follows a response that is cut");
      if (m.head_whole) must(m.how != message::framed::none, "a response that is cut looks cut");
      return;
    }
    rest.remove_prefix(m.size);
    must(m.status == r.status, "the status is the one that was chosen");
    must(r.minor != 0 || m.how != message::framed::chunked, "HTTP/1.0 knows no chunks");
    for (auto const* name : {"Keep-Alive", "Proxy-Authenticate", "Upgrade", "TE", "Trailer"})
      must(m.count(name) == 0, "hop-by-hop fields stay here");
    bool const last = i + 1 == w.records.size();
    if (message_detail::same(m.value("Connection"), "close") || m.how == message::framed::until_close)
      must(last, "nothing follows the last response");

    if (!r.handled || m.body == made_here) continue;
    if (r.method == "HEAD" && m.status >= 400) continue;  // made here or there
    must(r.last_hop != r.first_hop, "a response is made here or comes from an origin");
    hop const& way = w.hops[r.last_hop - 1];
    answers const given = answers_of(*w.origins[way.origin]);
    must(way.index < given.all.size(), "a response was given");
    message const& answer = given.all[way.index];
    must(answer.head_whole && answer.status == m.status, "the status is the origin's");
    must(answer.body == m.body, "the body is the origin's");
    must(way.index + 1 < given.all.size() || given.last == ending::whole, "a response is whole if the origin's is");
  }
  must(rest.empty() || w.client.broke_off(), "a client is sent no response that it did not ask for");
}

void check(std::string_view input) {
  static proxy_under_test p;
  play const parts(input);
  world w(parts, p.workers.worker(0));
  current = &w;
  run(p, parts, w);

  bool tunnel = false;
  for (record const& r : w.records) tunnel = tunnel || r.status == 101;
  check_requests(w);
  check_responses(w);
  std::size_t written = w.client.got().size(), open = 0;
  for (auto const& o : w.origins) {
    written += o->actor.got().size();
    bool const kept = !o->actor.closed() && !o->actor.broke_off();
    open += kept ? 1 : 0;
    if (!kept) continue;
    must(o->read == o->actor.got().size(), "a connection is kept if the last request on it was whole");
    answers const given = answers_of(*o);
    must(given.all.size() == o->requests.size() && given.last == ending::whole,
         "a connection is kept if the last response on it was whole");
  }
  must(tunnel || written <= 4096 + 128 * input.size(), "no flood is made of a trickle");
  auto const& pool = *p.pools->of(p.workers.worker(0));
  std::size_t broken = 0;
  for (auto const& o : w.origins) broken += o->actor.broke_off() ? 1 : 0;
  must(open <= pool.idle() && pool.idle() <= open + broken, "what is open is in the pool");
  p.pools->close();
  p.workers.worker(0).io.restart();
  p.workers.worker(0).io.poll();
  w.listen();
  for (auto const& o : w.origins) must(o->actor.closed() || o->actor.broke_off(), "no connection is left behind");
  current = nullptr;
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
