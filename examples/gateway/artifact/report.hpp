#pragma once

#include "artifact/keys.hpp"
#include "artifact/reader.hpp"
#include "artifact/source.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace gateway {

/// What `mgw-gateway verify` was asked.
struct verify_request {
  std::string file;               ///< `-`: standard input
  std::vector<std::string> keys;  ///< PEM files
};

namespace detail {

/// A text of the artifact's, made fit for a terminal and for one line.
inline std::string shown(std::string_view text) {
  std::string out;
  for (char const c : text) {
    bool const plain = c >= 0x20 && c < 0x7f;  // UTF-8 has control characters too
    char escaped[8];
    std::snprintf(escaped, sizeof escaped, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
    out += plain ? std::string(1, c) : std::string(escaped);
  }
  return out;
}

inline std::string joined(std::vector<std::string> const& texts) {
  std::string out;
  for (auto const& t : texts) out += (out.empty() ? "" : ", ") + shown(t);
  return out;
}

inline std::optional<std::string> content_of(std::string const& path) {
  std::ifstream in(path, std::ios::binary);
  std::string out{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (!in.is_open() || in.bad()) return std::nullopt;
  return out;
}

}  // namespace detail

/// What is known of an artifact, and the verdict, for people.
inline std::string report_of(artifact_info const& info, artifact_verdict const& verdict, artifact_keys const& keys) {
  std::string out;
  if (!info.header.artifact_name.empty()) {
    std::string types;
    for (auto const& t : info.header.payloads) types += (types.empty() ? "" : ", ") + (t ? detail::shown(*t) : "none");
    out += "artifact   " + detail::shown(info.header.artifact_name) + '\n';
    out += "devices    " + detail::joined(info.header.device_types) + '\n';
    out += "payload    " + types + '\n';
  }
  for (auto const& f : info.files)
    out += "file       " + f.sha256 + "  " + std::to_string(f.size) + "  " + f.name +
           (f.augmented ? "  (augmented)\n" : "\n");
  if (!info.head_digest.empty()) out += "head       " + info.head_digest + '\n';
  switch (info.signature) {
    case signature_state::unknown: break;
    case signature_state::none: out += "signature  none\n"; break;
    case signature_state::not_checked:
      out += keys.empty() ? "signature  not checked: no key given\n" : "signature  by none of the keys\n";
      break;
    case signature_state::good: out += "signature  good: " + detail::shown(keys.label(info.signer)) + '\n'; break;
  }
  return out + "verdict    " + (verdict ? "good" : "bad: " + detail::shown(verdict.message())) + '\n';
}

/// Verifies a file and prints what it is. 0: good; 1: bad; 2: it or a key could not be read (a line on `errors` says
/// why).
inline int verify_file(verify_request const& asked, std::FILE* out, std::FILE* errors) {
  auto const trouble = [errors](std::string const& what, std::string const& why) {
    std::fprintf(errors, "mgw-gateway: %s: %s\n", what.c_str(), why.c_str());
    return 2;
  };
  artifact_keys keys;
  for (auto const& path : asked.keys) {
    auto const pem = detail::content_of(path);
    if (!pem) return trouble(path, "cannot be read");
    if (!keys.add(*pem, path))
      return trouble(path, "is not a public key in PEM that Mender uses: RSA of 2048 bits or more, or ECDSA P-256");
  }
  bool const from_stdin = asked.file == "-";
  int const fd = from_stdin ? STDIN_FILENO : ::open(asked.file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return trouble(asked.file, std::system_category().message(errno));
  artifact_reader reader(read_from(fd), keys, {});
  auto const& verdict = reader.read_payloads();
  if (!from_stdin) ::close(fd);
  if (verdict.source_failed()) return trouble(asked.file, verdict.error.message());
  std::string const text = report_of(reader.info(), verdict, keys);
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
  return verdict ? 0 : 1;
}

}  // namespace gateway
