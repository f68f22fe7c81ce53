#pragma once

#include "artifact/keys.hpp"
#include "config/settings.hpp"
#include "config/text_file.hpp"
#include "verifier/options.hpp"

#include <mgw/cache/sha256.hpp>
#include <mgw/version.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace gateway {

/// How artifacts are verified by these settings. Throws config_error for a key that is not to be used.
inline verifier_options configured_verifier(settings const& s) {
  verifier_options o;
  o.only_artifacts = s.cache.verify == "artifact";
  for (std::string const& path : s.cache.verify_keys) {
    constexpr std::size_t most = 65'536;
    auto const pem = read_text_file(path, most);
    artifact_keys usable;
    std::string const why = !pem                     ? file_trouble(path, pem.error())
                            : usable.add(*pem, path) ? ""
                                                     : "no usable key in it";
    if (!why.empty())
      throw config_error(
          "ARTIFACTS_PROXY_CACHE_VERIFY_KEYS (Features.ArtifactsProxy.ArtifactsCache.VerifyKeys): " + path + ": " +
          why + "; accepted: PEM files with public keys, RSA of 2048 bits or more, or ECDSA P-256");
    o.keys += *pem + "\n";
  }
  return o;
}

/// Names by what artifacts are judged: under another policy, with other keys or by another release, one that was found
/// to be bad may be good. Throws like configured_verifier.
inline std::uint64_t configured_judge(settings const& s) {
  std::string by = std::string(MGW_VERSION) + '\n' + s.cache.verify + '\n';
  if (s.cache.verify != "off") by += configured_verifier(s).keys;
  mgw::cache::sha256 hash;
  mgw::cache::sha256_digest digest{};
  if (hash.update(by) || hash.digest(digest)) return 0;  // no memory: what was condemned is looked at anew
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < sizeof n; ++i) n = n << 8U | digest[i];
  return n;
}

}  // namespace gateway
