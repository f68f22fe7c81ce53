#pragma once

#include <string>
#include <utility>
#include <vector>

namespace gateway::doctor {

enum class level { ok, warning, problem };

inline char const* to_string(level l) noexcept {
  switch (l) {
    case level::ok: return "ok";
    case level::warning: return "warning";
    case level::problem: return "problem";
  }
  return "?";
}

/// One thing that was looked at.
struct finding {
  level how = level::ok;
  std::string check;   ///< what was looked at: `upstream tls`
  std::string found;   ///< one line; may hold what a peer has sent
  std::string advice;  ///< what to do; empty where nothing has to be done

  finding() = default;
  finding(level l, std::string c, std::string f, std::string a = {})
      : how(l), check(std::move(c)), found(std::move(f)), advice(std::move(a)) {}
};

using findings = std::vector<finding>;

inline bool any_problem(findings const& all) noexcept {
  for (auto const& f : all)
    if (f.how == level::problem) return true;
  return false;
}

}  // namespace gateway::doctor
