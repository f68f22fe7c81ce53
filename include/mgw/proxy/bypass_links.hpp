#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/proxy/fetch_options.hpp>
#include <mgw/proxy/link_list.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/post.hpp>

#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace mgw::proxy {

/// The links of objects that clients fetch past the store. A fill knows those of its own object; here there is none:
/// each client brings his own link, others and polls bring newer ones, and whoever asks next uses the newest.
///
/// Thread rule: any thread; a place belongs to its executor's. Precondition: outlives its places.
class bypass_links {
  using function = void (*)(void*) noexcept;
  struct client {
    asio::any_io_executor executor;
    function news = nullptr;  // these two belong to the executor's thread; null: it has left
    void* whom = nullptr;
  };
  struct object {
    link_list links;
    std::vector<std::shared_ptr<client>> clients;
  };

public:
  bypass_links() = default;
  bypass_links(bypass_links const&) = delete;
  bypass_links& operator=(bypass_links const&) = delete;

  /// A client on its way past the store, while there is one of these. `news(whom)` is called on the executor when there
  /// is another link.
  class place {
  public:
    place(bypass_links& all, cache::key const& k, fetch_source own, asio::any_io_executor executor, function news,
          void* whom)
        : all_(all), key_(k), me_(std::make_shared<client>()) {
      me_->executor = std::move(executor);
      me_->news = news;
      me_->whom = whom;
      std::lock_guard const hold(all_.mutex_);
      auto& o = all_.objects_[key_];
      all_.add(o, std::move(own));
      o.clients.push_back(me_);
    }
    place(place const&) = delete;
    place& operator=(place const&) = delete;
    ~place() {
      me_->news = nullptr;
      std::lock_guard const hold(all_.mutex_);
      auto const it = all_.objects_.find(key_);
      std::erase(it->second.clients, me_);
      if (it->second.clients.empty()) all_.objects_.erase(it);
    }
    fetch_source newest() const {
      std::lock_guard const hold(all_.mutex_);
      return all_.objects_.find(key_)->second.links.newest();
    }
    bool has_newer_than(std::string_view url) const {
      std::lock_guard const hold(all_.mutex_);
      return all_.objects_.find(key_)->second.links.newest().url != url;
    }

  private:
    bypass_links& all_;
    cache::key const key_;
    std::shared_ptr<client> me_;
  };

  /// Another link; no effect unless somebody is on his way to the object.
  void offer(cache::key const& k, fetch_source source) {
    std::lock_guard const hold(mutex_);
    if (auto const it = objects_.find(k); it != objects_.end() && !source.url.empty())
      add(it->second, std::move(source));
  }

private:
  // Precondition: the lock is held.
  static void add(object& o, fetch_source source) {
    if (!o.links.offer(std::move(source))) return;
    for (auto const& c : o.clients)
      asio::post(c->executor, [c] {
        if (c->news != nullptr) c->news(c->whom);
      });
  }

  mutable std::mutex mutex_;
  std::unordered_map<cache::key, object> objects_;
};

}  // namespace mgw::proxy
