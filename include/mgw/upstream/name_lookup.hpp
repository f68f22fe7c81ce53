#pragma once

#include <mgw/net/error.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/error.hpp>
#include <asio/execution_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>
#include <asio/post.hpp>

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::upstream {

/// The addresses of a name, or why there are none. No error: at least one.
struct looked_up {
  std::error_code ec;
  std::vector<asio::ip::address> addresses;
};

/// Looks a name up. Blocks for as long as it takes; any thread; must not throw but for want of memory.
using lookup_function = std::function<looked_up(std::string const& host)>;

namespace detail {

inline looked_up ask_system(std::string const& host, addrinfo const& hints) {
  looked_up out;
  addrinfo* found = nullptr;
  switch (::getaddrinfo(host.c_str(), nullptr, &hints, &found)) {
    case 0: break;
    case EAI_AGAIN: out.ec = asio::error::host_not_found_try_again; return out;
    case EAI_MEMORY: out.ec = net::system_error(ENOMEM); return out;
    case EAI_SYSTEM: out.ec = net::system_error(errno); return out;
    case EAI_FAIL: out.ec = asio::error::no_recovery; return out;
    default: out.ec = asio::error::host_not_found; return out;
  }
  std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> const all(found, &::freeaddrinfo);
  for (addrinfo const* a = found; a != nullptr; a = a->ai_next) {
    if (a->ai_family == AF_INET) {
      sockaddr_in in{};
      std::memcpy(&in, a->ai_addr, sizeof in);
      out.addresses.emplace_back(asio::ip::address_v4(ntohl(in.sin_addr.s_addr)));
    } else if (a->ai_family == AF_INET6) {
      sockaddr_in6 in{};
      std::memcpy(&in, a->ai_addr, sizeof in);
      asio::ip::address_v6::bytes_type bytes;
      std::memcpy(bytes.data(), &in.sin6_addr, bytes.size());
      out.addresses.emplace_back(asio::ip::address_v6(bytes, in.sin6_scope_id));
    }
  }
  if (out.addresses.empty()) out.ec = asio::error::host_not_found;
  return out;
}

}  // namespace detail

/// getaddrinfo. Errors: asio::error::host_not_found, host_not_found_try_again, no_recovery; errno's.
inline looked_up system_lookup(std::string const& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  return detail::ask_system(host, hints);
}

/// The address that a host is by itself, without a name server: an address in any spelling that getaddrinfo takes
/// (`127.1`, `0x7f000001`), or a name that always means loopback (RFC 6761 6.3). Nothing: a name.
inline std::optional<asio::ip::address> address_without_lookup(std::string const& host) {
  if (host == "localhost" || host.ends_with(".localhost")) return asio::ip::address_v4::loopback();
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  looked_up const found = detail::ask_system(host, hints);
  if (found.ec) return std::nullopt;
  return found.addresses.front();
}

/// Threads for what may hang for ever and must not be waited for: they are never joined, and a process that ends ends
/// them.
///
/// A thread lives for one job and those that wait behind it. Asio's own resolver has one thread for each io_context, on
/// which look-ups stand in line, and which ~io_context joins: a name server that does not answer delays every other
/// name, and the end of the process. Any thread.
class lookup_threads {
public:
  /// `most` run at once, so many more wait in line.
  explicit lookup_threads(std::size_t most = 16, std::size_t most_waiting = 1024)
      : p_(std::make_shared<state>(most, most_waiting)) {}

  /// The program's own. Never destroyed: a thread may come back to it late.
  static std::shared_ptr<lookup_threads> const& common() {
    static auto const* const one = new std::shared_ptr<lookup_threads>(std::make_shared<lookup_threads>());
    return *one;
  }

  /// Runs `job`, which must not throw, now or as soon as a thread is free.
  /// Errors: std::errc::resource_unavailable_try_again: neither a thread nor room to wait.
  std::error_code start(std::function<void()> job) {
    std::lock_guard const hold(p_->mutex);
    if (p_->running < p_->most) {
      try {
        std::thread(work, p_, job).detach();
        ++p_->running;
        return {};
      } catch (std::system_error const&) {
        if (p_->running == 0) return std::make_error_code(std::errc::resource_unavailable_try_again);
      }
    }
    if (p_->waiting.size() >= p_->most_waiting) return std::make_error_code(std::errc::resource_unavailable_try_again);
    p_->waiting.push_back(std::move(job));
    return {};
  }

  /// Threads at work.
  std::size_t running() const {
    std::lock_guard const hold(p_->mutex);
    return p_->running;
  }

private:
  struct state {
    state(std::size_t m, std::size_t w) : most(m), most_waiting(w) {}
    std::size_t const most, most_waiting;
    std::mutex mutex;
    std::size_t running = 0;
    std::deque<std::function<void()>> waiting;
  };

  static void work(std::shared_ptr<state> const& p, std::function<void()> job) {
    for (;;) {
      job();
      job = nullptr;
      std::lock_guard const hold(p->mutex);
      if (p->waiting.empty()) {
        --p->running;
        return;
      }
      job = std::move(p->waiting.front());
      p->waiting.pop_front();
    }
  }

  std::shared_ptr<state> p_;
};

/// Posts to an io_context from threads that may outlive it: what comes too late is dropped.
class late_posts final : public asio::execution_context::service {
public:
  using key_type = late_posts;
  static inline asio::execution_context::id id;

  /// Shared with the threads.
  class door {
  public:
    template <class F>
    void post(asio::any_io_executor const& to, F f) {
      std::lock_guard const hold(mutex_);
      if (open_) asio::post(to, std::move(f));
    }

  private:
    friend class late_posts;
    std::mutex mutex_;
    bool open_ = true;
  };

  explicit late_posts(asio::execution_context& context)
      : asio::execution_context::service(context), door_(std::make_shared<door>()) {}

  static std::shared_ptr<door> of(asio::any_io_executor const& executor) {
    auto& context = asio::query(executor, asio::execution::context);
    return asio::use_service<late_posts>(context).door_;
  }

private:
  // The last services are shut down first: the scheduler is still there.
  void shutdown() noexcept override {
    std::lock_guard const hold(door_->mutex_);
    door_->open_ = false;
  }

  std::shared_ptr<door> door_;
};

}  // namespace mgw::upstream
