#include <mgw/proxy/tee_to_cache.hpp>

#include <support/blocking_tls.hpp>
#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/scripted_server.hpp>
#include <support/test_certificates.hpp>

#include <asio/error.hpp>
#include <asio/ip/address_v4.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// What is under HTTP breaks in the middle of a body: TLS, and the upstream's name.
namespace mgw::proxy::broken_transport_test {
namespace {

using test::caching_gateway;
using test::caching_options;
using test::eventually;
using test::http_client;
using test::message_head;
using test::mishap;
using test::reply;

constexpr std::size_t size = 300'000, begun = 100'000;

/// A server of one object over TLS. Its first answer ends after `begun` bytes, then so many connections are offered a
/// certificate that nobody trusts, and from then on all is well.
class secure_origin {
public:
  enum class ending { bad_record, no_close_notify, close_notify };
  struct fault {
    char const* what;
    ending how;
    bool tells_length;
    int distrusted;
  };

  secure_origin(std::string body, fault const& f) : body_(std::move(body)), fault_(f) {}
  std::string authority() const { return "127.0.0.1:" + std::to_string(server_.port()); }
  std::string ca_file() const { return certificates_.ca_file; }
  std::vector<std::string> ranges() const {
    std::lock_guard const lock(mutex_);
    return ranges_;
  }
  int distrusted() const { return distrusted_; }
  std::size_t sent() const { return sent_; }

private:
  void serve(test::blocking_socket& socket) {
    bool const first = connections_++ == 0;
    bool const foreign = !first && distrusted_ < fault_.distrusted;
    auto const& shown = foreign ? certificates_.foreign_server : certificates_.server;
    if (foreign) ++distrusted_;
    try {
      test::blocking_tls c(test::blocking_socket(::dup(socket.fd())), shown.certificate, shown.key);
      for (std::string unread; exchange(c, unread);) {
      }
    } catch (std::runtime_error const&) {  // it is not trusted
    }
  }
  /// False: the connection is over.
  bool exchange(test::blocking_tls& c, std::string& unread) {
    std::size_t end = unread.find("\r\n\r\n");
    for (; end == std::string::npos; end = unread.find("\r\n\r\n"))
      if (!c.receive(unread)) return false;
    auto const asked = message_head::parse(unread.substr(0, end + 4));
    unread.erase(0, end + 4);
    std::string const range = asked.value("Range");
    bool breaks = false;
    {
      std::lock_guard const lock(mutex_);
      breaks = ranges_.empty();
      ranges_.push_back(range);
    }
    std::size_t const first = range.empty() ? 0 : std::strtoull(range.c_str() + 6, nullptr, 10);
    std::string head = first == 0 ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 206 Partial Content\r\n";
    head += "ETag: \"v1\"\r\n";
    if (first != 0)
      head += "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(size - 1) + "/" +
              std::to_string(size) + "\r\n";
    head += breaks && !fault_.tells_length ? "Connection: close\r\n\r\n"
                                           : "Content-Length: " + std::to_string(size - first) + "\r\n\r\n";
    std::string_view const rest = std::string_view(body_).substr(first, breaks ? begun : size);
    sent_ += rest.size();
    if (!c.send(head) || !c.send(rest)) return false;
    if (!breaks) return true;
    if (fault_.how == ending::close_notify) c.finish();
    if (fault_.how == ending::bad_record) {
      std::string const record = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');
      (void)::send(c.fd(), record.data(), record.size(), MSG_NOSIGNAL);
      std::string alert;
      (void)c.receive(alert);  // until the peer has seen it
    }
    return false;
  }

