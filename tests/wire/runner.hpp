#pragma once

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/core/any_stream.hpp>
#include <mgw/core/log.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/tcp_stream.hpp>
#include <mgw/net/tls_context.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/forward.hpp>
#include <mgw/proxy/options.hpp>
#include <mgw/proxy/serve.hpp>
#include <mgw/proxy/server.hpp>
#include <mgw/proxy/tee_to_cache.hpp>
#include <mgw/upstream/pool_set.hpp>

#include <support/blocking_socket.hpp>
#include <support/blocking_tls.hpp>
#include <support/drip_stream.hpp>
#include <support/gateway_fixture.hpp>
#include <support/test_certificates.hpp>

#include <wire/readers.hpp>
#include <wire/recording_origin.hpp>
#include <wire/table.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::wire {

/// The variations in which every exchange runs.
enum class way {
  plain,   ///< TCP
  tls,     ///< TLS on both sides
  drip,    ///< the gateway reads one byte at a time, and the origin answers byte by byte
  pieces,  ///< the client's bytes arrive in random pieces
  cached,  ///< behind a cache; only what is asked with GET and HEAD of an origin without a script
};

/// A reverse proxy to one origin, in one way. Ends with the object.
class relay {
public:
  relay(std::uint16_t origin, way w, test::test_certificates const& certificates)
      : upstreams_(workers_, trust(certificates), upstream::pool_options()) {
    proxy::forward_options f;
    f.upstream = upstream::endpoint("127.0.0.1", origin, w == way::tls);
    f.host = "upstream.test";
    f.pseudonym = "mgw";
    f.whole_body = 2048;
    auto const to = std::make_shared<proxy::forward>(upstreams_, std::move(f));
    test::any_handler handler = [to](proxy::exchange& x) { return (*to)(x); };
    if (w == way::cached) {
      serve(origin);
      store_type::options o;
      o.path = directory_.emplace().path();
      o.min_free = 1;
      store_.emplace(o, log_sink());
      tee_.emplace(*store_, upstreams_, test::quick_tee());
      handler = [this](proxy::exchange& x) { return from_cache(*this, x); };
    }
    asio::ip::tcp::endpoint const anywhere(asio::ip::address_v4::loopback(), 0);
    if (w == way::drip) {
      handler_ = handler;
      listeners_ = workers_.listen(anywhere);
      accept_on const accepted(*this);
      asio::co_spawn(workers_.worker(0).io, listeners_.front()->run(accepted), asio::detached);
      port_ = listeners_.front()->local().port();
    } else {
      std::optional<net::tls_context> secured;
      if (w == way::tls) secured = secured_by(certificates);
      server_.emplace(workers_, options_, handler);
      port_ = server_->listen(anywhere, std::move(secured)).port();
    }
    thread_ = std::thread([this] { workers_.run(); });
  }
  relay(relay const&) = delete;
  relay& operator=(relay const&) = delete;
  ~relay() {
    workers_.stop();
    thread_.join();
    if (server_) server_->close();
    listeners_.clear();
    if (tee_) tee_->close();
    upstreams_.close();
    workers_.clear();
  }
  std::uint16_t port() const noexcept { return port_; }
  /// Behind a cache: whose objects are served from now on. Precondition: no exchange is under way.
  void serve(std::uint16_t origin) { authority_ = "127.0.0.1:" + std::to_string(origin); }

private:
  struct accept_on {
    relay& self;
    explicit accept_on(relay& r) : self(r) {}
    void operator()(net::tcp_stream s) const {
      asio::co_spawn(self.workers_.worker(0).io, drip(self, std::move(s)), asio::detached);
    }
  };
  /// What proxy::server does with a connection, over a stream that drips.
  static asio::awaitable<void> drip(relay& self, net::tcp_stream s) {
    proxy::peer_info peer;
    peer.address = s.remote();
    any_stream dripping(test::drip_stream<net::tcp_stream>(std::move(s)));
    auto x = std::make_unique<proxy::exchange>(std::move(dripping), peer, self.options_, self.workers_.worker(0));
    log_sink const log;
    co_await proxy::serve(*x, self.handler_, log);
  }
  /// The object of any target, from the origin's target of the same name.
  static asio::awaitable<void> from_cache(relay& self, proxy::exchange& x) {
    std::string url = "http://" + self.authority_ + std::string(x.target().path);
    if (x.target().has_query) url.append("?").append(x.target().query);
    cache::key const key = *cache::make_key(*http::parse_uri(url), {});
    proxy::fetch_source source;
    source.url = url;
    source.issued = 4'000'000'000;
    co_await self.tee_->serve(x, key, std::move(source));
  }
  static net::tls_context const& trust(test::test_certificates const& c) {
    static net::tls_context const made = net::tls_context::client(net::client_tls(c.ca_file));
    return made;
  }
  static net::tls_context const& secured_by(test::test_certificates const& c) {
    static net::tls_context const made = net::tls_context::server(net::server_tls(c.server.certificate, c.server.key));
    return made;
  }

