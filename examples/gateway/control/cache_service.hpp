#pragma once

#include "artifact/labels.hpp"
#include "control/cache_import.hpp"
#include "control/protocol.hpp"
#include "verifier/options.hpp"

#include <mgw/cache/disk_store.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/ledger.hpp>
#include <mgw/cache/sha256.hpp>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace gateway {

/// What `mgw-gateway cache …` does, in the running gateway or in the command's own process.
///
/// Thread rule: `run` from any thread, several at once; it blocks. Precondition: the store and the ledger outlive it.
class cache_service {
public:
  using store = mgw::cache::disk_store;
  /// What to add to the answer of `stats`.
  using counts = std::function<boost::json::object()>;

  /// `path`: the store's directory. `book`: knows what was found to be bad. `how`: how imports are verified; that they
  /// are artifacts is always asked for.
  cache_service(store& objects, mgw::cache::ledger& book, std::string path, verifier_options how, counts more = {})
      : store_(objects), book_(book), path_(std::move(path)), how_(std::move(how)), more_(std::move(more)) {}

  /// Does it. `file`: open for reading (import), or for writing (export); otherwise not looked at. What is wrong is in
  /// the answer.
  boost::json::object run(cache_request const& r, int file, step_function const& step);

private:
  using entry = store::entry;

  std::vector<entry> entries() const;
  bool is_ours(std::string const& path) const;
  std::optional<entry> find(std::vector<entry> const& all, std::string const& text, std::string& why) const;
  bool find_all(cache_request const& r, std::vector<entry>& out, std::string& why) const {
    return find_all(r, entries(), out, why);
  }
  bool find_all(cache_request const& r, std::vector<entry> const& all, std::vector<entry>& out, std::string& why) const;

  boost::json::object list() const;
  boost::json::object stats() const;
  boost::json::object pin(cache_request const& r, bool on);
  boost::json::object remove(cache_request const& r);
  boost::json::object verify(cache_request const& r, step_function const& step);
  boost::json::object export_to(cache_request const& r, int file, step_function const& step);

  store& store_;
  mgw::cache::ledger& book_;
  std::string path_;
  verifier_options how_;
  counts more_;
};

namespace control_detail {

/// The first digits of a key, enough for messages.
inline std::string short_key(mgw::cache::key const& k) {
  return k.hex().substr(0, 12);
}

inline std::string name_of(mgw::cache::disk_store::entry const& e) {
  return std::string(label_value(e.meta.labels, label::artifact_name));
}

/// What progress and messages call it.
inline std::string title_of(mgw::cache::disk_store::entry const& e) {
  std::string const name = json_text(name_of(e));
  return name.empty() ? short_key(e.meta.key) : name;
}

inline boost::json::object describe(mgw::cache::disk_store::entry const& e) {
  boost::json::array types;
  std::string_view rest = label_value(e.meta.labels, label::device_types);
  while (!rest.empty()) {
    std::size_t const end = std::min(rest.find(','), rest.size());
    types.emplace_back(json_view(json_text(rest.substr(0, end))));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  boost::json::object out{{"key", e.meta.key.hex()},
                          {"name", json_view(json_text(name_of(e)))},
                          {"device_types", std::move(types)},
                          {"size", e.meta.length},
                          {"sha256", e.meta.sha256},
                          {"stored_at", e.meta.stored_at},
                          {"used_at", e.last_used},
                          {"pinned", e.meta.pinned},
                          {"in_use", e.in_use}};
  std::int64_t imported = 0;
  auto const when = label_value(e.meta.labels, label::imported);
  std::from_chars(when.data(), when.data() + when.size(), imported);
  if (imported != 0) out.emplace("imported_at", imported);
  if (auto const head = label_value(e.meta.labels, label::artifact_head); !head.empty())
    out.emplace("head", json_view(json_text(head)));
  return out;
}

/// Writes all of it, to something that blocks or that does not. `wanted()` is asked while it has to wait.
template <class Wanted>
std::error_code write_all(int fd, std::string_view bytes, Wanted wanted) {
  while (!bytes.empty()) {
    ssize_t const n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      ::poll(&p, 1, 200);
      if (!wanted()) return std::make_error_code(std::errc::operation_canceled);
    } else if (errno != EINTR) {
      return {errno, std::generic_category()};
    } else if (!wanted()) {
      return std::make_error_code(std::errc::operation_canceled);
    }
  }
  return {};
}

}  // namespace control_detail

