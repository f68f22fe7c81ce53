#pragma once

#include "artifact/header_info.hpp"
#include "control/channel.hpp"
#include "control/protocol.hpp"
#include "control/socket_path.hpp"

#include <boost/json/object.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace gateway {

/// The command's end of the control socket: one request.
class control_client {
public:
  /// Connects to the gateway that listens at `path`. Errors: as connect_control. Throws config_error if the path is too
  /// long.
  static mgw::result<control_client> connect(std::string const& path,
                                             std::chrono::milliseconds patience = std::chrono::milliseconds(10'000)) {
    auto socket = connect_control(control_address(path));
    if (!socket) return socket.error();
    return control_client(path, std::move(*socket), patience);
  }

  /// What the gateway answers. `file` goes along unless it is -1. If it does not even begin to answer while our
  /// patience lasts, or breaks off, the answer is a failure that says so; also if `step` says that it is not wanted any
  /// more.
  boost::json::object ask(cache_request const& r, int file, step_function const& step) {
    std::string const line = write_request(r);
    if (line.size() > max_control_request) return failure("this is too much for one command");
    // One that does not want to hear us closes, but says why first.
    auto const unsent = channel_.send(line, file, patience_);
    if (unsent == std::errc::timed_out) return silent();
    auto limit = patience_;
    for (;;) {
      auto const heard = channel_.read_line(max_control_answer, limit);
      if (!heard && heard.error() == std::errc::timed_out) return silent();
      if (!heard && heard.error() == std::errc::interrupted) {
        if (!step(0, 0, {})) return failure("interrupted");
        continue;
      }
      auto const v = heard ? detail::parse_json_object(*heard) : boost::json::value();
      if (!v.is_object()) return failure("the gateway that listens at " + path_ + " broke off");
      auto const& o = v.get_object();
      limit = control_channel::forever;
      auto const* const progress = detail::object_in(o, "progress");
      if (progress == nullptr && !flag_in(o, "accepted")) return o;
      if (progress != nullptr &&
          !step(static_cast<std::uint64_t>(number_in(*progress, "done")),
                static_cast<std::uint64_t>(number_in(*progress, "total")), text_in(*progress, "object")))
        return failure("interrupted");
    }
  }

private:
  control_client(std::string path, owned_descriptor socket, std::chrono::milliseconds patience)
      : path_(std::move(path)), channel_(std::move(socket)), patience_(patience) {}

  boost::json::object silent() const {
    auto const peer = channel_.peer();
    return failure("the gateway" + (peer ? ", process " + std::to_string(peer->pid) + "," : std::string()) +
                   " does not answer at " + path_);
  }

  std::string path_;
  control_channel channel_;
  std::chrono::milliseconds patience_;
};

}  // namespace gateway
