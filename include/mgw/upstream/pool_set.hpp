#pragma once

#include <mgw/net/tls_context.hpp>
#include <mgw/net/worker_pool.hpp>
#include <mgw/upstream/pool.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace mgw::upstream {

/// A connection pool for each worker. Thread rule: `of(w)` on `w`'s thread.
class pool_set {
public:
  pool_set(net::worker_pool& workers, net::tls_context const& tls, pool_options const& options = {}) {
    for (std::size_t i = 0; i < workers.size(); ++i)
      pools_.push_back(std::make_shared<pool>(workers.worker(i).deadlines, tls, options));
  }
  std::shared_ptr<pool> const& of(net::worker const& w) const { return pools_[w.index]; }

  // A Part of a running gateway: connections that are leased end with whoever leased them.
  void drain() noexcept {}
  void stop() noexcept {}
  bool idle() const noexcept { return true; }
  /// Closes idle connections. After the workers' threads have ended, before their contexts go.
  void close() noexcept {
    for (auto const& p : pools_) p->clear();
  }

private:
  std::vector<std::shared_ptr<pool>> pools_;
};

}  // namespace mgw::upstream