  test::test_certificates certificates_;
  std::string const body_;
  fault const fault_;
  mutable std::mutex mutex_;
  std::vector<std::string> ranges_;
  std::atomic<int> connections_{0}, distrusted_{0};
  std::atomic<std::size_t> sent_{0};
  test::scripted_server server_{[this](test::blocking_socket& s) { serve(s); }};
};

}  // namespace

TEST_CASE("TLS that breaks in the middle of a body is a passing fault, and an end only where it says so") {
  using ending = secure_origin::ending;
  secure_origin::fault const faults[] = {
      {"a bad record", ending::bad_record, true, 0},
      {"a bad record, no length", ending::bad_record, false, 0},
      {"no close_notify", ending::no_close_notify, true, 0},
      {"no close_notify, no length", ending::no_close_notify, false, 0},
      {"close_notify too early", ending::close_notify, true, 0},
      {"close_notify too early, no length", ending::close_notify, false, 0},
      {"then a certificate that is not trusted", ending::no_close_notify, true, 3},
      {"a bad record, then a certificate that is not trusted", ending::bad_record, true, 1},
  };
  std::string const body = test::pattern(size);
  for (auto const& f : faults) {
    std::string const what = f.what;
    CAPTURE(what);
    secure_origin upstream(body, f);
    test::temporary_directory const directory;
    caching_options o;
    o.trust = net::client_tls(upstream.ca_file());
    caching_gateway g(directory.path(), upstream.authority(), std::move(o));
    reply const r = test::get(g.port(), "/o");
    CHECK(r.status() == 200);
    CHECK(r.whole);
    CHECK((r.body == body));
    CHECK(upstream.ranges() == std::vector<std::string>{"", "bytes=100000-"});
    CHECK(upstream.distrusted() == f.distrusted);
    CHECK(upstream.sent() == size);
    CHECK(g.tee().counters().first_time_bytes == size);
    CHECK(g.tee().counters().again_bytes == 0);
    CHECK(eventually([&] { return g.stored("/o"); }));
  }
}

TEST_CASE("a name that is not found any more in the middle of a body: its client is held until it is found again") {
  enum class names { right, not_found, try_again, elsewhere };
  struct {
    char const* what;
    names how;
  } const cases[] = {{"not found", names::not_found}, {"try again", names::try_again}, {"elsewhere", names::elsewhere}};
  std::string const body = test::pattern(size);
  for (auto const& k : cases) {
    std::string const what = k.what;
    CAPTURE(what);
    test::origin origin(body);
    mishap first;
    first.cut_after = first.stall_after = begun;
    origin.script(0, first);
    std::atomic<names> now{names::right};
    std::atomic<int> asked{0};
    caching_options o;
    o.pools.names.life = std::chrono::seconds(0);
    o.pools.names.lookup = [&now, &asked](std::string const& name) {
      upstream::looked_up out;
      ++asked;
      if (name != "origin.example" || now == names::not_found) out.ec = asio::error::host_not_found;
      if (now == names::try_again) out.ec = asio::error::host_not_found_try_again;
      if (!out.ec)
        out.addresses.push_back(asio::ip::make_address_v4(now == names::elsewhere ? "127.0.0.2" : "127.0.0.1"));
      return out;
    };
    test::temporary_directory const directory;
    caching_gateway g(directory.path(), "origin.example:" + std::to_string(origin.port()), std::move(o));
    http_client c(g.port()), waits(g.port());
    c.request("GET", "/o");
    reply r;
    r.head = c.read_head();
    r.body = c.read_bytes(50'000);
    waits.request("GET", "/o", {{"Range", "bytes=200000-"}});
    CHECK(eventually([&] { return g.tee().held() == 1; }));
    now = k.how;
    origin.release();
    CHECK(eventually([&] { return g.tee().counters().faults >= 4; }));
    CHECK(asked >= 4);
    CHECK(origin.count() == 1);
    CHECK(g.tee().held() == 1);
    now = names::right;
    c.read_body(r);
    CHECK(r.whole);
    CHECK((r.body == body));
    reply const rest = waits.read_reply();
    CHECK(rest.status() == 206);
    CHECK((rest.body == body.substr(200'000)));
    REQUIRE(origin.count() == 2);
    CHECK(origin.requests()[1].value("Range") == "bytes=100000-");
    CHECK(origin.sent() == size);
    CHECK(g.tee().counters().again_bytes == 0);
  }
}

}  // namespace mgw::proxy::broken_transport_test