inline boost::json::object cache_service::run(cache_request const& r, int file, step_function const& step) {
  if (!r.cache.empty() && !is_ours(r.cache))
    return failure("the running gateway has its cache in " + path_ + ", not in " + r.cache);
  bool const one = r.objects.size() == 1;
  if (r.command == "list") return list();
  if (r.command == "stats") return stats();
  if (r.command == "verify") return verify(r, step);
  if (r.command == "import") return cache_import(store_, how_, file, r.file, step).run();
  if (r.command == "export" && one) return export_to(r, file, step);
  if ((r.command == "pin" || r.command == "unpin") && !r.objects.empty()) return pin(r, r.command == "pin");
  if (r.command == "remove" && !r.objects.empty()) return remove(r);
  return failure("\"" + json_text(r.command) + "\" with " + std::to_string(r.objects.size()) +
                 " objects is no command of this gateway");
}

inline bool cache_service::is_ours(std::string const& path) const {
  std::error_code ec;
  return path == path_ || std::filesystem::equivalent(path, path_, ec);
}

/// The most recently used first.
inline std::vector<cache_service::entry> cache_service::entries() const {
  auto out = store_.entries();
  std::sort(out.begin(), out.end(), [](entry const& a, entry const& b) {
    return std::pair(-a.last_used, a.meta.key) < std::pair(-b.last_used, b.meta.key);
  });
  return out;
}

/// The one object whose name is `text`, or whose key begins with it.
inline std::optional<cache_service::entry> cache_service::find(std::vector<entry> const& all, std::string const& text,
                                                               std::string& why) const {
  std::string digits = text;
  for (char& c : digits)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  std::vector<entry const*> found;
  for (entry const& e : all)
    if (!text.empty() && (control_detail::name_of(e) == text || e.meta.key.hex().starts_with(digits)))
      found.push_back(&e);
  std::string const shown = "\"" + json_text(text) + "\"";
  if (found.size() == 1) return *found.front();
  if (found.empty()) {
    why = "no object in the cache has the name " + shown + " or a key that begins so";
    return std::nullopt;
  }
  why = shown + " may be any of " + std::to_string(found.size()) + " objects; their keys begin with ";
  for (std::size_t i = 0; i != std::min<std::size_t>(found.size(), 4); ++i)
    why += (i == 0 ? "" : ", ") + control_detail::short_key(found[i]->meta.key);
  if (found.size() > 4) why += ", …";
  return std::nullopt;
}

/// All that the request names, or none.
inline bool cache_service::find_all(cache_request const& r, std::vector<entry> const& all, std::vector<entry>& out,
                                    std::string& why) const {
  for (std::string const& text : r.objects) {
    auto e = find(all, text, why);
    if (!e) return false;
    out.push_back(*std::move(e));
  }
  return true;
}

inline boost::json::object cache_service::list() const {
  boost::json::array objects;
  for (entry const& e : entries()) objects.emplace_back(control_detail::describe(e));
  return {{"status", exit_status::done}, {"objects", std::move(objects)}};
}

inline boost::json::object cache_service::stats() const {
  auto const u = store_.used();
  std::uint64_t pinned = 0, imported = 0, in_use = 0;
  for (entry const& e : store_.entries()) {
    pinned += e.meta.pinned ? 1U : 0U;
    imported += label_value(e.meta.labels, label::imported).empty() ? 0U : 1U;
    in_use += e.in_use ? 1U : 0U;
  }
  boost::json::object out{{"status", exit_status::done},
                          {"path", json_view(json_text(path_))},
                          {"bytes", u.bytes},
                          {"objects", u.objects},
                          {"pinned", pinned},
                          {"pinned_bytes", u.pinned_bytes},
                          {"imported", imported},
                          {"in_use", in_use},
                          {"parts", u.parts},
                          {"part_bytes", u.part_bytes},
                          {"max_size", u.max_size},
                          {"min_free", u.min_free}};
  if (more_)
    for (auto& [name, value] : more_()) out.emplace(name, std::move(value));
  return out;
}

