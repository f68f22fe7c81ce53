#pragma once

#include "audit/files.hpp"
#include "commands/table.hpp"
#include "config/configuration.hpp"
#include "config/settings.hpp"
#include "config/text_file.hpp"
#include "support/cache_room.hpp"
#include "support/place.hpp"
#include "verifier/configured.hpp"

#include <mgw/cache/file.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>

namespace gateway {

/// What a start would find in the directories, and in the keys that artifacts are verified with; for who asks for a
/// check. Makes and changes nothing.
class places_check {
public:
  explicit places_check(configuration& c, mgw::cache::file_ops& ops = mgw::cache::posix_file_ops())
      : c_(c), ops_(ops) {}

  void run() {
    settings const& s = c_.values;
    bool const keeps = s.proxy.enabled && s.cache.enabled, records = !s.audit.path.empty();
    if (s.proxy.enabled || s.mtls.enabled || records) {
      std::string const key = "StateDirectory";
      char const* const otherwise = !s.state_is_default || records ? ""
                                    : s.mtls.enabled
                                        ? ", or which certificate is which device's is forgotten with each process"
                                    : s.cache.secret.empty() ? ", or links to artifacts end with each process"
                                                             : ", or no cache commands are taken";
      if (is_usable(key, s.state_directory, otherwise)) note(key, s.state_directory, "");
    }
    if (records) audit_log();
    if (keeps) cache();
    if (keeps && s.cache.verify != "off") try {
        (void)configured_verifier(s);
      } catch (config_error const& e) {
        c_.errors.emplace_back(e.what());
      }
  }

private:
  static constexpr auto* cache_key = "Features.ArtifactsProxy.ArtifactsCache.Path";

  std::string at(std::string const& key, std::string const& path) const { return c_.name(key) + " is " + shown(path); }
  void note(std::string const& key, std::string const& path, std::string const& more) {
    bool const there = ::access(path.c_str(), F_OK) == 0;
    c_.notes.push_back(at(key, path) + (there ? ": uid " : ": it is not there, and uid ") +
                       std::to_string(::geteuid()) + (there ? " may write there" : " may make it") + more);
  }
  /// `otherwise`: how the gateway fares that starts without it; empty: it does not start.
  bool is_usable(std::string const& key, std::string const& path, char const* otherwise) {
    return is_usable(key, path, path, otherwise);
  }
  /// The same of the directory that what is set to `path` is in.
  bool is_usable(std::string const& key, std::string const& path, std::string const& directory, char const* otherwise) {
    std::string const place = nearest_there(directory).string();
    struct stat about{};
    std::error_code why;
    if (::stat(place.c_str(), &about) != 0)
      why = std::error_code(errno, std::system_category());
    else if (!S_ISDIR(about.st_mode))
      why = std::make_error_code(std::errc::not_a_directory);
    else if (::faccessat(AT_FDCWD, place.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
      why = std::error_code(errno, std::system_category());
    if (!why) return true;
    bool const above = place != std::filesystem::absolute(directory).lexically_normal();
    auto& said = *otherwise != '\0' ? c_.warnings : c_.errors;
    said.push_back(at(key, path) + ": " + (above ? "it is not there, and cannot be made in " + place + ": " : "") +
                   file_trouble(place, why) + "; needed: a directory that uid " + std::to_string(::geteuid()) +
                   " may write to (mkdir, chown), or another path" + otherwise);
    return false;
  }
  /// The log's file, its directory, and its key.
  void audit_log() {
    std::string const key = "Audit.Path", &path = c_.values.audit.path, uid = std::to_string(::geteuid());
    std::string const secret = audit::key_file(c_.values.state_directory);
    auto const known = audit::read_key(ops_, secret);
    if (!known && known.error() != std::errc::no_such_file_or_directory && known.error() != std::errc::not_a_directory)
      c_.errors.push_back(at(key, path) + ": its key, " + secret + ": " + file_trouble(secret, known.error()) +
                          "; needed: the file that a start has made there, or none");
    bool const refuses = c_.values.audit.on_failure == "refuse";
    char const* const otherwise = refuses ? "" : ", or nothing is recorded";
    if (!is_usable(key, path, directory_of(path), otherwise)) return;
    struct stat about{};
    std::error_code why;
    if (::stat(path.c_str(), &about) != 0) {
      if (errno != ENOENT) why = std::error_code(errno, std::system_category());
    } else if (!S_ISREG(about.st_mode)) {
      why = std::make_error_code(S_ISDIR(about.st_mode) ? std::errc::is_a_directory : std::errc::invalid_argument);
    } else if (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0) {
      why = std::error_code(errno, std::system_category());
    }
    if (!why) return note(key, path, "");
    (refuses ? c_.errors : c_.warnings)
        .push_back(at(key, path) + ": " + file_trouble(path, why) + "; needed: a file that uid " + uid +
                   " may read and write, or none, or another path" + otherwise);
  }
  void cache() {
    auto const& cache = c_.values.cache;
    if (!is_usable(cache_key, cache.path, cache.path_is_default ? ", or no artifact is kept" : "")) return;
    auto const space = ops_.space(nearest_there(cache.path).string());
    if (!space) {
      c_.errors.push_back(at(cache_key, cache.path) +
                          ": its free space cannot be asked for: " + space.error().message());
      return;
    }
    bool whole = true;
    auto const used = bytes_on_disk(cache.path, std::chrono::steady_clock::time_point::max(), whole);
    cache_room const r(space->total, space->available, used, cache.max_size, cache.min_free);
    std::string const bounds = human_size(space->available) + " of " + human_size(space->total) + " are free, " +
                               human_size(r.spare) + " of them stay free (MinFree)";
    std::string const mend = "; free space there, or lower MinFree or MaxSize, or set another path";
    if (r.room == 0)
      c_.warnings.push_back(at(cache_key, cache.path) + ": nothing can be kept in it: " + bounds + mend);
    else if (cache.max_size != 0 && r.room < r.most)
      c_.warnings.push_back(c_.name("Features.ArtifactsProxy.ArtifactsCache.MaxSize") + " is " + show_size(r.most) +
                            ", but there is room for " + human_size(r.room) + " in " + shown(cache.path) + ": " +
                            bounds + mend);
    note(cache_key, cache.path, "; " + bounds + ", and artifacts may take " + human_size(r.room));
  }

  configuration& c_;
  mgw::cache::file_ops& ops_;
};

/// See places_check.
inline void check_places(configuration& c) {
  places_check(c).run();
}

}  // namespace gateway
