#pragma once

#include <mgw/core/ring.hpp>
#include <mgw/core/wake_up.hpp>
#include <mgw/net/error.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/basic_stream_descriptor.hpp>
#include <asio/query.hpp>
#include <asio/use_awaitable.hpp>

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <system_error>
#include <type_traits>
#include <utility>

namespace mgw::net {

/// Knows which sockets of an io_context may be read or written, and wakes who waits for that: an epoll(7) instance,
/// edge-triggered, that Asio's reactor waits for like for one descriptor.
///
/// Asio itself looks for bytes once more before each wait, which in a proxy nearly always finds none, and is given the
/// room for them before there are any. Here what the kernel has told is kept with the socket, so that looking in vain
/// costs no system call, and a connection that waits holds no room. Many sockets that are ready cost three system calls
/// together: Asio's wait, ours, and the one that lets Asio's tell us again.
/// Source: epoll(7), "Questions and answers" 9. Errors of construction: std::system_error for want of descriptors.
/// Thread rule: the context's one thread. As long as somebody waits, the context has work.
class poller final : public asio::execution_context::service {
public:
  enum class side : std::size_t { read, write };
  class watched;

  static inline asio::execution_context::id id;
  explicit poller(asio::execution_context& context);
  /// That of an io_context, by its executor; made when it is asked for first.
  static poller& of(asio::any_io_executor const& executor) {
    return asio::use_service<poller>(asio::query(executor, asio::execution::context));
  }

private:
  class waiter;
  class told_by_asio;
  template <class T>
  class wait_room;
  static constexpr int at_once = 128;  // sockets that are served before others of Asio's handlers have their turn
  static constexpr int few = 8;        // are told within a moment

  void shutdown() override;
  void look() noexcept;
  void serve();
  void settle();
  void arm();
  void kick() noexcept;

