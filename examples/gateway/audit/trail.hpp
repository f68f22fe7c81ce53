#pragma once

#include "access_log.hpp"
#include "artifact/labels.hpp"
#include "audit/changes.hpp"
#include "audit/command_record.hpp"
#include "audit/deliveries.hpp"
#include "audit/files.hpp"
#include "audit/record.hpp"
#include "audit/writer.hpp"
#include "config/address_list.hpp"
#include "config/settings.hpp"
#include "control/protocol.hpp"

#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/core/log.hpp>
#include <mgw/core/seldom.hpp>
#include <mgw/core/seldom_each.hpp>
#include <mgw/mender/auth_request.hpp>
#include <mgw/mender/authorizer.hpp>
#include <mgw/mender/relay_options.hpp>
#include <mgw/proxy/exchange.hpp>
#include <mgw/proxy/peer_info.hpp>
#include <mgw/version.hpp>

#include <boost/json/object.hpp>

#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway::audit {

inline writer_options writer_options_of(settings const& s, mgw::log_sink log,
                                        std::function<void(std::string_view)> log_head) {
  writer_options o;
  o.files.path = s.audit.path;
  o.files.state_directory = s.state_directory;
  o.files.max_file_size = s.audit.max_file_size;
  using sync = writer_options::sync;
  o.when = s.audit.sync == "always" ? sync::always : s.audit.sync == "never" ? sync::never : sync::second;
  o.head_every = s.audit.head_period;
  o.log = std::move(log);
  o.log_head = std::move(log_head);
  return o;
}

/// What the gateway has to prove afterwards: each kind of event becomes a record. See docs/audit.md.
///
/// Errors: config_error from the constructor, if there can be no key. Thread rule: any thread; nothing blocks but the
/// constructor.
class trail {
public:
  /// What is known of a complete object of the cache.
  using lookup = std::function<std::optional<mgw::cache::meta>(mgw::cache::key const&)>;

  /// `log_head`: writes the chain's head, whatever the level of the log is; empty: as information.
  trail(settings const& s, address_list proxies, mgw::log_sink log, lookup objects,
        std::function<void(std::string_view)> log_head = {})
      : refuses_(s.audit.on_failure == "refuse"),
        proxies_(std::move(proxies)),
        objects_(std::move(objects)),
        key_(key_for(s)),
        writer_(writer_options_of(s, std::move(log), std::move(log_head))) {
    started(s);
  }

  /// Nothing may be done that cannot be recorded, and nothing can be recorded.
  bool refuses() const noexcept { return refuses_ && writer_.failing(); }
  bool failing() const noexcept { return writer_.failing(); }