inline boost::json::object cache_service::pin(cache_request const& r, bool on) {
  std::vector<entry> which;
  std::string why;
  if (!find_all(r, which, why)) return failure(why);
  boost::json::array objects;
  for (entry& e : which) {
    if (auto const ec = store_.pin(e.meta.key, on)) return failure(control_detail::title_of(e) + ": " + ec.message());
    e.meta.pinned = on;
    objects.emplace_back(control_detail::describe(e));
  }
  return {{"status", exit_status::done}, {"objects", std::move(objects)}};
}

inline boost::json::object cache_service::remove(cache_request const& r) {
  auto all = entries();
  for (auto const& k : book_.condemned()) {  // nothing is stored of these, as a rule
    if (std::any_of(all.begin(), all.end(), [&k](entry const& e) { return e.meta.key == k; })) continue;
    entry e;
    e.meta.key = k;
    all.push_back(std::move(e));
  }
  std::vector<entry> which;
  std::string why;
  if (!find_all(r, all, which, why)) return failure(why);
  boost::json::array objects;
  for (entry const& e : which) {
    std::string const title = control_detail::title_of(e);
    auto const ec = store_.remove(e.meta.key);
    if (ec && ec != std::errc::no_such_file_or_directory) return failure(title + ": " + ec.message());
    auto removed = control_detail::describe(e);
    if (book_.pardon(e.meta.key)) {
      removed.emplace("condemned", true);
      if (auto const unwritten = book_.flush())
        return failure(title + ": that it was condemned cannot be taken back for good: " + unwritten.message());
    }
    objects.emplace_back(std::move(removed));
  }
  return {{"status", exit_status::done}, {"objects", std::move(objects)}};
}

inline boost::json::object cache_service::verify(cache_request const& r, step_function const& step) {
  std::vector<entry> which;
  std::string why;
  if (!find_all(r, which, why)) return failure(why);
  if (r.objects.empty()) which = entries();
  std::uint64_t done = 0, total = 0, damaged = 0;
  for (entry const& e : which) total += e.meta.length;
  boost::json::array objects;
  for (entry const& e : which) {
    if (!step(done, total, control_detail::title_of(e))) return failure("the verification was ended");
    auto const v = store_.verify(e.meta.key);
    if (!v) return failure(control_detail::title_of(e) + ": " + v.error().message());
    done += e.meta.length;
    if (*v == store::verdict::missing) continue;  // removed or replaced meanwhile
    bool const good = *v == store::verdict::good;
    damaged += good ? 0U : 1U;
    auto one = control_detail::describe(e);
    one.emplace("good", good);
    objects.emplace_back(std::move(one));
  }
  return {{"status", damaged == 0 ? exit_status::done : exit_status::bad},
          {"damaged", damaged},
          {"objects", std::move(objects)}};
}

inline boost::json::object cache_service::export_to(cache_request const& r, int file, step_function const& step) {
  std::vector<entry> which;
  std::string why;
  if (!find_all(r, which, why)) return failure(why);
  entry const& e = which.front();
  std::string const title = control_detail::title_of(e);
  auto const object = store_.open(e.meta.key);
  if (!object) return failure(title + ": " + object.error().message());
  std::uint64_t const size = object->meta.length;
  std::vector<char> block(std::size_t{256} << 10U);
  mgw::cache::sha256 hash;
  for (std::uint64_t at = 0; at != size;) {
    if (!step(at, size, title)) return failure("the export was ended");
    auto const wanted = static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), size - at));
    auto const n = mgw::cache::posix_file_ops().read_full(object->body->fd(), std::span(block.data(), wanted), at);
    if (!n) return failure(title + ": " + n.error().message());
    if (*n != wanted) return failure(title + ": it is damaged: shorter than it was", exit_status::bad);
    std::string_view const bytes(block.data(), wanted);
    if (auto const ec = hash.update(bytes)) return failure(title + ": " + ec.message());
    if (auto const ec = control_detail::write_all(file, bytes, [&] { return step(0, 0, {}); }))
      return failure((r.file.empty() ? title : json_text(r.file)) + ": " + ec.message());
    at += wanted;
  }
  mgw::cache::sha256_digest digest{};
  if (auto const ec = hash.digest(digest)) return failure(title + ": " + ec.message());
  if (mgw::cache::to_hex(digest) != object->meta.sha256)
    return failure(title + ": it is damaged: its bytes are not those that were stored", exit_status::bad);
  auto out = control_detail::describe(e);
  out.emplace("status", exit_status::done);
  return out;
}

}  // namespace gateway
