#pragma once

#include <mgw/proxy/held_requests.hpp>
#include <mgw/proxy/object_reader.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>

namespace mgw::proxy {

/// How many downloads there are at once, and which of them are held. Several caches of one server may have one room, so
/// that their limits are the server's.
///
/// Thread rule: any thread. Precondition: outlives its clients.
class client_room {
public:
  client_room(reader_options const& reader, std::size_t most)
      : held(reader.max_held, reader.replaced_after, per_link(reader)), most_(most) {}
  client_room(client_room const&) = delete;
  client_room& operator=(client_room const&) = delete;

  /// One download, while there is one of these.
  class client {
  public:
    explicit client(client_room& all) : all_(all), before_(all.clients_.fetch_add(1)) {}
    client(client const&) = delete;
    client& operator=(client const&) = delete;
    ~client() { all_.clients_.fetch_sub(1); }
    /// There were as many as there may be before it came.
    bool too_many() const noexcept { return before_ >= all_.most_; }

  private:
    client_room& all_;
    std::size_t before_;
  };

  held_requests held;

private:
  /// Several clients may share one link, but none may take all the room.
  static std::size_t per_link(reader_options const& o) {
    return o.max_held_per_link != 0 ? o.max_held_per_link : std::max<std::size_t>(1, o.max_held / 4);
  }

  std::size_t const most_;
  std::atomic<std::size_t> clients_{0};
};

}  // namespace mgw::proxy