  /// A request has ended.
  void ended(mgw::proxy::exchange const& x) {
    auto const& n = x.notes();
    if (n.route.find("{token}") != n.route.npos) return n.object ? delivered(x) : refused(x);
  }
  /// The server's word on a device.
  void authenticated(mgw::proxy::exchange const& x, mgw::mender::auth_answer const& said) {
    std::string const peer = x.peer().address.address().to_string();
    std::string const who = asked_for(x, proxies_);
    bool const granted = said.status == 200;
    if (!granted && !due("authentication", who.empty() ? peer : who, {})) return;
    record r = begun("authentication", x, said.device);
    r.add("identity", mgw::mender::claimed_identity(said.request));
    r.add("granted", granted).add("request", x.notes().request_id);
    writer_.put(std::move(r));
  }
  void authorized(mgw::mender::authorization const& a) {
    if (!a.granted && !due("authorization", a.certificate.subject, a.why)) return;
    record r("authorization");
    r.add("peer", a.client).add("subject", a.certificate.subject).add("serial", a.certificate.serial);
    r.add("identity", a.identity).add("granted", a.granted).add("why", a.why);
    writer_.put(std::move(r));
  }
  /// A TLS client whose certificate is not good, or that has none.
  void certificate_refused(mgw::proxy::peer_info const& peer, std::error_code why) {
    std::string const address = peer.address.address().to_string();
    if (!due("certificate", address, {})) return;
    record r("certificate_refused");
    r.add("peer", address);
    if (peer.certificate) r.add("subject", peer.certificate->subject).add("serial", peer.certificate->serial);
    r.add("why", why.message());
    writer_.put(std::move(r));
  }
  /// `body`: nothing if it is too long to be read.
  void tenant_refused(mgw::proxy::exchange const& x, std::string_view client, std::optional<std::string_view> body) {
    if (!due("tenant", client, {})) return;
    record r = begun("tenant_refused", x);
    if (body) r.add("identity", mgw::mender::claimed_identity(*body));
    r.add("request", x.notes().request_id);
    writer_.put(std::move(r));
  }
  /// Whom client certificates are trusted by was read anew, or could not be.
  void trust_read(std::string_view trouble) {
    record r("trust_read");
    r.add("done", trouble.empty()).add("why", trouble);
    writer_.put(std::move(r));
  }
  /// The server's certificate was read anew, or could not be.
  void certificate_read(std::string_view trouble, std::string_view what) {
    record r("certificate_read");
    r.add("done", trouble.empty()).add("why", trouble).add("certificate", what);
    writer_.put(std::move(r));
  }
  /// The configuration was read anew, or could not be: the log level that is in force by it, if that is another one,
  /// and the keys that have changed and need a restart.
  void configuration_read(std::string_view trouble, std::string_view log_level, std::string_view restart) {
    record r("configuration_read");
    r.add("done", trouble.empty()).add("why", trouble);
    if (trouble.empty()) r.add("changed", changed_log_level(log_level)).add("restart", restart);
    writer_.put(std::move(r));
  }
  /// A signal has set the log level.
  void log_level_set(std::string_view from, std::string_view to, std::string_view by) {
    record r("log_level");
    r.add("from", from).add("to", to).add("by", by);
    writer_.put(std::move(r));
  }
  void condemned(mgw::cache::key const& object, std::string_view why) {
    if (!due("condemned", object.hex(), why)) return;  // each client that asks for it brings it up again
    record r("condemned");
    r.add("object", object.hex()).add("why", why);
    writer_.put(std::move(r));
  }
  /// A command on the cache was carried out, or refused.
  void commanded(cache_request const& request, boost::json::object const& answer) {
    if (auto r = command_record(request, answer)) writer_.put(*std::move(r));
  }

  /// After everything that reports has ended. False: the disk does not answer, and this must not be destroyed.
  bool close_for(std::chrono::milliseconds limit) {
    give_up(true);
    writer_.put(record("stop"));
    return writer_.stop_for(limit);
  }

private:
  static chain_key key_for(settings const& s) {
    std::error_code ec;
    std::filesystem::create_directories(s.state_directory, ec);
    auto const directory = std::filesystem::path(s.audit.path).parent_path();
    if (!directory.empty()) std::filesystem::create_directories(directory, ec);  // writing says what is wrong
    auto key = key_or_new(mgw::cache::posix_file_ops(), key_file(s.state_directory));
    if (!key)
      throw config_error("STATE_DIRECTORY (StateDirectory) is \"" + s.state_directory +
                         "\": the key of the audit log, " + key_file(s.state_directory) + ": " + key.error().message());
    return *std::move(key);
  }
  /// Which settings have changed is known from a file, which is written when the record is.
  void started(settings const& s) {
    auto& disk = mgw::cache::posix_file_ops();
    record start("start");
    start.add("version", MGW_VERSION).add("uid", std::uint64_t{::geteuid()});
    writer_.put(std::move(start));
    std::string const file = s.state_directory + "/audit-settings";
    fingerprint const now(s, key_);
    auto const text = disk.read_file(file, max_line);
    fingerprint const before = text ? fingerprint::parse(*text) : fingerprint(settings(), key_);
    writer_.put(configuration_record(s, now, before));
    if (writer_.written_within(std::chrono::seconds(2))) (void)files_detail::replace_file(disk, file, now.text());
  }

