// Clients of the benchmark: plain blocking sockets and OpenSSL, a thread for each client.
//   mgw-bench-load URL [--clients N] [--requests N] [--fresh] [--pause MS] [--header LINE] [--pattern]
//       Each client sends N requests, one after the other on one connection; --fresh: on a new connection each, with a
//       full handshake. --pause: milliseconds before each but the first. --pattern, --body FILE: bodies are compared
//       with the origin's pattern, or with this file. A body that breaks off is resumed by Range, as an update client
//       does: from where it broke if the answer is 206, from the start if it is 200. --part BYTES: so much of its
//       beginning is asked for.
//       --rate BYTES: each client reads no more of a body than this in a second. --seconds N: everything ends after
//       that time; a body that is then not whole is no failure, and is compared as far as it was read.
//       --together: each client connects and has one answer (of one byte, where the server knows ranges); then "ready"
//       is printed, and the requests begin when a line comes on stdin, or its end. --resume, with --fresh: handshakes
//       resume the client's last session. --websocket BYTES: the requests are messages of so many bytes (up to 125) on
//       one WebSocket for each client, which come back. --await: connects until somebody listens, for ten seconds.
//   mgw-bench-load URL --idle N
//       N connections with one request each, one after the other; prints "ready" and holds them until stdin ends.
// URL begins with https:// or http://. The result is one line of JSON.
#include "pattern.hpp"

#include <openssl/ssl.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

struct options {
  std::string host, path, header;
  std::uint16_t port = 443;
  std::size_t clients = 1, requests = 1, idle = 0, rate = 0, pause = 0, websocket = 0, part = 0;
  std::optional<clock_type::time_point> deadline;
  bool tls = true, fresh = false, pattern = false, together = false, resume = false, await = false;
  std::optional<std::string_view> body;
};

struct result {
  std::uint64_t requests = 0, bytes = 0, failures = 0, cuts = 0, wrong = 0, resumed = 0;
  std::vector<double> first_byte;  // seconds from the request's last byte to the body's first
};

// A connection to 127.0.0.1; whose certificate it is does not matter here.
class connection {
public:
  connection(SSL_CTX* context, options const& o, SSL_SESSION* session = nullptr) : deadline_(o.deadline) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(o.port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int const on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (fd_ < 0 || ::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) return;
    good_ = true;
    if (!o.tls) return;
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd_);
    SSL_set_tlsext_host_name(ssl_, "localhost");
    if (session != nullptr) SSL_set_session(ssl_, session);
    good_ = SSL_connect(ssl_) == 1;
  }
  connection(connection const&) = delete;
  connection& operator=(connection const&) = delete;
  ~connection() {
    if (ssl_ != nullptr) {
      if (good_) SSL_shutdown(ssl_);
      SSL_free(ssl_);
    }
    if (fd_ >= 0) ::close(fd_);
  }
  bool good() const { return good_; }
  bool resumed() const { return ssl_ != nullptr && SSL_session_reused(ssl_) == 1; }
  /// The session to resume, once an answer has come: TLS 1.3 sends it behind the handshake. To be freed.
  SSL_SESSION* session() { return ssl_ != nullptr ? SSL_get1_session(ssl_) : nullptr; }
  bool send(std::string const& text) {
    auto const size = static_cast<int>(text.size());
    if (good_ && ssl_ != nullptr)
      good_ = SSL_write(ssl_, text.data(), size) == size;
    else if (good_)
      good_ = ::send(fd_, text.data(), text.size(), 0) == size;
    return good_;
  }
  std::size_t read(char* into, std::size_t n) {
    if (deadline_) {
      auto const left = std::chrono::duration_cast<std::chrono::microseconds>(*deadline_ - clock_type::now()).count();
      timeval const most{left / 1'000'000, left % 1'000'000};
      good_ = good_ && left > 0 && ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0;
    }
    int got = 0;
    if (good_ && ssl_ != nullptr)
      got = SSL_read(ssl_, into, static_cast<int>(n));
    else if (good_)
      got = static_cast<int>(::recv(fd_, into, n, 0));
    if (got <= 0) good_ = false;
    return got > 0 ? static_cast<std::size_t>(got) : 0;
  }

