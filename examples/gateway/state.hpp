#pragma once

#include "config/settings.hpp"

#include <mgw/core/log.hpp>
#include <mgw/mender/artifact_link.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

namespace gateway {

/// The secrets that seal links: those of the configuration, or one that is made once and kept (mode 0600) in the state
/// directory, so that links survive a restart. Where nobody set that directory and nothing can be made in the default one,
/// a secret of this process alone, after a line in the log: the original's containers have no place, and must start.
/// Throws config_error naming the file and what is wrong with it.
inline std::vector<std::string> link_secrets(settings const& s, mgw::log_sink const& log = {}) {
  if (!s.cache.secret.empty()) {
    auto secrets = mgw::mender::parse_secrets(s.cache.secret);
    if (!secrets)
      throw config_error("ARTIFACTS_PROXY_CACHE_SECRET (Features.ArtifactsProxy.ArtifactsCache.SignatureSecret) is too short or "
                         "garbled; accepted: base64 or text of at least 16 bytes");
    return *std::move(secrets);
  }
  std::filesystem::path const file = std::filesystem::path(s.state_directory) / "link-secret";
  std::error_code not_made;
  std::filesystem::create_directories(s.state_directory, not_made);
  std::string const uid = "uid " + std::to_string(::geteuid());
  auto const failed = [&](char const* what) -> config_error {
    std::string const why = not_made ? not_made.message() : std::strerror(errno);
    return config_error("STATE_DIRECTORY (StateDirectory) is \"" + s.state_directory + "\": " + what + " " + file.string() + " as " +
                        uid + ": " + why + "; accepted: a directory that " + uid + " may write to, or may make");
  };
  auto const without = [&](std::error_code why) {
    if (log)
      log(mgw::log_level::error,
          "links to artifacts end with this process: STATE_DIRECTORY (StateDirectory) is not set, and " + uid +
              " can keep no secret for them in its default " + s.state_directory + ": " + why.message() + "; mount a directory there that " +
              uid + " may write to, or set the key to one, or set ARTIFACTS_PROXY_CACHE_SECRET "
              "(Features.ArtifactsProxy.ArtifactsCache.SignatureSecret)");
    return std::vector{mgw::mender::random_secret()};
  };
  if (::access(file.c_str(), F_OK) != 0) {
    // It gets its name when it is whole and on disk: a start that is cut short leaves nothing that the next one trips over.
    std::string const temporary = file.string() + "." + std::to_string(::getpid());
    int const fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 && s.state_is_default) return without(not_made ? not_made : std::error_code(errno, std::generic_category()));
    if (fd < 0) throw failed("cannot create");
    std::string const secret = mgw::mender::random_secret();
    bool const written = ::write(fd, secret.data(), secret.size()) == static_cast<ssize_t>(secret.size()) && ::fsync(fd) == 0;
    bool const named = written && (::link(temporary.c_str(), file.c_str()) == 0 || errno == EEXIST ||
                                   ::rename(temporary.c_str(), file.c_str()) == 0);  // no hard links here
    auto const e = failed("cannot write");
    ::close(fd);
    ::unlink(temporary.c_str());
    if (!named) throw e;
    if (int const directory = ::open(s.state_directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); directory >= 0) {
      (void)::fsync(directory);
      ::close(directory);
    }
  }
  std::ifstream in(file, std::ios::binary);
  if (!in) throw failed("cannot read");
  std::string const secret{std::istreambuf_iterator<char>(in), {}};
  if (secret.size() < mgw::mender::min_secret_size) throw config_error(file.string() + " is damaged; remove it, links handed out so far will end");
  return {secret};
}

}  // namespace gateway
