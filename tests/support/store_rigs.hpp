#pragma once

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/memory_store.hpp>
#include <mgw/core/log.hpp>

#include <cache/own_store.hpp>

#include <cstdint>
#include <filesystem>
#include <utility>

namespace mgw::test {

/// What a test may ask of a store.
struct store_settings {
  std::filesystem::path directory;
  std::uint64_t max_size = 1u << 30;
  log_sink log;
  cache::file_ops* ops = nullptr;  ///< the disk, where there is one; null: the real one
  store_settings() = default;
  explicit store_settings(std::filesystem::path d, std::uint64_t size = 1u << 30)
      : directory(std::move(d)), max_size(size) {}
};

/// A rig makes one kind of store from the settings; tests of what holds for every store are templates over it.
struct disk_rig {
  using store_type = cache::disk_store;
  explicit disk_rig(store_settings const& s)
      : store(options(s), s.log, s.ops != nullptr ? *s.ops : cache::posix_file_ops()) {}
  static store_type::options options(store_settings const& s) {
    store_type::options o;
    o.path = s.directory;
    o.max_size = s.max_size;
    o.min_free = 1;
    return o;
  }
  store_type store;
};

struct memory_rig {
  using store_type = cache::memory_store;
  explicit memory_rig(store_settings const& s) : store(options(s)) {}
  static store_type::options options(store_settings const& s) {
    store_type::options o;
    o.max_size = s.max_size;
    return o;
  }
  store_type store;
};

struct own_rig {
  using store_type = own::store;
  explicit own_rig(store_settings const& s) : store(s.directory.string(), s.max_size) {}
  store_type store;
};

/// The types of a TEST_CASE_TEMPLATE over every kind of store.
#define MGW_EVERY_RIG ::mgw::test::disk_rig, ::mgw::test::memory_rig, ::mgw::test::own_rig

}  // namespace mgw::test