  using store_type = cache::disk_store;

  std::string authority_;
  std::optional<test::temporary_directory> directory_;
  net::worker_pool workers_{1};
  upstream::pool_set upstreams_;
  std::optional<store_type> store_;
  std::optional<proxy::tee_to_cache<store_type>> tee_;
  proxy::server_options options_;
  test::any_handler handler_;
  std::optional<proxy::server<test::any_handler>> server_;
  std::vector<std::unique_ptr<net::listener>> listeners_;
  std::uint16_t port_ = 0;
  std::thread thread_;
};

/// The client: sends, and keeps every byte that comes.
class raw_client {
public:
  /// `patience`: after so many seconds without a byte the exchange has failed.
  raw_client(std::uint16_t port, bool tls, int patience) : socket_(test::blocking_socket::connect(port)) {
    timeval const limit{patience, 0};
    ::setsockopt(socket_.fd(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (tls) tls_.emplace(std::move(socket_));
  }
  bool send(std::string_view more) { return tls_ ? tls_->send(more) : socket_.send(more); }
  bool receive() { return tls_ ? tls_->receive(bytes) : socket_.receive(bytes); }
  void finish() {
    if (tls_)
      tls_->finish();
    else
      socket_.finish();
  }
  /// How the connection ended, once `receive` has said so: empty for a clean end.
  std::string fault() const {
    if (tls_) return tls_->ended_well() ? "" : "TLS ended without close_notify";
    if (socket_.was_reset()) return "the connection was reset";
    return socket_.timed_out() ? "nothing came any more, and no end" : "";
  }

  std::string bytes;

private:
  test::blocking_socket socket_;
  std::optional<test::blocking_tls> tls_;
};

/// Bytes as a line that can be read.
inline std::string shown(std::string_view bytes) {
  std::string out;
  for (char const c : bytes) {
    if (out.size() > 600) return out + "…";
    constexpr std::string_view digits = "0123456789abcdef";
    auto const u = static_cast<unsigned char>(c);
    if (c == '\r')
      out += "\\r";
    else if (c == '\n')
      out += "\\n\n      ";
    else if (u < 0x20 || u > 0x7e)
      out.append("\\x").append(1, digits[u >> 4]).append(1, digits[u & 15]);
    else
      out += c;
  }
  return out;
}

/// Runs one exchange in one way and says all that is not as it should be.
class runner {
public:
  runner(exchange_case const& c, way w, test::test_certificates const& certificates)
      : case_(c), way_(w), certificates_(certificates) {
    gets_ = w == way::cached && c.cached_gets ? *c.cached_gets : c.gets;
  }

  static bool fits(exchange_case const& c, way w) {
    if (w == way::drip && !c.not_dripped.empty()) return false;
    if (w != way::cached) return true;
    if (!c.not_cached.empty() || !c.fails.empty()) return false;
    auto const asks = [](std::string_view s) { return s.starts_with("GET ") || s.starts_with("HEAD "); };
    return c.answers.empty() && asks(c.client.front().bytes) &&
           std::all_of(c.sees.begin(), c.sees.end(), [&](auto const& m) { return asks(m.text); });
  }

  /// Empty: all is as it should be.
  std::string run() {
    recording_origin origin(case_.answers, way_ == way::drip, way_ == way::tls ? &certificates_ : nullptr);
    if (way_ == way::cached) {
      // One for all: to open a store costs more than an exchange. Objects of other origins are other objects.
      static relay shared(origin.port(), way_, certificates_);
      shared.serve(origin.port());
      talk(shared.port(), origin);
    } else {
      relay const r(origin.port(), way_, certificates_);
      talk(r.port(), origin);
    }
    origin.finish();
    judge_client();
    if (way_ != way::cached)
      judge_origin(origin);
    else if (case_.sees.empty() && !origin.order().empty())
      fault("a refused request reached the origin behind the cache");
    return faults_;
  }

private:
  static constexpr std::string_view probe = "GET /probe HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n";

  void fault(std::string const& what) { faults_ += "  " + what + "\n"; }
  void talk(std::uint16_t port, recording_origin& origin);
  void send(raw_client& c, std::string_view bytes);
  std::vector<read_response> responses(bool ended, std::string& why) const;
  void judge_client();
  void judge_detail(expected_detail const& d, read_response const& got);
  void judge_origin(recording_origin& origin);
  std::string without_ours(read_message const& m);

  exchange_case const& case_;
  way way_;
  test::test_certificates const& certificates_;
  expected_end gets_;
  std::mt19937 random_{20260404};
  std::string got_, ended_how_;
  std::string faults_;
};

inline void runner::send(raw_client& c, std::string_view bytes) {
  while (!bytes.empty()) {
    std::size_t n = bytes.size();
    if (way_ == way::pieces && n > 1) n = std::min(n, 1 + random_() % std::max<std::size_t>(16, n / 8));
    if (!c.send(bytes.substr(0, n))) return;  // refused already: what it says is to be read
    bytes.remove_prefix(n);
    if (way_ == way::pieces) std::this_thread::yield();
  }
}

inline void runner::talk(std::uint16_t port, recording_origin& origin) {
  raw_client c(port, way_ == way::tls, case_.fails.empty() ? 10 : 1);
  for (step const& s : case_.client) {
    auto const there = [&] {
      got_ = c.bytes;
      std::string ignored;
      auto const all = responses(false, ignored);
      if (s.after >= 100)
        return std::any_of(all.begin(), all.end(),
                           [&](auto const& r) { return r.status == static_cast<int>(s.after); });
      auto const finals = std::count_if(all.begin(), all.end(), [](auto const& r) { return r.status >= 200; });
      return static_cast<std::size_t>(finals) >= s.after;
    };
    bool more = true;
    while (more && s.after != 0 && !there()) more = c.receive();
    if (s.after != 0) origin.send_later();
    send(c, s.bytes);
  }
  if (gets_.open) send(c, probe);
  if (case_.client_ends) c.finish();
  while (c.receive()) {
  }
  got_ = c.bytes;
  ended_how_ = c.fault();
}

inline std::vector<read_response> runner::responses(bool ended, std::string& why) const {
  std::size_t i = 0;
  auto const to_head = [&](std::size_t, int status) {
    while (i < gets_.responses.size() && gets_.responses[i].optional && gets_.responses[i].status != status) ++i;
    if (i >= gets_.responses.size() || gets_.responses[i].optional) return false;
    return gets_.responses[i++].to_head;
  };
  return read_responses(got_, ended, to_head, why);
}

inline void runner::judge_client() {
  std::string why;
  auto got = responses(true, why);
  if (!why.empty()) fault("what the client got is malformed: " + why);
  std::string said;
  for (auto const& r : got) said += std::to_string(r.status) + (r.whole ? ", " : " cut, ");
  if (gets_.open) {
    if (!got.empty() && got.back().status == 200 && got.back().whole && ended_how_.empty())
      got.pop_back();
    else
      fault("the connection was to stay open, but the probe got no answer (or no clean end after it)");
  }
  std::string expected;
  std::size_t at = 0;
  bool good = true;
  for (auto const& e : gets_.responses) {
    expected += std::to_string(e.status) + (e.to_head ? " to HEAD" : e.optional ? "?" : e.cut ? " cut" : "") + ", ";
    auto const there = [&] { return at < got.size() && got[at].status == e.status; };
    if (!e.optional) {
      good = good && there() && got[at].whole == !e.cut;
      ++at;
    } else {  // details count without them
      while (there()) got.erase(got.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  good = good && at == got.size();
  bool const may_end_badly =
      std::any_of(gets_.responses.begin(), gets_.responses.end(), [](auto const& r) { return r.cut; });
  if (!ended_how_.empty() && !may_end_badly) good = false;
  if (!good)
    fault("the client was to get: " + expected + (gets_.open ? "open" : "closed") + "\n  but got:              " +
          said + (ended_how_.empty() ? (gets_.open ? "closed (probe included)" : "closed") : ended_how_) + "\n      " +
          shown(got_));
  if (way_ == way::cached) return;
  for (auto const& d : case_.details) {
    if (d.response > got.size())
      fault("there is no response " + std::to_string(d.response));
    else
      judge_detail(d, got[d.response - 1]);
  }
}

inline void runner::judge_detail(expected_detail const& d, read_response const& got) {
  std::string_view rest = d.text;
  std::string const head = lower(got.head);
  bool in_body = false;
  while (!rest.empty() && !in_body) {
    std::size_t const end = std::min(rest.find("\r\n"), rest.size());
    std::string const line = lower(rest.substr(0, end));
    rest.remove_prefix(std::min(rest.size(), end + 2));
    in_body = line.empty();
    if (in_body) break;
    bool const without = line.front() == '!', any = line.front() == '?';
    std::string const wanted = "\r\n" + (without || any ? line.substr(1) + ":" : line + "\r\n");
    bool const there = head.find(wanted) != head.npos;
    if (there == without)
      fault("response " + std::to_string(d.response) + (without ? " has '" : " lacks '") + line + "':\n      " +
            shown(got.head));
  }
  if (in_body && got.body != rest)
    fault("response " + std::to_string(d.response) + " was to have the body:\n      " + shown(rest) +
          "\n    but had:\n      " + shown(got.body));
}

/// A message as text, without what the gateway adds to each: Host, Via and who asked, which are checked here.
inline std::string runner::without_ours(read_message const& m) {
  std::string out = m.start + "\r\n";
  auto fields = m.fields;
  std::size_t hosts = 0, vias = 0, fors = 0, protos = 0;
  std::erase_if(fields, [&](auto const& f) {
    std::string const line = f.first + ": " + f.second;
    bool const host = line == "Host: upstream.test", via = line == "Via: 1.1 mgw" || line == "Via: 1.0 mgw",
               asker = line == "X-Forwarded-For: 127.0.0.1",
               proto = line == (way_ == way::tls ? "X-Forwarded-Proto: https" : "X-Forwarded-Proto: http");
    hosts += host, vias += via, fors += asker, protos += proto;
    return host || via || asker || proto;
  });
  if (hosts != 1 || vias != 1 || fors != 1 || protos != 1)
    fault("the origin was to see its own Host, our Via and who asked, once each");
  std::multimap<std::string, std::string> sorted;  // equal names keep their order
  for (auto const& [name, value] : fields) sorted.emplace(lower(name), name + ": " + value + "\r\n");
  for (auto const& [name, line] : sorted) out += line;
  return out + "\r\n" + m.body;
}

/// The lines of an expected message in the same order, optional ones if they are in `saw`; the empty line may be left
/// out.
inline std::string in_order(std::string const& text, std::string const& saw) {
  std::size_t const end = std::min(text.find("\r\n\r\n"), text.size() - 2) + 2;
  std::multimap<std::string, std::string> sorted;
  for (std::size_t at = text.find("\r\n") + 2; at < end;) {
    std::size_t const next = text.find("\r\n", at) + 2;
    std::string line = text.substr(at, next - at);
    at = next;
    if (line.front() == '?') {
      if (saw.find("\r\n" + line.substr(1)) == saw.npos) continue;
      line.erase(0, 1);
    }
    sorted.emplace(lower(line.substr(0, line.find(':'))), line);
  }
  std::string out = text.substr(0, text.find("\r\n") + 2);
  for (auto const& [name, line] : sorted) out += line;
  return out + "\r\n" + text.substr(std::min(text.size(), end + 2));
}

inline void runner::judge_origin(recording_origin& origin) {
  struct reading {
    recording_origin::connection const* of;
    std::vector<read_message> messages;
    std::size_t next = 0;
  };
  std::vector<reading> readings;
  for (auto const& c : origin.finish()) {
    auto messages = lenient_reader(belief::coding_first).read(c->bytes);
    if (messages != lenient_reader(belief::length_first).read(c->bytes))
      fault("two origins read different messages in:\n      " + shown(c->bytes));
    if (auto const why = fault_of_requests(c->bytes, messages); !why.empty())
      fault("what was forwarded is malformed, " + why + ":\n      " + shown(c->bytes));
    readings.push_back({c.get(), std::move(messages), 0});
  }
  std::vector<std::string> saw;
  for (auto const* const c : origin.order()) {
    auto const r = std::find_if(readings.begin(), readings.end(), [&](auto const& x) { return x.of == c; });
    if (r->next >= r->messages.size()) continue;
    auto const& m = r->messages[r->next++];
    saw.push_back((m.whole ? "" : "cut: ") + without_ours(m));
  }
  if (gets_.open) {
    if (!saw.empty() && saw.back().starts_with("GET /probe HTTP/1.1\r\n"))
      saw.pop_back();
    else
      fault("the probe did not reach the origin");
  }
  std::string was, wanted;
  for (auto const& s : saw) was += "      " + shown(s) + "\n";
  bool same = saw.size() == case_.sees.size();
  for (std::size_t i = 0; i < case_.sees.size(); ++i) {
    auto const& e = case_.sees[i];
    std::string const text = (e.cut ? "cut: " : "") + in_order(e.text, i < saw.size() ? saw[i] : std::string());
    wanted += "      " + shown(text) + "\n";
    // Where a message breaks off depends on how its bytes came.
    same = same && (e.cut ? saw[i].starts_with(text.substr(0, text.find("\r\n\r\n") + 4)) : saw[i] == text);
  }
  if (!same)
    fault("the origin was to see:\n" + (wanted.empty() ? "      nothing\n" : wanted) + "    but saw:\n" +
          (was.empty() ? "      nothing\n" : was));
  if (case_.connections && *case_.connections != origin.finish().size())
    fault("the origin was to see " + std::to_string(*case_.connections) + " connections, but saw " +
          std::to_string(origin.finish().size()));
}

}  // namespace mgw::wire