  asio::posix::basic_stream_descriptor<asio::io_context::executor_type> epoll_;
  alignas(std::max_align_t) std::byte wait_room_[256];  // of Asio's wait: what wakes everybody must not fail for want of memory
  ring_link waiting_, due_;  // of waiter: those that wait, and those that are to be told now
  bool armed_ = false;       // Asio tells us when a socket is ready: whenever somebody waits
  bool kicked_ = false;      // it is about to do so in any case
  bool serving_ = false;
  std::uint64_t looks_ = 0;
  int told_ = 0;             // since the last look
  bool current_ = false;     // the last look found all there was, and the next one is due: what is known is believed
};

/// Who waits for one side of a socket: a handler in room of its own, so that waiting allocates nothing here.
class poller::waiter : public ring_link {
public:
  waiter() noexcept = default;
  ~waiter() { drop(); }
  bool pending() const noexcept { return finish_ != nullptr; }
  template <class Handler>
  void hold(Handler handler) noexcept {
    static_assert(sizeof(Handler) <= sizeof room_ && alignof(Handler) <= alignof(std::max_align_t));
    static_assert(std::is_nothrow_move_constructible_v<Handler>);
    assert(!pending());
    ::new (static_cast<void*>(room_)) Handler(std::move(handler));
    due_ = false;
    finish_ = [](waiter& w, bool call) {
      Handler* const kept = std::launder(reinterpret_cast<Handler*>(w.room_));
      Handler mine(std::move(*kept));
      kept->~Handler();
      w.finish_ = nullptr;
      bool const ready = w.ready_;
      if (call) std::move(mine)(ready);  // `w` may be gone behind it
    };
  }
  void become_due(ring_link& list, bool ready) noexcept {
    if (std::exchange(due_, true)) {
      ready_ = ready_ && ready;  // an interruption counts, also of who was about to be told otherwise
      return;
    }
    ready_ = ready;
    unlink();
    insert_before(list);
  }
  void tell() {
    unlink();
    finish_(*this, true);
  }
  void drop() noexcept {
    unlink();
    if (pending()) finish_(*this, false);
  }

private:
  void (*finish_)(waiter&, bool call) = nullptr;
  bool ready_ = false, due_ = false;
  alignas(std::max_align_t) std::byte room_[32];
};

/// Gives the poller's own room to Asio's wait for it: there is one at a time.
template <class T>
class poller::wait_room {
public:
  using value_type = T;
  explicit wait_room(poller& of) noexcept : of_(&of) {}
  template <class U>
  wait_room(wait_room<U> const& o) noexcept : of_(o.of_) {}
  T* allocate(std::size_t n) const noexcept {
    static_assert(sizeof(T) <= sizeof of_->wait_room_ && alignof(T) <= alignof(std::max_align_t));
    assert(n == 1);
    (void)n;
    return reinterpret_cast<T*>(of_->wait_room_);
  }
  void deallocate(T*, std::size_t) const noexcept {}
  template <class U>
  bool operator==(wait_room<U> const& o) const noexcept {
    return of_ == o.of_;
  }

private:
  template <class U>
  friend class wait_room;
  poller* of_;
};

/// The handler of that wait.
class poller::told_by_asio {
public:
  using allocator_type = wait_room<void>;
  explicit told_by_asio(poller& p) noexcept : poller_(&p) {}
  allocator_type get_allocator() const noexcept { return allocator_type(*poller_); }
  void operator()(std::error_code) const {
    poller_->armed_ = poller_->kicked_ = false;
    poller_->look();
    poller_->serve();
  }

private:
  poller* poller_;
};

/// A socket that a poller watches; closes it. Not movable. Thread rule: the poller's.
class poller::watched {
public:
  /// Takes over `descriptor`, which is non-blocking. Errors: std::bad_alloc.
  watched(poller& by, int descriptor) : poller_(by), descriptor_(descriptor) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET;
    event.data.ptr = this;
    if (::epoll_ctl(poller_.epoll_.native_handle(), EPOLL_CTL_ADD, descriptor_, &event) != 0)
      throw std::bad_alloc();  // a connection less, as for any other memory
  }
  watched(watched const&) = delete;
  watched& operator=(watched const&) = delete;
  ~watched() {
    bool left = false;
    for (one_side& x : sides_) {
      left = left || x.waiting.pending();
      x.waiting.drop();
    }
    if (left && poller_.waiting_.alone()) poller_.kick();  // so that the context does not wait for nobody
    // A child between fork and exec has the descriptor, too: closing alone would not end the watching.
    ::epoll_ctl(poller_.epoll_.native_handle(), EPOLL_CTL_DEL, descriptor_, nullptr);
    ::close(descriptor_);
  }

  int descriptor() const noexcept { return descriptor_; }
  /// False: an attempt would find nothing, as far as the poller was told.
  bool may(side s) const noexcept { return of(s).ready || !poller_.current_; }
  /// An attempt has just found nothing: EAGAIN.
  void found_nothing(side s) noexcept { of(s).ready = false; }
  /// The next attempt is made in any case: for who has to know what is there now, not when the poller looked last.
  void doubt(side s) noexcept { of(s).ready = true; }
  /// What is known was found out a moment ago: since then only a few were told of it.
  bool just_told() const noexcept { return poller_.serving_ && poller_.current_ && poller_.told_ <= few; }
  /// A read brought something. What the last look has not told may have come since: then others know of no moment ago, either.
  void found_some() noexcept {
    if (std::exchange(of(side::read).told_at, 0) != poller_.looks_) poller_.told_ = few + 1;
  }
  /// A read brought less than it had room for: there is no more, unless the peer's end is there already.
  void found_last() noexcept {
    if (!short_reads_) of(side::read).ready = false;
  }
  /// Until an attempt may find something (true; now and then it still finds nothing), or interrupt() (false).
  /// Precondition: nobody waits for this side.
  asio::awaitable<bool> wait(side s) {
    return asio::async_initiate<asio::use_awaitable_t<> const&, void(bool)>(
        [this, s](auto handler) { start(s, std::move(handler)); }, asio::use_awaitable);
  }
  /// The same without a coroutine: calls `w` then, whatever it would have been told.
  void call(side s, wake_up w) { start(s, std::move(w)); }
  /// Whoever waits is told soon.
  void interrupt() noexcept {
    for (one_side& x : sides_) {
      if (!x.waiting.pending()) continue;
      x.waiting.become_due(poller_.due_, false);
      poller_.kick();
    }
  }

private:
  friend class poller;
  struct one_side {
    waiter waiting;
    bool ready = true;          // as far as is known
    std::uint64_t told_at = 0;  // by which look, if nothing was read since
  };
  one_side& of(side s) noexcept { return sides_[static_cast<std::size_t>(s)]; }
  one_side const& of(side s) const noexcept { return sides_[static_cast<std::size_t>(s)]; }

