#pragma once

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::proxy {

/// What is known about a body.
struct body_verdict {
  enum class state {
    open,       ///< nothing yet: more bytes are needed
    head_good,  ///< what the body says of itself at its beginning is right; the rest is open
    good,       ///< the body is whole and right: only finish() says so
    bad,        ///< the body is refused, whatever follows
    unable,     ///< the verifier itself failed: nothing is said about the body, another try may succeed
  };
  state what = state::open;
  std::string why;  ///< for bad and unable: one printable line for the log
  /// What the object is to be found by, for the store to keep with it; complete once the verdict is `good`.
  std::vector<std::pair<std::string, std::string>> labels;

  /// Good, bad or unable: nothing that follows changes it, and no more bytes are needed.
  bool is_final() const noexcept { return what == state::good || what == state::bad || what == state::unable; }
};

/// Judges the bytes of one object as they arrive. One per fill.
///
///     auto v = co_await verifier->take(batch);             // for each batch, in order, from byte 0 on
///     if (!published) v = co_await verifier->head();       // before the first byte is shown to anybody
///     if (v.what == body_verdict::state::open) ...         // keep what there is, go on with the next batch
///     ...
///     v = co_await verifier->finish();                     // before the withheld end is shown
///
/// States only go forward: open, head_good, then one of good, bad and unable, which stays. take(), head() and finish()
/// may then still be called, and answer at once.
///
/// Precondition: one call at a time; no take() after finish(). Destruction at any time, except inside of a call, ends
/// what is under way without waiting for it.
/// Errors: none is thrown; what goes wrong with the verifier is `unable`. Each call ends in bounded time.
/// Thread rule: the thread of the io_context that it was made for, which outlives it.
class body_verifier {
public:
  virtual ~body_verifier() = default;
  /// Takes all of `bytes` (the caller's, needed until the answer) and says what is known by now, which may lag behind
  /// what was taken.
  virtual asio::awaitable<body_verdict> take(std::string_view bytes) = 0;
  /// Waits until all that was taken so far has been looked at, or until more than `open` is known. So `open` means that
  /// the head is not whole yet, and a head that is whole needs no further byte.
  virtual asio::awaitable<body_verdict> head() = 0;
  /// There are no more bytes: good, bad or unable.
  virtual asio::awaitable<body_verdict> finish() = 0;
};

/// Makes the verifier of one fill, on the thread of its worker's context. Does not throw for want of resources: such a
/// verifier is `unable` from the start. Called from several threads at once.
using verifier_factory = std::function<std::unique_ptr<body_verifier>(asio::io_context&)>;

}  // namespace mgw::proxy
