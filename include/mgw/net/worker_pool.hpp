#pragma once

#include <mgw/net/deadline.hpp>
#include <mgw/net/error.hpp>
#include <mgw/net/listener.hpp>
#include <mgw/net/poller.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace mgw::net {

/// One thread's part of the program: its io_context and its deadlines. A connection lives and dies on one worker.
class worker {
public:
  /// Errors: std::system_error for want of descriptors.
  explicit worker(std::size_t i) : index(i), deadlines(io.get_executor()), busy_(io.get_executor()) {
    poller::of(io.get_executor());  // now rather than with the first connection
  }
  worker(worker const&) = delete;
  worker& operator=(worker const&) = delete;

  /// The worker whose thread this is; null on other threads.
  static worker* current() noexcept { return current_; }

private:
  /// One that can let go of its coroutines while it and the other workers' are still there: they refer to each other.
  struct context : asio::io_context {
    using asio::io_context::io_context;
    using asio::execution_context::shutdown;
  };

public:
  std::size_t const index;
  context io{1};
  deadline_queue deadlines;

private:
  friend class worker_pool;
  static inline thread_local worker* current_ = nullptr;
  asio::executor_work_guard<asio::io_context::executor_type> busy_;  // run() goes on with nothing to do
};

/// N workers, each on a thread of its own.
///
/// ```
/// worker_pool pool(4);
/// auto listeners = pool.listen(address);
/// for (i …) asio::co_spawn(pool.worker(i).io, listeners[i]->run(f), asio::detached);
/// pool.run();                    // until somebody calls pool.stop()
/// ```
/// Order of destruction: what holds sockets or timers of the workers (listeners, streams, pools of connections) before
/// the pool. The coroutines that are suspended when it stops are destroyed with it, after all threads have ended.
class worker_pool {
public:
  /// `count` 0: as many as the machine has cores. Errors: std::system_error for want of descriptors.
  explicit worker_pool(std::size_t count = 0) {
    if (count == 0) count = std::max<std::size_t>(1, std::thread::hardware_concurrency());
    for (std::size_t i = 0; i < count; ++i) workers_.push_back(std::make_unique<net::worker>(i));
  }

  std::size_t size() const noexcept { return workers_.size(); }
  net::worker& worker(std::size_t i) noexcept { return *workers_[i]; }

  /// Runs all workers, the first one on the calling thread, until stop(). Once.
  /// Errors: the first exception that left a handler; it stops all. Before that std::system_error for want of threads.
  void run();
  /// Any thread. Handlers that are running end; those that wait do not run any more.
  void stop() noexcept {
    for (auto const& w : workers_) w->io.stop();
  }
  ~worker_pool() { clear(); }
  worker_pool(worker_pool const&) = delete;
  worker_pool& operator=(worker_pool const&) = delete;
  /// Destroys the coroutines that are suspended on the workers, then the workers. After run() has returned.
  void clear() noexcept {
    for (auto const& w : workers_) w->io.shutdown();
    workers_.clear();
  }
  /// Runs a copy of `f(worker&)` on each worker. Any thread.
  template <class F>
  void post(F f) {
    for (auto const& w : workers_) {
      auto job = [f, target = w.get()]() mutable { f(*target); };
      asio::post(w->io, std::move(job));
    }
  }
  /// One listener for each worker, all on the same address; port 0 is chosen once. The i-th belongs to worker i.
  /// Errors: those of listener; also if another process listens there already, which SO_REUSEPORT alone would allow.
  /// Thread rule: before run().
  std::vector<std::unique_ptr<listener>> listen(asio::ip::tcp::endpoint address, listener_options options = {});
  /// The same for a listening socket that somebody else has opened and may keep (socket activation). All workers accept
  /// from its one queue; what nobody has accepted when they end stays there for who accepts next. The descriptor is
  /// taken over, also if this fails. Errors: those of listener, want of descriptors. Thread rule: before run().
  std::vector<std::unique_ptr<listener>> listen(int listening, listener_options const& options = {});

private:
  std::vector<std::unique_ptr<net::worker>> workers_;
};

inline void worker_pool::run() {
  std::mutex mutex;
  std::exception_ptr first;
  auto const work = [&](net::worker& w) {
    net::worker::current_ = &w;
    try {
      w.io.run();
    } catch (...) {
      std::lock_guard const lock(mutex);
      if (!first) first = std::current_exception();
      stop();
    }
    net::worker::current_ = nullptr;
  };
  {
    std::vector<std::jthread> threads;  // joined at the end of this block, however it is left
    try {
      for (std::size_t i = 1; i < workers_.size(); ++i) threads.emplace_back(work, std::ref(*workers_[i]));
    } catch (...) {
      stop();
      throw;
    }
    work(*workers_.front());
  }
  if (first) std::rethrow_exception(first);
}

inline std::vector<std::unique_ptr<listener>> worker_pool::listen(asio::ip::tcp::endpoint address,
                                                                  listener_options options) {
  listener_options alone = options;
  alone.reuse_port = false;
  if (address.port() != 0) listener(workers_.front()->io, address, alone);  // throws if somebody else is there
  options.reuse_port = true;
  std::vector<std::unique_ptr<listener>> all;
  for (auto const& w : workers_) {
    all.push_back(std::make_unique<listener>(w->io, address, options));
    address.port(all.front()->local().port());
  }
  return all;
}

inline std::vector<std::unique_ptr<listener>> worker_pool::listen(int listening, listener_options const& options) {
  std::vector<std::unique_ptr<listener>> all;
  for (std::size_t i = 1; i < workers_.size(); ++i) {
    int const copy = ::fcntl(listening, F_DUPFD_CLOEXEC, 3);
    if (copy < 0) {
      std::error_code const why = system_error(errno);
      ::close(listening);
      throw std::system_error(why, "cannot listen on descriptor " + std::to_string(listening));
    }
    try {
      all.push_back(std::make_unique<listener>(workers_[i]->io, copy, options));
    } catch (...) {
      ::close(listening);
      throw;
    }
  }
  all.insert(all.begin(), std::make_unique<listener>(workers_.front()->io, listening, options));
  return all;
}

}  // namespace mgw::net