private:
  int fd_ = -1;
  SSL* ssl_ = nullptr;
  bool good_ = false;
  std::optional<clock_type::time_point> deadline_;  // of what is read
};

struct head {
  int status = 0;
  std::uint64_t length = 0;
  bool close = false;
  std::string rest;  // body bytes that came with it
};

std::optional<head> read_head(connection& c) {
  std::string text;
  char block[4096];
  for (;;) {
    std::size_t const n = c.read(block, sizeof block);
    if (n == 0) return std::nullopt;
    text.append(block, n);
    auto const end = text.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    head h;
    h.rest = text.substr(end + 4);
    text.resize(end + 2);
    std::transform(text.begin(), text.end(), text.begin(),
                   [](char a) { return a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a; });
    if (text.size() > 12) h.status = std::atoi(text.c_str() + 9);
    auto const length = text.find("\r\ncontent-length: ");
    if (length == std::string::npos && h.status != 204 && h.status != 101) return std::nullopt;
    if (length != std::string::npos) h.length = std::strtoull(text.c_str() + length + 18, nullptr, 10);
    h.close = text.find("\r\nconnection: close") != std::string::npos;
    return h;
  }
}

class client {
public:
  client(SSL_CTX* context, options const& o, result& r) : context_(context), o_(o), r_(r), block_(64 * 1024) {}
  client(client const&) = delete;
  client& operator=(client const&) = delete;
  ~client() { SSL_SESSION_free(session_); }

  /// Connects, and has one answer, which does not count.
  void begin() {
    first_ = true;
    bool const good = o_.websocket != 0 ? open_websocket() : get();
    first_ = false;
    r_ = result();
    r_.failures = good ? 0 : 1;
  }
  void run() {
    if (o_.websocket != 0 && !connection_ && !open_websocket()) {
      ++r_.failures;
      return;
    }
    for (std::size_t i = 0; i < o_.requests && !over(); ++i) {
      if (o_.websocket != 0) {
        if (echo()) continue;
        ++r_.failures;
        return;
      }
      if (o_.fresh) end_connection();
      if (i != 0 && o_.pause != 0) std::this_thread::sleep_for(std::chrono::milliseconds(o_.pause));
      if (!get()) ++r_.failures;
    }
  }
  bool get();
  std::unique_ptr<connection> give() { return std::move(connection_); }

private:
  bool open_websocket();
  bool echo();
  void connect() {
    auto const until = clock_type::now() + std::chrono::seconds(10);
    do {
      connection_ = std::make_unique<connection>(context_, o_, session_);
    } while (o_.await && !connection_->good() && clock_type::now() < until &&
             (std::this_thread::sleep_for(std::chrono::milliseconds(1)), true));
    if (connection_->resumed()) ++r_.resumed;
  }
  void end_connection() {
    if (o_.resume && connection_) {
      SSL_SESSION_free(session_);
      session_ = connection_->session();
    }
    connection_.reset();
  }
  bool over() const { return o_.deadline && clock_type::now() >= *o_.deadline; }
  bool take(char const* bytes, std::size_t n, std::uint64_t at) {
    r_.bytes += n;
    if (o_.body) return o_.body->substr(std::min<std::uint64_t>(at, o_.body->size()), n) == std::string_view(bytes, n);
    return !o_.pattern || std::memcmp(bytes, bench::pattern().data() + at % bench::pattern_size, n) == 0;
  }

  SSL_CTX* context_;
  options const& o_;
  result& r_;
  std::unique_ptr<connection> connection_;
  std::vector<char> block_;
  SSL_SESSION* session_ = nullptr;
  bool first_ = false;
};

