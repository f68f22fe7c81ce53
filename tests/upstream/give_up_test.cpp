#include <mgw/upstream/cancellable.hpp>

#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/pool.hpp>

#include <support/blocking_socket.hpp>
#include <support/run_io.hpp>

#include <asio/error.hpp>
#include <asio/post.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

namespace mgw::upstream::give_up_test {
namespace {

/// A worker and a pool whose own limits are never reached.
struct site {
  net::worker w{0};
  std::shared_ptr<upstream::pool> pool;
  give_up giver;
  explicit site(pool_options o = {}) {
    o.connect_timeout = std::chrono::hours(1);
    o.names.deadline = std::chrono::hours(1);
    pool = std::make_shared<upstream::pool>(w.deadlines, net::tls_context::client({}), std::move(o));
  }
  /// Connects; `giver` may be told meanwhile, on this thread.
  connected connect(endpoint const& where) { return test::run_io(w.io, pool->connect(where, false, &giver)); }
};

}  // namespace

TEST_CASE("a connecting that is given up ends at once, whatever it waits for") {
  SUBCASE("a name") {
    struct gate {
      std::mutex mutex;
      std::condition_variable opened;
      bool open = false;
    };
    auto const names = std::make_shared<gate>();
    pool_options o;
    o.names.threads = std::make_shared<lookup_threads>();
    o.names.lookup = [names](std::string const&) {
      std::unique_lock hold(names->mutex);
      names->opened.wait(hold, [&] { return names->open; });
      looked_up out;
      out.ec = asio::error::host_not_found;
      return out;
    };
    site s(o);
    asio::post(s.w.io, [&] { s.giver.cancel(); });  // behind the connecting's first wait
    CHECK(s.connect(endpoint("name", 80, false)).ec == asio::error::operation_aborted);
    {
      std::lock_guard const hold(names->mutex);
      names->open = true;
    }
    names->opened.notify_all();
    CHECK(test::eventually([&] { return o.names.threads->running() == 0; }));
  }
  SUBCASE("an address") {
    test::full_listener const gone;
    site s;
    asio::post(s.w.io, [&] { s.giver.cancel(); });
    CHECK(s.connect(endpoint("127.0.0.1", gone.port(), false)).ec == asio::error::operation_aborted);
  }
  SUBCASE("a TLS handshake") {
    test::blocking_socket const listening = test::blocking_socket::listen(0);
    site s;
    std::thread mute([&] {
      test::blocking_socket const c(::accept4(listening.fd(), nullptr, nullptr, SOCK_CLOEXEC));
      char first = 0;
      CHECK(::recv(c.fd(), &first, 1, 0) == 1);  // it says hello, and gets no answer
      asio::post(s.w.io, [&] { s.giver.cancel(); });
      while (::recv(c.fd(), &first, 1, 0) == 1) {
      }
    });
    auto const c = s.connect(endpoint("127.0.0.1", listening.local_port(), true));
    CHECK_FALSE(c.connection);
    CHECK(s.giver.given());
    mute.join();
  }
  SUBCASE("nothing yet") {
    test::full_listener const gone;
    site s;
    s.giver.cancel();
    CHECK(s.connect(endpoint("127.0.0.1", gone.port(), false)).ec == asio::error::operation_aborted);
  }
}

}  // namespace mgw::upstream::give_up_test
