#pragma once

#include "doctor/finding.hpp"

#include <mgw/upstream/name_lookup.hpp>

#include <chrono>
#include <exception>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace gateway::doctor {

/// Runs `look` on a thread of its own: what hangs, as a disk can, costs `limit` and no more. Nothing: it hangs, and so
/// would whoever looks there next. `look` refers to nothing that may go before it ends.
/// Errors: what `look` throws; std::system_error for want of a thread.
inline std::optional<findings> look_within(std::chrono::milliseconds limit, std::function<findings()> look) {
  auto const promised = std::make_shared<std::promise<findings>>();
  auto result = promised->get_future();
  auto const failed = mgw::upstream::lookup_threads::common()->start([promised, look = std::move(look)] {
    try {
      promised->set_value(look());
    } catch (...) {
      promised->set_exception(std::current_exception());
    }
  });
  if (failed) throw std::system_error(failed, "no thread");
  if (result.wait_for(limit) != std::future_status::ready) return {};
  return result.get();
}

/// That the disk of `path` hangs.
inline finding hung(std::string const& check, std::string const& path) {
  return {level::problem, check, path + " does not answer",
          "its disk or file server hangs: look at it (dmesg, mount), and choose a local disk"};
}

/// The same, for what nobody needs afterwards.
inline findings with_limit(std::chrono::milliseconds limit, std::string const& check, std::string const& path,
                           std::function<findings()> look) {
  try {
    return look_within(limit, std::move(look)).value_or(findings{hung(check, path)});
  } catch (std::exception const& e) {
    return {finding(level::problem, check, path + " cannot be looked at: " + e.what(), "see the reason")};
  }
}

}  // namespace gateway::doctor
