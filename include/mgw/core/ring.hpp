#pragma once

namespace mgw {

/// A link of a ring of objects that derive from it, or a ring's own head. Alone, it is a ring of one: an empty list.
///
/// Nothing is allocated, and whoever is in a ring can leave it without knowing which. Destruction does not unlink.
/// Thread rule: one thread for all of a ring.
struct ring_link {
  ring_link* prev = this;
  ring_link* next = this;

  ring_link() noexcept = default;
  ring_link(ring_link const&) = delete;
  ring_link& operator=(ring_link const&) = delete;

  bool alone() const noexcept { return next == this; }
  void unlink() noexcept {
    prev->next = next;
    next->prev = prev;
    prev = next = this;
  }
  /// Precondition: it is alone.
  void insert_before(ring_link& where) noexcept {
    prev = where.prev;
    next = &where;
    prev->next = this;
    where.prev = this;
  }
};

}  // namespace mgw
