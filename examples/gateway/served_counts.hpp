#pragma once

#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/fetch_options.hpp>

#include <boost/json/object.hpp>

#include <atomic>
#include <cstdint>
#include <string_view>

namespace gateway {

/// How downloads were answered since the start. Any thread.
class served_counts {
public:
  void count(mgw::proxy::exchange const& x) noexcept {
    std::string_view const how = x.notes().cache;
    if (how == "hit") ++hits_;
    if (how == "joined") ++joined_;
    if (how == "miss") ++misses_;
    if (how == "bypass") ++bypassed_;
  }
  boost::json::object described(mgw::proxy::fetch_counters const& fetched) const {
    return {{"hits", hits_.load()},
            {"joined", joined_.load()},
            {"misses", misses_.load()},
            {"bypassed", bypassed_.load()},
            {"upstream_bytes", fetched.first_time_bytes.load() + fetched.again_bytes.load()},
            {"again_bytes", fetched.again_bytes.load()}};
  }

private:
  std::atomic<std::uint64_t> hits_{0}, joined_{0}, misses_{0}, bypassed_{0};
};

}  // namespace gateway
