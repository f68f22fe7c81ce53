#pragma once

#include "commands/setup.hpp"
#include "commands/setup_files.hpp"
#include "commands/setup_plan.hpp"
#include "config/settings.hpp"
#include "support/certificate_maker.hpp"

#include <mgw/cache/file.hpp>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

namespace setup_detail {

using mgw::cache::file_ops;

inline constexpr int authority_days = 7305;  // 20 years

inline void done(std::error_code ec, std::string const& path) {
  if (ec) throw std::system_error(ec, path);
}
inline void write_new(file_ops& files, std::string const& path, std::string_view text, ::mode_t mode) {
  auto const f = files.open(path, O_WRONLY | O_CREAT | O_EXCL);  // 0600
  if (!f) throw std::system_error(f.error(), path);
  done(files.write_all((*f)->fd(), text, 0), path);
  if (::fchmod((*f)->fd(), mode) != 0) throw std::system_error(errno, std::generic_category(), path);
  done(files.fdatasync((*f)->fd()), path);
}
/// Gives an empty `state` to whom the gateway is to run as: who makes it, but no more than nobody where that is root.
/// Where root may not (a user namespace), it stays as it is.
inline void give_to_service(std::string const& state) {
  constexpr ::uid_t nobody = 65534;  // as in the original's image
  if (::geteuid() == 0) (void)!::chown(state.c_str(), nobody, nobody);
}
/// Who runs the gateway owns its state: only root can, and has to, give a new key to that user.
inline void keep_owner(std::string const& state, std::string const& path) {
  struct stat s{};
  if (::geteuid() != 0 || ::stat(state.c_str(), &s) != 0) return;
  if (::chown(path.c_str(), s.st_uid, s.st_gid) != 0) throw std::system_error(errno, std::generic_category(), path);
}
inline void make_directory(file_ops& files, std::string const& path, ::mode_t mode) {
  auto const made = files.make_directory(path);
  if (!made) throw std::system_error(made.error(), path);
  if (!*made) throw std::system_error(std::make_error_code(std::errc::file_exists), path);
  if (::chmod(path.c_str(), mode) != 0) throw std::system_error(errno, std::generic_category(), path);
}

/// Files that go again unless all went well.
class unfinished {
public:
  unfinished() = default;
  unfinished(unfinished const&) = delete;
  unfinished& operator=(unfinished const&) = delete;
  ~unfinished() {
    std::error_code ignored;
    for (auto const& path : paths_) std::filesystem::remove_all(path, ignored);
  }
  void add(std::string path) { paths_.push_back(std::move(path)); }
  void commit() noexcept { paths_.clear(); }

private:
  std::vector<std::string> paths_;
};

/// A name beside `path` that nobody else makes up.
inline std::string temporary(std::string const& path) {
  return path + '.' + std::to_string(::getpid()) + ".part";
}

inline std::string read_pem(file_ops& files, std::string const& path, char const* what) {
  auto pem = files.read_file(path, largest_pem);
  if (!pem) throw config_error(std::string(what) + " " + shown(path) + ": " + file_trouble(path, pem.error()));
  return *std::move(pem);
}
template <class Parse>
auto parsed(std::string const& path, Parse parse) {
  try {
    return parse();
  } catch (certificate_error const& e) {
    throw config_error(shown(path) + ": " + e.what());
  }
}
/// The CA that an earlier setup made.
inline certificate_and_key read_authority(file_ops& files, std::string const& directory, std::time_t now) {
  std::string const crt = directory + "/ca.crt", key = directory + "/ca.key";
  std::string const crt_pem = read_pem(files, crt, "--renew needs the CA's certificate"),
                    key_pem = read_pem(files, key, "--renew needs the CA's key");
  certificate_and_key ca;
  ca.certificate = parsed(crt, [&] { return certificate_from_pem(crt_pem); });
  ca.key = parsed(key, [&] { return key_from_pem(key_pem); });
  if (X509_check_ca(ca.certificate.get()) != 1) throw config_error(shown(crt) + " is no CA's certificate");
  if (EVP_PKEY_eq(X509_get0_pubkey(ca.certificate.get()), ca.key.get()) != 1)
    throw config_error(shown(key) + " is not the key of " + shown(crt));
  if (X509_cmp_time(X509_get0_notAfter(ca.certificate.get()), &now) <= 0)
    throw config_error(shown(crt) + " ended on " + last_day(ca.certificate.get()) +
                       ": set up another directory, and give devices its CA certificate");
  return ca;
}

inline std::string make_all(setup_plan const& p, std::time_t now, file_ops& files) {
  std::error_code ec;
  auto const there = std::filesystem::symlink_status(p.directory, ec);
  if (std::filesystem::exists(there) &&
      (!std::filesystem::is_directory(there) || !std::filesystem::is_empty(p.directory, ec)))
    throw config_error("--out is " + shown(p.directory) +
                       ", and there is something already; accepted: a directory that is not there yet, or is empty; "
                       "--renew makes a new server certificate where setup has been");
  if (!std::filesystem::is_directory(std::filesystem::path(p.directory).parent_path(), ec))
    throw config_error("--out is " + shown(p.directory) + ", and the directory above it is not there");
  std::string const at = temporary(p.directory);
  unfinished half;
  make_directory(files, at, 0755);
  half.add(at);
  auto const ca = make_authority(now, authority_days);
  auto const key = make_key();
  auto const server = issue(ca, key.get(), p.hosts, now, p.days);
  std::string const ca_pem = to_pem(ca.certificate.get());
  write_new(files, at + "/ca.key", to_pem(ca.key.get()), 0600);
  write_new(files, at + "/ca.crt", ca_pem, 0644);
  for (char const* name : {"/cache", "/state"}) make_directory(files, at + name, 0700);
  give_to_service(at + "/state");
  keep_owner(at + "/state", at + "/cache");
  write_new(files, at + "/server.key", to_pem(key.get()), 0600);
  keep_owner(at + "/state", at + "/server.key");
  write_new(files, at + "/server.crt", to_pem(server.get()), 0644);
  if (!p.upstream_ca.empty()) write_new(files, at + "/upstream-ca.crt", p.upstream_ca, 0644);
  write_new(files, at + "/gateway.env", environment_file(p), 0644);
  struct stat service{};
  if (::stat((at + "/state").c_str(), &service) != 0)
    throw std::system_error(errno, std::generic_category(), at + "/state");
  write_new(files, at + "/compose.yaml", compose_file(p, service.st_uid, service.st_gid), 0644);
  make_directory(files, at + "/device", 0755);
  write_new(files, at + "/device/gateway-ca.crt", ca_pem, 0644);
  write_new(files, at + "/device/mender.conf", device_configuration(p), 0644);
  write_new(files, at + "/device/hosts", hosts_line(p), 0644);
  done(files.rename(at, p.directory), p.directory);  // over an empty directory, too, and over nothing else
  half.commit();
  return next_steps(p, last_day(server.get()));
}

/// The key stays, so that one rename makes the change; where server.key is missing, there is a new one.
inline std::string renew(setup_plan p, std::time_t now, file_ops& files) {
  auto const ca = read_authority(files, p.directory, now);
  std::string const crt_path = p.directory + "/server.crt", key_path = p.directory + "/server.key";
  std::error_code ec;
  bool const has_key = std::filesystem::exists(std::filesystem::symlink_status(key_path, ec));
  if (p.hosts.empty()) {
    std::string const pem = read_pem(files, crt_path, "--host is not given, and needed without");
    p.hosts = hosts_of(parsed(crt_path, [&] { return certificate_from_pem(pem); }).get());
  }
  if (p.hosts.empty()) needed("--host", certificate_host::accepted);
  std::string const key_pem = has_key ? read_pem(files, key_path, "--renew uses") : "";
  auto const key = has_key ? parsed(key_path, [&] { return key_from_pem(key_pem); }) : make_key();
  auto const server = issue(ca, key.get(), p.hosts, now, p.days);
  unfinished half;
  half.add(temporary(crt_path));
  write_new(files, temporary(crt_path), to_pem(server.get()), 0644);
  if (!has_key) {
    half.add(temporary(key_path));
    write_new(files, temporary(key_path), to_pem(key.get()), 0600);
    keep_owner(p.directory + "/state", temporary(key_path));
    done(files.rename(temporary(key_path), key_path), key_path);
  }
  done(files.rename(temporary(crt_path), crt_path), crt_path);
  half.commit();
  std::string names;
  for (auto const& h : p.hosts) names += (names.empty() ? "" : ", ") + h.text;
  return "made " + crt_path + " anew for " + names + ", good until " + last_day(server.get()) +
         ". Restart the gateway; devices need nothing new.\n";
}

}  // namespace setup_detail

/// Does it, all of it or nothing; `now`: seconds since 1970. What to do next, for people. Throws config_error where
/// what was asked cannot be done, std::system_error where the system does not let us.
inline std::string run_setup(setup_request const& asked, std::time_t now,
                             mgw::cache::file_ops& files = mgw::cache::posix_file_ops()) {
  setup_plan const plan = plan_setup(asked);
  if (now < 1'735'689'600)
    throw config_error("this host's clock is before 2025, and certificates would have its dates: set it first");
  return asked.renew ? setup_detail::renew(plan, now, files) : setup_detail::make_all(plan, now, files);
}

}  // namespace gateway