  template <class Handler>
  void start(side s, Handler handler) {
    poller_.arm();
    one_side& x = of(s);
    x.waiting.hold(std::move(handler));
    x.waiting.insert_before(poller_.waiting_);
    if (!x.ready) return;
    x.waiting.become_due(poller_.due_, true);
    poller_.kick();
  }
  void now_ready(side s) noexcept {
    one_side& x = of(s);
    x.ready = true;
    x.told_at = poller_.looks_;
    if (x.waiting.pending()) x.waiting.become_due(poller_.due_, true);
  }
  void note(std::uint32_t events) noexcept {
    // Behind urgent data a read stops short of what there is: as before an end, short reads say nothing from then on.
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLPRI)) != 0) short_reads_ = true;
    if ((events & EPOLLIN) != 0 || short_reads_) now_ready(side::read);
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) now_ready(side::write);
  }

  poller& poller_;
  int descriptor_;
  bool short_reads_ = false;  // there may be more behind one: the peer's end, a failure, urgent data
  std::array<one_side, 2> sides_;
};

inline poller::poller(asio::execution_context& context)
    : service(context), epoll_(static_cast<asio::io_context&>(context)) {
  int const made = ::epoll_create1(EPOLL_CLOEXEC);
  std::error_code ec = made < 0 ? system_error(errno) : std::error_code();
  if (!ec) epoll_.assign(made, ec);
  if (!ec) return;
  if (made >= 0) ::close(made);
  throw std::system_error(ec, "no epoll(7) instance");
}

/// Handlers own what waits, and with it sockets: those that wait leave these rings on the way.
inline void poller::shutdown() {
  for (ring_link* list : {&waiting_, &due_})
    while (!list->alone()) static_cast<waiter*>(list->next)->drop();
}

/// Lets Asio tell us of the next socket that is ready, now or later.
inline void poller::arm() {
  if (armed_ || serving_) return;
  epoll_.async_wait(asio::posix::descriptor_base::wait_read, told_by_asio(*this));
  armed_ = true;
}

/// Lets Asio come back to us soon, whatever is ready. Precondition: it is armed, or serves.
inline void poller::kick() noexcept {
  if (!armed_ || std::exchange(kicked_, true)) return;
  std::error_code ignored;
  epoll_.cancel(ignored);
}

/// All that is told is noted before anybody is: they may close sockets that it is about.
inline void poller::look() noexcept {
  std::array<epoll_event, at_once> found;
  int const n = ::epoll_wait(epoll_.native_handle(), found.data(), at_once, 0);
  current_ = n >= 0 && n < at_once;
  told_ = 0;
  ++looks_;
  for (int i = 0; i < n; ++i)
    static_cast<watched*>(found[static_cast<std::size_t>(i)].data.ptr)->note(found[static_cast<std::size_t>(i)].events);
}

inline void poller::serve() {
  serving_ = true;
  try {
    for (; !due_.alone(); ++told_) static_cast<waiter*>(due_.next)->tell();
  } catch (...) {
    settle();
    throw;
  }
  settle();
}

inline void poller::settle() {
  serving_ = false;
  bool const current = std::exchange(current_, false);
  bool const some_left = !due_.alone();
  if (some_left || !waiting_.alone()) {
    arm();
    current_ = current;
  }
  if (some_left) kick();
}

}  // namespace mgw::net
