#pragma once

#include "config/settings.hpp"

#include <mgw/net/error.hpp>
#include <mgw/net/listener.hpp>

#include <netinet/in.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <asio/ip/tcp.hpp>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gateway {

/// Listening sockets that the service manager has opened and hands over (socket activation, sd_listen_fds(3)), sorted
/// by our listeners: by name (`FileDescriptorName=https`, `http`, `metrics` or `admin`), or by port where a socket has no such
/// name.
///
/// One that fits none, or one that is off, is refused: devices would wait for its answers for ever. The object owns the
/// descriptors until they are taken. Errors: config_error from the constructor. Thread rule: one thread.
class inherited_sockets {
public:
  struct given {
    int fd;
    std::string name;
  };

  inherited_sockets() = default;
  /// `all`: taken over, also if this fails.
  inherited_sockets(std::vector<given> const& all, settings const& s) {
    for (given const& g : all) sockets_.push_back(socket{g.fd, g.name, "", ""});
    for (socket& one : sockets_) {
      try {
        one.address = address_of(one.fd);
        one.role = role_of(one, s);
      } catch (config_error const&) {
        close_all();
        throw;
      }
    }
  }
  inherited_sockets(inherited_sockets&& o) noexcept : sockets_(std::exchange(o.sockets_, {})) {}
  inherited_sockets& operator=(inherited_sockets&&) = delete;
  ~inherited_sockets() { close_all(); }

  /// Those that this process was given. None of its children gets them, nor what tells of them in the environment.
  static std::vector<given> of_process() {
    char** names = nullptr;
    int const n = ::sd_listen_fds_with_names(1, &names);
    if (n < 0)
      throw config_error(std::string("LISTEN_FDS, LISTEN_FDNAMES: the sockets that are handed over cannot be taken: ") +
                         std::strerror(-n));
    std::vector<given> out;
    for (int i = 0; i < n; ++i) {
      out.push_back(given{SD_LISTEN_FDS_START + i, names[i]});
      std::free(names[i]);
    }
    std::free(names);
    return out;
  }

  bool empty() const noexcept { return sockets_.empty(); }
  bool has(std::string_view role) const noexcept { return !first_address(role).empty(); }
  /// Where the sockets of a listener listen takes the place of what is set.
  void apply(settings& s) const {
    if (has("https")) s.https.listen = first_address("https");
    if (has("http")) s.http.listen = first_address("http");
    if (has("metrics")) s.metrics.listen = first_address("metrics");
    if (!has("admin")) return;
    s.admin.listen = first_address("admin");
    s.admin.listen_is_default = false;
  }
  /// The descriptors for a listener, which are the caller's from now on. A listener may have several, of IPv4 and IPv6.
  std::vector<int> take(std::string_view role) {
    std::vector<int> out;
    for (socket& one : sockets_)
      if (one.role == role && one.fd >= 0) out.push_back(std::exchange(one.fd, -1));
    return out;
  }

private:
  struct socket {
    int fd;
    std::string name, address, role;
  };

  static config_error refused(std::string const& what, std::string const& why) {
    return config_error("the service manager hands over " + what + ": " + why);
  }
  /// As parse_listen_address reads it.
  static std::string address_of(int fd) {
    std::string const what = "descriptor " + std::to_string(fd);
    bool const stream = ::sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) > 0;
    if (!stream) throw refused(what, "it is no listening TCP socket; needed: ListenStream=[ADDRESS:]PORT");
    asio::ip::tcp::endpoint at;
    auto size = static_cast<socklen_t>(at.capacity());
    if (::getsockname(fd, at.data(), &size) != 0) throw refused(what, mgw::net::system_error(errno).message());
    at.resize(size);
    std::string const host = at.address().is_v6() ? '[' + at.address().to_string() + ']' : at.address().to_string();
    return host + ':' + std::to_string(at.port());
  }
  static std::string role_of(socket const& one, settings const& s) {
    struct listener {
      char const* role;
      bool on;
      std::string const& address;
      char const* key;
    };
    std::array<listener, 4> const all = {
        {{"https", s.https.enabled, s.https.listen, "HTTPS_ENABLED (HTTPS.Enabled)"},
         {"http", s.http.enabled, s.http.listen, "HTTP_ENABLED (HTTP.Enabled)"},
         {"metrics", s.metrics.enabled, s.metrics.listen, "METRICS_ENABLED (Metrics.Enabled)"},
         {"admin", s.admin.enabled, s.admin.listen, "ADMIN_ENABLED (Admin.Enabled)"}}};
    std::string const what = "a socket that listens on " + one.address;
    for (auto const& l : all) {
      if (one.name != l.role) continue;
      if (!l.on)
        throw refused(what,
                      std::string("it is for ") + l.role + " (FileDescriptorName=), but " + l.key + " is not true");
      return l.role;
    }
    auto const port = mgw::net::parse_listen_address(one.address)->port();
    for (auto const& l : all) {
      auto const set = mgw::net::parse_listen_address(l.address);
      if (l.on && set && set->port() == port) return l.role;
    }
    throw refused(what, "its name, \"" + one.name +
                            "\", is none of https, http, metrics and admin (FileDescriptorName=), and none of our listeners "
                            "that are on has this port");
  }
  std::string first_address(std::string_view role) const {
    for (socket const& one : sockets_)
      if (one.role == role) return one.address;
    return {};
  }
  void close_all() noexcept {
    for (socket& one : sockets_)
      if (one.fd >= 0) ::close(std::exchange(one.fd, -1));
  }

  std::vector<socket> sockets_;
};

}  // namespace gateway
