#pragma once

#include "verifier/child_verifier.hpp"

#include "support/run_io.hpp"
#include "support/temporary_directory.hpp"

#include <doctest/doctest.h>
#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace mgw::proxy {

inline std::ostream& operator<<(std::ostream& out, body_verdict::state s) {
  constexpr char const* names[] = {"open", "head_good", "good", "bad", "unable"};
  return out << names[static_cast<int>(s)];
}

}  // namespace mgw::proxy

namespace gateway {

using mgw::proxy::body_verdict;
using mgw::proxy::body_verifier;

inline verifier_options child_options() {
  verifier_options o;
  o.program = MGW_VERIFIER_CHILD;
  return o;
}

inline asio::awaitable<body_verdict> feed_all(body_verifier& verifier, std::string_view bytes, std::size_t piece) {
  while (!bytes.empty()) {
    auto const v = co_await verifier.take(bytes.substr(0, piece));
    if (v.is_final()) CHECK(v.what != body_verdict::state::good);
    bytes.remove_prefix(std::min(piece, bytes.size()));
  }
  co_return co_await verifier.finish();
}

/// The verdict on the whole of `bytes`, given in pieces.
inline body_verdict verified(std::string_view bytes, std::size_t piece = std::string_view::npos,
                             verifier_options options = child_options()) {
  asio::io_context io(1);
  child_verifier verifier(io, std::move(options));
  return mgw::test::run_io(io, feed_all(verifier, bytes, piece));
}

inline void check_bad(body_verdict const& v, std::string_view part) {
  CHECK(v.what == body_verdict::state::bad);
  CHECK_MESSAGE(v.why.find(part) != std::string::npos, v.why);
}

inline bool has_children() {
  return ::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD;
}

inline std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

/// The program under a name by which it knows how to misbehave: see verifier_child.cpp.
class misbehaving {
public:
  explicit misbehaving(std::string const& how) : program_(folder_.path() / ("misbehaving: " + how)) {
    std::filesystem::create_symlink(MGW_VERIFIER_CHILD, program_);
  }
  verifier_options options() const {
    verifier_options o;
    o.program = program_.string();
    return o;
  }

private:
  mgw::test::temporary_directory folder_;
  std::filesystem::path program_;
};

}  // namespace gateway