bool client::get() {
  ++r_.requests;
  std::uint64_t have = 0;
  for (int attempt = 0; attempt < 10; ++attempt) {
    if (over()) return true;
    if (!connection_) connect();
    std::string request = "GET " + o_.path + " HTTP/1.1\r\nHost: " + o_.host + "\r\n" + o_.header;
    auto const part = first_ ? 1 : o_.part;
    if (have != 0 || part != 0)
      request += "Range: bytes=" + std::to_string(have) + "-" + (part != 0 ? std::to_string(part - 1) : "") + "\r\n";
    auto const sent = clock_type::now();
    std::optional<head> h;
    if (connection_->send(request + "\r\n")) h = read_head(*connection_);
    if (!h) {
      connection_.reset();
      continue;
    }
    if (h->status != 206) have = 0;
    std::uint64_t const begin = have, end = have + h->length;
    auto const begun = clock_type::now();
    bool right = true, first = true;
    std::size_t n = std::min(h->rest.size(), block_.size());
    std::memcpy(block_.data(), h->rest.data(), n);
    while (have < end) {
      if (n == 0) n = connection_->read(block_.data(), block_.size());
      if (n == 0) break;
      if (first && attempt == 0)
        r_.first_byte.push_back(std::chrono::duration<double>(clock_type::now() - sent).count());
      first = false;
      right = take(block_.data(), n, have) && right;
      have += n;
      n = 0;
      if (o_.rate != 0)
        std::this_thread::sleep_until(begun + std::chrono::nanoseconds((have - begin) * 1'000'000'000 / o_.rate));
    }
    bool const whole = have == end;
    if (!whole || h->close) connection_.reset();
    if (!right) ++r_.wrong;
    if (whole || over()) return right && h->status >= 200 && h->status < 300;
    ++r_.cuts;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  return false;
}

bool client::open_websocket() {
  connect();
  // The key, and so the answer, of RFC 6455 1.3.
  if (!connection_->send("GET " + o_.path + " HTTP/1.1\r\nHost: " + o_.host + "\r\n" + o_.header +
                         "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
    return false;
  auto const h = read_head(*connection_);
  return h && h->status == 101 && h->rest.empty();
}

/// A message there and back: a binary frame, with a mask of zeros there and without one back (RFC 6455 5.2).
bool client::echo() {
  ++r_.requests;
  std::string const payload(o_.websocket, static_cast<char>('a' + r_.requests % 26));
  std::string sent("\x82"), back("\x82");
  sent += static_cast<char>(0x80U | o_.websocket);
  back += static_cast<char>(o_.websocket);
  if (!connection_->send(sent.append(4, '\0').append(payload))) return false;
  back += payload;
  std::string got;
  while (got.size() < back.size()) {
    std::size_t const n = connection_->read(block_.data(), back.size() - got.size());
    if (n == 0) return false;
    got.append(block_.data(), n);
  }
  r_.bytes += payload.size();
  if (got != back) ++r_.wrong;
  return got == back;
}

void print(result const& r, double seconds) {
  auto times = r.first_byte;
  std::sort(times.begin(), times.end());
  double const median = times.empty() ? 0 : times[times.size() / 2];
  double const last = times.empty() ? 0 : times.back();
  std::printf(
      "{\"requests\":%llu,\"bytes\":%llu,\"failures\":%llu,\"cuts\":%llu,\"wrong\":%llu,\"resumed\":%llu,\"seconds\":%."
      "6f,"
      "\"first_byte_median\":%.6f,\"first_byte_max\":%.6f}\n",
      static_cast<unsigned long long>(r.requests), static_cast<unsigned long long>(r.bytes),
      static_cast<unsigned long long>(r.failures), static_cast<unsigned long long>(r.cuts),
      static_cast<unsigned long long>(r.wrong), static_cast<unsigned long long>(r.resumed), seconds, median, last);
  std::fflush(stdout);
}

std::optional<std::string_view> read_file(char const* path) {
  int const fd = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat about{};
  if (fd < 0 || ::fstat(fd, &about) != 0) return std::nullopt;
  auto const size = static_cast<std::size_t>(about.st_size);
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (at == MAP_FAILED) return std::nullopt;
  return std::string_view(static_cast<char const*>(at), size);
}

bool read_options(int argc, char** argv, options& o) {
  std::string_view url = argc > 1 ? argv[1] : "";
  o.tls = url.starts_with("https://");
  if (!o.tls && !url.starts_with("http://")) return false;
  url.remove_prefix(o.tls ? 8 : 7);
  auto const slash = url.find('/');
  o.host = url.substr(0, slash);
  o.path = slash == std::string_view::npos ? "/" : std::string(url.substr(slash));
  if (auto const colon = o.host.find(':'); colon != std::string::npos)
    o.port = static_cast<std::uint16_t>(std::atoi(o.host.c_str() + colon + 1));
  for (int i = 2; i < argc; ++i) {
    std::string_view const name = argv[i];
    char const* const value = i + 1 < argc ? argv[i + 1] : "";
    if (name == "--fresh")
      o.fresh = true;
    else if (name == "--together")
      o.together = true;
    else if (name == "--resume")
      o.resume = true;
    else if (name == "--await")
      o.await = true;
    else if (name == "--websocket")
      o.websocket = std::min<std::size_t>(125, static_cast<std::size_t>(std::atoll(value))), ++i;
    else if (name == "--pattern")
      o.pattern = true;
    else if (name == "--clients")
      o.clients = static_cast<std::size_t>(std::atoll(value)), ++i;
    else if (name == "--requests")
      o.requests = static_cast<std::size_t>(std::atoll(value)), ++i;
    else if (name == "--pause")
      o.pause = static_cast<std::size_t>(std::atoll(value)), ++i;
    else if (name == "--body") {
      o.body = read_file(value), ++i;
      if (!o.body) return false;
    } else if (name == "--part")
      o.part = static_cast<std::size_t>(std::atoll(value)), ++i;
    else if (name == "--rate")
      o.rate = static_cast<std::size_t>(std::atoll(value)), ++i;
    else if (name == "--seconds")
      o.deadline = clock_type::now() + std::chrono::seconds(std::atoll(value)), ++i;
    else if (name == "--idle")
      o.idle = static_cast<std::size_t>(std::atoll(value)), ++i;
    else if (name == "--header")
      o.header.append(value).append("\r\n"), ++i;
    else
      return false;
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  options o;
  if (!read_options(argc, argv, o)) {
    std::fprintf(stderr, "mgw-bench-load http[s]://127.0.0.1:PORT/PATH [options]\n");
    return 2;
  }
  std::signal(SIGPIPE, SIG_IGN);
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);  // clients keep their own
  (void)bench::pattern();
  auto begun = clock_type::now();
  result total;
  std::vector<std::unique_ptr<connection>> held;
  if (o.idle != 0) {
    for (std::size_t i = 0; i < o.idle; ++i) {
      client one(context, o, total);
      if (!one.get()) ++total.failures;
      held.push_back(one.give());
    }
    std::printf("ready\n");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
  } else {
    std::vector<result> results(o.clients);
    std::vector<std::thread> threads;
    std::latch ready(static_cast<std::ptrdiff_t>(o.clients)), go(1);
    for (auto& r : results)
      threads.emplace_back([&, context] {
        client one(context, o, r);
        if (o.together) {
          one.begin();
          ready.count_down();
          go.wait();
        }
        one.run();
      });
    if (o.together) {
      ready.wait();
      std::printf("ready\n");
      std::fflush(stdout);
      for (int c = 0; c != EOF && c != '\n';) c = std::getchar();
      begun = clock_type::now();
    }
    go.count_down();
    for (auto& t : threads) t.join();
    for (auto const& r : results) {
      total.requests += r.requests, total.bytes += r.bytes, total.failures += r.failures, total.cuts += r.cuts,
          total.wrong += r.wrong, total.resumed += r.resumed;
      total.first_byte.insert(total.first_byte.end(), r.first_byte.begin(), r.first_byte.end());
    }
  }
  print(total, std::chrono::duration<double>(clock_type::now() - begun).count());
  held.clear();
  SSL_CTX_free(context);
  return total.failures == 0 ? 0 : 1;
}