  /// Who has asked.
  record begun(std::string_view event, mgw::proxy::exchange const& x) const {
    return begun(event, x, x.notes().device);
  }
  record begun(std::string_view event, mgw::proxy::exchange const& x, std::string_view device) const {
    record r(event);
    r.add("peer", x.peer().address.address().to_string()).add("for", asked_for(x, proxies_));
    if (x.peer().certificate)
      r.add("subject", x.peer().certificate->subject).add("serial", x.peer().certificate->serial);
    r.add("device", device);
    return r;
  }
  void describe(record& r, mgw::cache::key const& object) const {
    auto const about = objects_ ? objects_(object) : std::nullopt;
    if (about) {
      r.add("artifact", label_value(about->labels, label::artifact_name)).add("sha256", about->sha256);
      bool const imported = !label_value(about->labels, label::imported).empty();
      if (imported) r.add("imported", true);
    }
    r.add("object", object.hex());
  }
  void add_extent(record& r, delivery const& d) const {
    r.add("size", d.length).add("from", d.from).add("to", d.to).add("whole", d.whole());
    r.add("pieces", d.pieces);
  }

  void delivered(mgw::proxy::exchange const& x) {
    auto const& n = x.notes();
    int const status = x.status();
    if (x.request().method != "GET" || !x.responding() || (status != 200 && status != 206)) return refused(x);
    piece p;
    p.device = n.device.empty() ? x.peer().address.address().to_string() : n.device;
    p.object = *n.object;
    p.from = n.from;
    p.sent = x.body_out();
    p.length = n.length;
    bool const bad = n.failure == "the object was condemned";  // zeros went out in place of its end
    p.cut = x.aborted() || !x.finished() || bad;
    if (bad) p.sent = p.sent != 0 ? p.sent - 1 : 0;  // so it is never whole
    if (auto const d = deliveries_.take(p)) {
      record r = begun("delivery", x);
      describe(r, p.object);
      add_extent(r, *d);
      r.add("cache", n.cache);
      if (p.cut) r.add("why", n.failure.empty() ? std::string_view("the client left") : std::string_view(n.failure));
      writer_.put(std::move(r));
    }
    if (gives_up_.due() || deliveries_.crowded()) give_up(false);
  }
  /// Downloads that nobody goes on with.
  void give_up(bool all) {
    for (auto const& e : deliveries_.give_up(all)) {
      record r("delivery");
      r.add("device", e.device);
      describe(r, e.object);
      add_extent(r, e.what);
      r.add("why", "no more was asked for");
      writer_.put(std::move(r));
    }
  }
  void refused(mgw::proxy::exchange const& x) {
    auto const& n = x.notes();
    bool const no =
        n.failure.starts_with("artifact link") || n.failure.starts_with("not an artifact") || x.status() == 403;
    std::string const peer = x.peer().address.address().to_string();
    if (!no || !due("refusal", n.device.empty() ? peer : n.device, n.failure)) return;
    record r = begun("refusal", x);
    if (n.object) describe(r, *n.object);
    r.add("why", n.failure);
    writer_.put(std::move(r));
  }
  /// Refusals, which anybody may cause, are recorded once a minute for each who does, and kind.
  bool due(std::string_view event, std::string_view who, std::string_view why) {
    std::string name(event);
    (name += ' ') += who;
    (name += ' ') += why;
    return refusals_.due(name);
  }
  bool const refuses_;
  address_list const proxies_;
  lookup const objects_;
  chain_key const key_;
  mgw::seldom_each refusals_{std::chrono::minutes(1), 4096};
  mgw::seldom gives_up_{std::chrono::minutes(1)};
  deliveries deliveries_;
  writer writer_;  // the last: its thread is the first to end
};

}  // namespace gateway::audit
