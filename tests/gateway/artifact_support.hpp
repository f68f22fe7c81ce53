#pragma once

#include "artifact/error.hpp"
#include "artifact/keys.hpp"
#include "artifact/limits.hpp"
#include "artifact/reader.hpp"
#include "artifact/source.hpp"

#include "support/artifact_samples.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>

namespace gateway {

using mgw::test::artifact_sample;
using mgw::test::packed;
using mgw::test::suffixes;
using mgw::test::tar;
using mgw::test::tar_entry;

inline std::ostream& operator<<(std::ostream& out, artifact_verdict const& v) {
  return out << v.message();
}

/// The last verdict on `bytes`, given in pieces of `piece` bytes.
inline artifact_verdict judge(std::string_view bytes, std::size_t piece = std::string_view::npos,
                              artifact_limits const& limits = {}, artifact_keys const& keys = {}) {
  artifact_reader reader(read_from(bytes, piece), keys, limits);
  return reader.read_payloads();
}

/// Refused for this reason, whole and byte by byte.
inline void check_refused(std::string_view bytes, artifact_error why, std::string_view entry,
                          artifact_limits const& limits = {}, artifact_keys const& keys = {}) {
  auto const whole = judge(bytes, std::string_view::npos, limits, keys);
  CHECK(whole.error == why);
  CHECK(whole.entry == entry);
  auto const slowly = judge(bytes, 1, limits, keys);
  CHECK(slowly.error == whole.error);
  CHECK(slowly.entry == whole.entry);
  CHECK(slowly.detail == whole.detail);
}
inline void check_refused(artifact_sample const& s, artifact_error why, std::string_view entry,
                          artifact_limits const& limits = {}, artifact_keys const& keys = {}) {
  check_refused(s.all(), why, entry, limits, keys);
}

}  // namespace gateway
