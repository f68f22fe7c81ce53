#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace gateway {

/// How artifacts are verified while they are fetched. What an artifact may contain is bounded by artifact_limits.
struct verifier_options {
  /// Run with verifier_argument first. Default: the program that is running, even if its file was replaced since.
  std::string program = "/proc/self/exe";
  /// Public keys, PEM, any number one after another: one of them must have signed. Empty: signatures are not looked at.
  std::string keys;
  /// Whether a body that is no Mender artifact is bad. If not, it is good: there is nothing to check it against.
  bool only_artifacts = true;
  /// Bytes of address space, beyond those of the program itself. An artifact that needs more is bad. At least what
  /// artifact_limits::max_header and max_unpacker_memory allow, with copies.
  std::size_t max_memory = std::size_t{256} << 20U;
  /// Processor time without taking another byte. An artifact that needs more is bad. (64 KiB may unpack to 640 MB.)
  std::chrono::seconds max_cpu{60};
  /// Time without taking a byte, or with nothing left to read and no answer. Then the child is given up: unable, since
  /// a machine may be that busy. Longer than max_cpu.
  std::chrono::milliseconds max_silence{300'000};
};

/// The hidden first argument that makes the program the child.
inline constexpr char verifier_argument[] = "--verify-from-standard-input";

}  // namespace gateway
