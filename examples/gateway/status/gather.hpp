#pragma once

#include "artifact/labels.hpp"
#include "status/keeper.hpp"
#include "status/moment.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_job.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace gateway::status {

/// What runs on the workers: each says it on its own thread, so nothing of a request's is shared.
struct running {
  std::vector<live_download> downloads;
  std::vector<live_call> calls;
  std::uint64_t delivered = 0;  ///< bytes of downloads, the ended ones included
};

namespace gather_detail {

inline void add(running& to, mgw::proxy::exchange const& x) {
  auto const& n = x.notes();
  if (x.idle() || x.finished() || x.aborted()) return;
  if (!is_download(n.route)) {
    constexpr std::chrono::seconds long_call(3);
    bool const waits = !x.responding() && std::chrono::steady_clock::now() - x.begun() >= long_call;
    if (waits && !n.device.empty()) to.calls.push_back({n.device, n.route});
    return;
  }
  if (!n.object) return;
  live_download d;
  d.device = n.device;
  d.object = *n.object;
  d.begun = x.responding();
  if (d.begun) {
    d.bytes = n.from + x.body_out();
    d.size = n.length;
    to.delivered += x.body_out();
  }
  to.downloads.push_back(std::move(d));
}

}  // namespace gather_detail

/// Asks all workers of a server, and waits for what they say, for so long at most: what is missing then is left out.
/// Not on a worker's thread. `of`: what has ended there, see keeper::delivered.
template <class Server>
running look_at(Server& server, std::size_t workers, keeper const& of, std::chrono::milliseconds limit) {
  struct shared {
    std::mutex mutex;
    std::condition_variable said;
    std::size_t missing = 0;
    running found;
  };
  auto const all = std::make_shared<shared>();
  all->missing = workers;
  server.look_at([all, &of](std::size_t worker, std::list<mgw::proxy::exchange*> const& live) {
    running mine;
    for (auto const* x : live) gather_detail::add(mine, *x);
    mine.delivered += of.delivered(worker);
    std::lock_guard const hold(all->mutex);
    all->found.delivered += mine.delivered;
    auto const add = [](auto& to, auto& from) {
      to.insert(to.end(), std::move_iterator(from.begin()), std::move_iterator(from.end()));
    };
    add(all->found.downloads, mine.downloads);
    add(all->found.calls, mine.calls);
    --all->missing;
    all->said.notify_all();
  });
  std::unique_lock lock(all->mutex);
  (void)all->said.wait_for(lock, limit, [&] { return all->missing == 0; });
  running out = std::move(all->found);
  if (all->missing != 0) out.delivered = of.delivered();
  return out;
}

/// What is being fetched. Any thread.
inline std::vector<running_fill> fills_of(std::vector<std::shared_ptr<mgw::proxy::fetch_job>> const& jobs) {
  std::vector<running_fill> out;
  for (auto const& job : jobs) {
    running_fill f;
    auto const view = job->current()->view();
    auto told = job->told();
    f.object = job->object_key();
    f.host = job->host();
    f.size = view.length;
    f.have = view.stored;
    f.readers = static_cast<std::uint64_t>(std::max(0, job->readers()));
    f.at = told.at;
    f.why = std::move(told.why);
    f.started = job->begun();
    out.push_back(std::move(f));
  }
  return out;
}

/// The same objects that `mgw-gateway cache list` tells. Any thread; does not wait for the disk.
inline std::vector<cached_object> objects_of(mgw::cache::disk_store const& store) {
  std::vector<cached_object> out;
  for (auto const& e : store.entries()) {
    cached_object o;
    o.key = e.meta.key;
    o.name = label_value(e.meta.labels, label::artifact_name);
    o.size = e.meta.length;
    o.added = e.meta.stored_at;
    o.used = e.last_used;
    o.pinned = e.meta.pinned;
    out.push_back(std::move(o));
  }
  return out;
}

}  // namespace gateway::status
