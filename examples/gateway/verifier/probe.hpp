#pragma once

#include "verifier/child_verifier.hpp"
#include "verifier/options.hpp"

#include <mgw/proxy/body_verifier.hpp>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <utility>

namespace gateway {

/// Tries whether artifacts can be verified on this machine: starts one child, waits until it is shut in, and ends it.
/// Returns why they cannot; empty: they can. Blocks, in a machine that is busy for half a minute at most.
inline std::string verifier_trouble(verifier_options options) {
  constexpr std::chrono::milliseconds patience = std::chrono::seconds(30);
  options.max_silence = std::min(options.max_silence, patience);
  asio::io_context io(1);
  child_verifier child(io, std::move(options));
  std::string why = "it gave no answer";
  asio::co_spawn(io, child.begin(), [&why](std::exception_ptr failure, mgw::proxy::body_verdict const& v) {
    if (!failure) why = v.is_final() ? v.why : std::string();
  });
  io.run();
  return why;
}

}  // namespace gateway
