#pragma once

#include <mgw/cache/file.hpp>
#include <mgw/cache/growth.hpp>
#include <mgw/cache/meta.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace mgw::cache {

/// How far an object has come.
enum class fill_phase : std::uint8_t {
  pending,   ///< nothing is known yet: the upstream has not answered
  growing,   ///< bytes arrive (or will again, after an outage)
  complete,  ///< all bytes are there
  refused,   ///< the upstream said a definite no
  condemned, ///< the bytes were found to be bad: nobody sees more of them than what was shown
  cut,       ///< this generation is over: its readers end, new ones get another
  bypassed,  ///< it cannot be stored: its readers go on by themselves, after what is there
};

/// What readers see of an object at one moment.
struct fill_view {
  fill_phase phase = fill_phase::pending;
  std::uint64_t stored = 0;              ///< bytes that can be read
  std::optional<std::uint64_t> length;   ///< of the whole, as soon as it is known
  int status = 0;                        ///< of the refusal
  std::shared_ptr<meta const> about;     ///< set from `growing` on
  std::shared_ptr<file const> body;      ///< set from `growing` on
};

/// One generation of one object while it is filled, or complete: what the filling side publishes and readers follow.
///
/// Published bytes never change and were all sent by the upstream. Thread rule: the publishing functions belong to one
/// thread at a time (the fill's worker), everything else to any thread. `stored` is published after the bytes are on
/// the shared descriptor.
class fill {
public:
  fill() = default;
  /// A complete object, straight from the store.
  fill(meta about, std::shared_ptr<file const> body) {
    std::uint64_t const length = about.length;
    view_.phase = fill_phase::complete;
    view_.stored = length;
    view_.length = length;
    view_.about = std::make_shared<meta const>(std::move(about));
    view_.body = std::move(body);
  }

  fill_view view() const {
    std::lock_guard const lock(mutex_);
    return view_;
  }

  /// The upstream's head (or a part from an earlier life) is there.
  void begin(meta about, std::shared_ptr<file const> body, std::uint64_t stored) {
    std::optional<std::uint64_t> const length = about.length_known ? std::optional(about.length) : std::nullopt;
    auto shared = std::make_shared<meta const>(std::move(about));
    publish([&](fill_view& v) {
      v.phase = fill_phase::growing;
      v.about = std::move(shared);
      v.body = std::move(body);
      v.length = length;
      v.stored = stored;
    });
  }
  void grew(std::uint64_t stored) {
    publish([&](fill_view& v) { v.stored = stored; });
  }
  void set_length(std::uint64_t length) {
    publish([&](fill_view& v) { v.length = length; });
  }
  void completed() {
    publish([&](fill_view& v) {
      v.phase = fill_phase::complete;
      v.length = v.stored;
    });
  }
  void refuse(int status) {
    publish([&](fill_view& v) {
      v.phase = fill_phase::refused;
      v.status = status;
    });
  }
  void condemn() {
    publish([&](fill_view& v) {
      v.phase = fill_phase::condemned;
      v.status = 403;
    });
  }
  void cut() {
    publish([&](fill_view& v) { v.phase = fill_phase::cut; });
  }
  void bypass() {
    publish([&](fill_view& v) { v.phase = fill_phase::bypassed; });
  }

  /// Joins the line of those who wait for more than `seen`; false if there is news already. See growth_ticket.
  bool wait_for_news(growth_ticket& t, fill_view const& seen) {
    std::lock_guard const lock(mutex_);
    if (view_.stored != seen.stored || view_.phase != seen.phase || view_.length != seen.length) return false;
    growth_.enlist(t);
    return true;
  }

private:
  template <class F>
  void publish(F change) {
    std::lock_guard const lock(mutex_);
    change(view_);
    growth_.ring();
  }
  mutable std::mutex mutex_;
  fill_view view_;
  growth growth_;
};

}  // namespace mgw::cache
