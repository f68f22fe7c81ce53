#include <mgw/cache/disk_store.hpp>

#include "disk_support.hpp"
#include "recording_files.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::cache::crash_replay_test {
namespace {

using test::power_cut;
using test::recording_files;
using test::test_body;
using test::test_key;
using test::test_meta;

constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

/// What one download claimed, and when (counted in operations of the disk).
struct download {
  unsigned char key = 0;
  std::string etag, bytes;
  bool pinned = false;  // by its commit
  std::size_t begun = never, commit_begun = never, committed = never, over = never;  // over: dropped, removed, evicted
  std::vector<std::pair<std::size_t, std::uint64_t>> checkpoints;                    // when, and bytes promised
};

/// A store's life on a disk that remembers.
class life {
public:
  struct open_part {
    part p;
    download* d;
  };

  recording_files disk;
  std::deque<download> downloads;
  std::deque<std::pair<std::size_t, unsigned char>> removals;  // when they began
  std::map<std::string, std::string> foreign;
  struct pinning {
    unsigned char key;
    bool on;
    std::size_t begun, done;
  };
  std::deque<pinning> pins;

  /// Names that are none of the store's business.
  void add_foreign() {
    for (char const* path :
         {"/var/cache/README", "/var/cache/parts/notes", "/var/cache/objects/zz-other", "/var/cache/meta/ab-other"}) {
      CHECK_FALSE(disk.write_file(path, path));
      foreign[path] = path;
    }
    disk.settle();
  }
  static disk_store::options where(std::uint64_t max_size) {
    disk_store::options o;
    o.path = "/var/cache";
    o.max_size = max_size;
    o.min_free = 1;
    return o;
  }
  disk_store& start(std::uint64_t max_size = 1 << 20) {
    stop();
    return store_.emplace(where(max_size), log_sink{}, disk);
  }
  void stop() { store_.reset(); }
  std::size_t now() const { return disk.operations(); }

  open_part begin(unsigned char key, std::size_t size, unsigned seed, bool length_known = true) {
    auto& d = downloads.emplace_back();
    d.key = key;
    d.etag = "\"download " + std::to_string(downloads.size()) + "\"";
    d.bytes = test_body(seed, size);
    d.begun = now();
    end_parts(key, &d);
    meta m = test_meta(key, size);
    m.etag = d.etag;
    m.length_known = length_known;
    auto p = store_->create(m);
    REQUIRE(p);
    return {*std::move(p), &d};
  }
  void grow(open_part& o, std::size_t to) {
    auto const from = static_cast<std::size_t>(o.p.size());
    REQUIRE_FALSE(o.p.append(o.d->bytes.substr(from, to - from)));
  }
  void checkpoint(open_part& o) {
    REQUIRE_FALSE(o.p.checkpoint());
    o.d->checkpoints.emplace_back(now(), o.p.size());
  }
  void suspend(open_part& o) {
    std::uint64_t const size = o.p.size();
    o.p.suspend();
    if (size != 0) o.d->checkpoints.emplace_back(now(), size);
  }
  open_part resume(unsigned char key) {
    auto p = store_->resume(test_key(key));
    REQUIRE(p);
    for (auto& d : downloads)
      if (d.etag == p->meta().etag) return {*std::move(p), &d};
    throw std::runtime_error("a part of nobody");
  }
  void commit(open_part& o) {
    o.d->commit_begun = now();
    REQUIRE_FALSE(o.p.commit(o.d->bytes.size()));
    o.d->committed = now();
  }
  void drop(open_part& o) {
    o.d->over = now();
    o.p.drop();
  }
  /// From now on the object and the part of this key may go.
  void may_go(unsigned char key) {
    removals.emplace_back(now(), key);
    end_parts(key, nullptr);
  }
  void remove(unsigned char key) {
    may_go(key);
    CHECK_FALSE(store_->remove(test_key(key)));
  }
  void pin(unsigned char key, bool on) {
    std::size_t const begun = now();
    CHECK_FALSE(store_->pin(test_key(key), on));
    pins.push_back({key, on, begun, now()});
  }
  void put(unsigned char key, std::size_t size, unsigned seed, bool pinned = false) {
    auto o = begin(key, size, seed);
    o.d->pinned = pinned;
    if (pinned) o.p.pin_with_commit();
    grow(o, size);
    commit(o);
  }
  disk_store& store() { return *store_; }

private:
  void end_parts(unsigned char key, download const* but) {
    for (auto& d : downloads)
      if (d.key == key && &d != but && d.over == never) d.over = now();
  }
  std::optional<disk_store> store_;
};

/// What is wrong with what a new store finds after a cut before operation `n`; empty: nothing.
class aftermath {
public:
  aftermath(life const& before, std::size_t n, recording_files& disk) : before_(before), n_(n), disk_(disk) {}

  std::string fault(bool second_start) {
    try {
      std::optional<disk_store> store(std::in_place, life::where(1 << 20), log_sink{}, disk_);
      auto const first = disk_.contents();
      for (auto const& [path, bytes] : before_.foreign)
        if (auto const it = first.find(path); it == first.end() || it->second != bytes)
          return path + " is gone or other";
      if (second_start) {
        auto const bytes = store->used().bytes;
        store.reset();
        store.emplace(life::where(1 << 20), log_sink{}, disk_);
        auto second = disk_.contents();
        second.erase("/var/cache/clean");
        if (second != first) return "the second start changed the directory";
        if (store->used().bytes != bytes) return "the second start counts other bytes";
      }
      std::set<unsigned char> keys;
      for (auto const& d : before_.downloads)
        if (d.begun < n_) keys.insert(d.key);
      for (auto const& e : store->entries())
        if (auto text = pin_fault(e.meta); !text.empty()) return text;
      for (auto const key : keys)
        if (auto text = object_fault(*store, key); !text.empty()) return text;
      for (auto const key : keys)
        if (auto text = part_fault(*store, key); !text.empty()) return text;
      for (auto const key : keys)
        if (auto text = going_on_fault(*store, key); !text.empty()) return text;
      return leftovers_fault(*store, keys.size());
    } catch (std::exception const& e) {
      return std::string("an exception: ") + e.what();
    }
  }

private:
  static std::string of(unsigned char key) { return " of key " + std::to_string(key); }

  std::string object_fault(disk_store& store, unsigned char key) {
    download const* last = nullptr;
    bool may_be_absent = true;
    for (auto const& d : before_.downloads)
      if (d.key == key && d.committed <= n_ && (last == nullptr || d.committed > last->committed)) last = &d;
    if (last != nullptr)
      may_be_absent = std::any_of(before_.removals.begin(), before_.removals.end(), [&](auto const& r) {
        return r.second == key && r.first < n_ && r.first >= last->committed;
      });
    auto const s = store.open(test_key(key));
    if (!s) return may_be_absent ? "" : "the object" + of(key) + " is gone: " + s.error().message();
    std::string const bytes = disk_.contents(*s->body);
    for (auto const& d : before_.downloads) {
      bool const possible = &d == last || (d.commit_begun < n_ && d.committed > n_);
      if (d.key == key && possible && d.etag == s->meta.etag)
        return bytes == d.bytes ? "" : "other bytes in the object" + of(key);
    }
    return "the object" + of(key) + " is an older one, or was never committed: " + s->meta.etag;
  }

  /// It is pinned or not as the last pin that returned said, or as one that was under way would.
  std::string pin_fault(meta const& m) const {
    for (auto const& d : before_.downloads)
      if (d.etag == m.etag && d.pinned && !m.pinned) return "the object " + m.etag + " was to be pinned with its commit";
    std::set<bool> possible{false};
    for (auto const& p : before_.pins) {
      if (test_key(p.key) != m.key || p.begun >= n_) continue;
      if (p.done <= n_) possible.clear();
      possible.insert(p.on);
    }
    for (auto const& d : before_.downloads)
      if (test_key(d.key) == m.key && d.pinned && d.commit_begun < n_) possible.insert(true);
    return possible.contains(m.pinned) ? "" : "the object " + m.etag + (m.pinned ? " is pinned" : " is not pinned");
  }

  std::string part_fault(disk_store& store, unsigned char key) {
    std::uint64_t promised = 0;
    download const* last = nullptr;
    for (auto const& d : before_.downloads)
      if (d.key == key && d.begun < n_) last = &d;
    bool committed = false;
    if (last->over >= n_ && last->committed > n_)
      for (auto const& [when, size] : last->checkpoints)
        if (when <= n_) promised = size;
    if (last->commit_begun < n_) {
      // Its body took the place of another key's with the same bytes: there it is, and only there.
      for (auto const& d : before_.downloads)
        if (d.key != key && d.bytes == last->bytes && d.committed <= n_) promised = 0;
      auto const s = store.open(test_key(key));
      committed = s && s->meta.etag == last->etag;
    }
    auto p = store.resume(test_key(key));
    if (!p) {
      if (p.error() != std::errc::no_such_file_or_directory) return "resume" + of(key) + ": " + p.error().message();
      return promised == 0 || committed
                 ? ""
                 : "the part" + of(key) + " is gone, " + std::to_string(promised) + " bytes had been promised";
    }
    std::string const bytes = disk_.contents(*p->body());
    for (auto const& d : before_.downloads) {
      if (d.key != key || d.etag != p->meta().etag) continue;
      if (bytes.size() != p->size() || d.bytes.substr(0, bytes.size()) != bytes)
        return "other bytes in the part" + of(key);
      if (promised != 0 && !committed && &d != last)
        return "an older part" + of(key) + " than the one that was promised";
      if (promised > p->size() && !committed)
        return "the part" + of(key) + " has " + std::to_string(p->size()) + " bytes of " + std::to_string(promised);
      if (p->append(d.bytes.substr(bytes.size())) || p->commit(d.bytes.size()))
        return "the part" + of(key) + " cannot be ended";
      auto const s = store.open(test_key(key));
      return s && disk_.contents(*s->body) == d.bytes ? "" : "the ended part" + of(key) + " is no object";
    }
    return "a part" + of(key) + " of nobody";
  }

  std::string going_on_fault(disk_store& store, unsigned char key) {
    std::string const bytes = test_body(100u + key, 90);
    if (auto const ec = test::put(store, key, bytes))
      return "nothing more can be stored" + of(key) + ": " + ec.message();
    auto const s = store.open(test_key(key));
    return s && disk_.contents(*s->body) == bytes ? "" : "what was stored afterwards" + of(key) + " is not there";
  }

  /// Each key has its object now, and nothing else takes space.
  std::string leftovers_fault(disk_store& store, std::size_t keys) {
    if (store.used().objects < keys) return "objects are missing at the end";
    std::size_t bodies = 0, metas = 0, parts = 0;
    for (auto const& [path, bytes] : disk_.contents()) {
      if (before_.foreign.contains(path) || bytes == "directory") continue;
      bodies += path.starts_with("/var/cache/objects/") ? 1 : 0;
      metas += path.starts_with("/var/cache/meta/") ? 1 : 0;
      parts += path.starts_with("/var/cache/parts/") ? 1 : 0;
    }
    if (bodies > store.used().objects || metas != store.used().objects || parts != 0)
      return "leftovers: " + std::to_string(bodies) + " bodies, " + std::to_string(metas) + " metadata, " +
             std::to_string(parts) + " files of parts for " + std::to_string(store.used().objects) + " objects";
    return {};
  }

  life const& before_;
  std::size_t n_;
  recording_files& disk_;
};

/// How many random cuts are tried at each moment. MGW_CRASH_VARIANTS: another number, for a long search.
unsigned random_cuts() {
  char const* const text = std::getenv("MGW_CRASH_VARIANTS");
  return text == nullptr ? 10u : static_cast<unsigned>(std::strtoul(text, nullptr, 10));
}

/// Cuts the power of a recorded life at every moment, in many ways.
void cut_everywhere(life& l) {
  using names = power_cut::names;
  using bytes = power_cut::bytes;
  l.stop();
  std::size_t faults = 0, tried = 0, different = 0;
  for (std::size_t n = 0; n <= l.now(); ++n) {
    std::set<std::size_t> known;  // images already judged at this moment
    unsigned const total = 20 + random_cuts();
    for (unsigned seed = 0; seed < total; ++seed) {
      std::mt19937 random(seed * 7919 + static_cast<unsigned>(n));
      power_cut how;
      how.name = std::array{names::all, names::forced, names::in_order, names::by_directory, names::any}[seed % 5];
      how.data = seed < 20 ? std::array{bytes::all, bytes::lost, bytes::zeros, bytes::any}[seed / 5] : bytes::any;
      how.garbage = seed % 2 == 1;
      recording_files left = l.disk.after(n, how, random);
      ++tried;
      std::string image;
      for (auto const& [path, content] : left.contents())
        image += path + '\0' + std::to_string(content.size()) + content;
      if (!known.insert(std::hash<std::string>{}(image)).second) continue;
      ++different;
      std::string const fault = aftermath(l, n, left).fault(seed % 2 == 0);
      if (fault.empty()) continue;
      std::string operations;
      for (std::size_t i = n - std::min<std::size_t>(n, 12); i < n; ++i) operations += "\n  " + l.disk.describe(i);
      FAIL_CHECK("cut before operation " << n << " of " << l.now() << ", seed " << seed << ": " << fault
                                         << "; the last were:" << operations);
      if (++faults == 5) return;
    }
  }
  if (std::getenv("MGW_CRASH_VARIANTS") != nullptr)
    MESSAGE(l.now(), " operations, ", tried, " cuts, ", different, " different outcomes");
  CHECK(different > l.now());
}

}  // namespace

TEST_CASE("power cut: a first life in a new directory, checkpoints, a suspended part resumed and committed") {
  life l;
  l.start();
  auto o = l.begin(1, 600, 1);
  l.grow(o, 150);
  l.checkpoint(o);
  l.grow(o, 260);
  l.checkpoint(o);
  l.grow(o, 300);
  l.suspend(o);
  auto again = l.resume(1);
  CHECK(again.p.size() == 300);
  l.grow(again, 450);
  l.checkpoint(again);
  l.grow(again, 600);
  l.commit(again);
  cut_everywhere(l);
}

TEST_CASE("power cut: a part over several lives, one of them killed") {
  life l;
  l.start();
  l.add_foreign();
  auto o = l.begin(1, 500, 1);
  l.grow(o, 200);
  l.suspend(o);
  l.start();
  auto second = l.resume(1);
  l.grow(second, 300);
  l.checkpoint(second);
  l.grow(second, 350);
  l.suspend(second);
  l.start();
  auto third = l.resume(1);
  l.grow(third, 500);
  l.commit(third);
  l.start();
  CHECK(l.store().contains(test_key(1)));
  l.put(2, 50, 2);
  cut_everywhere(l);
}

TEST_CASE("power cut: an object is replaced, by a fill with checkpoints and by one without") {
  life l;
  l.start();
  l.add_foreign();
  l.put(1, 300, 1);
  auto o = l.begin(1, 400, 2);
  l.grow(o, 200);
  l.checkpoint(o);
  l.grow(o, 400);
  l.commit(o);
  l.put(1, 350, 3);
  l.put(1, 350, 3);  // the same bytes once more
  cut_everywhere(l);
}

TEST_CASE("power cut: two keys share a body; each goes in its turn") {
  life l;
  l.start();
  l.put(1, 300, 1);
  auto o = l.begin(2, 300, 1);
  l.grow(o, 200);
  l.checkpoint(o);
  l.grow(o, 300);
  l.commit(o);
  l.remove(1);
  l.put(1, 300, 1);
  l.put(2, 200, 2);
  l.remove(1);
  l.remove(2);
  cut_everywhere(l);
}

TEST_CASE("power cut: an object is pinned, replaced, and let go") {
  life l;
  l.start();
  l.put(1, 300, 1);
  l.put(2, 100, 2);
  l.pin(1, true);
  l.put(1, 200, 3);
  l.pin(1, false);
  l.pin(2, true);
  cut_everywhere(l);
}

TEST_CASE("power cut: an object that is pinned by its commit is pinned from its first moment") {
  life l;
  l.start();
  l.put(1, 3'000, 11, true);
  l.put(2, 2'000, 12);
  l.put(1, 2'500, 13, true);
  cut_everywhere(l);
}

TEST_CASE("power cut: removal and eviction, of objects and of suspended parts") {
  life l;
  l.start(700);
  l.add_foreign();
  l.put(1, 300, 1);
  auto o = l.begin(2, 300, 2);
  l.grow(o, 200);
  l.suspend(o);
  l.may_go(1);
  l.may_go(2);
  l.put(3, 600, 3);  // there is room for nothing else
  l.remove(3);
  l.put(1, 300, 4);
  cut_everywhere(l);
}

TEST_CASE("power cut: a part is begun anew over an older one, dropped, and begun again") {
  life l;
  l.start();
  auto o = l.begin(1, 500, 1);
  l.grow(o, 250);
  l.suspend(o);
  auto second = l.begin(1, 450, 2);
  l.grow(second, 220);
  l.checkpoint(second);
  l.grow(second, 300);
  l.drop(second);
  auto third = l.begin(1, 400, 3, false);
  l.grow(third, 100);
  l.checkpoint(third);
  l.grow(third, 400);
  l.checkpoint(third);
  l.commit(third);
  cut_everywhere(l);
}

TEST_CASE("power cut: a start after a power cut, itself cut") {
  life l;
  l.start();
  auto o = l.begin(1, 500, 1);
  l.grow(o, 200);
  l.checkpoint(o);
  l.put(2, 100, 2);
  auto killed = l.begin(3, 300, 3);
  l.grow(killed, 100);
  l.checkpoint(killed);
  l.grow(killed, 300);
  std::size_t const before_commit = l.now();
  l.commit(killed);
  // At each moment of that commit the power goes; the next start is recorded and cut in its turn.
  for (std::size_t n = before_commit; n <= l.now(); ++n) {
    std::mt19937 random(static_cast<unsigned>(n));
    power_cut how;
    how.name = power_cut::names::in_order;
    recording_files const left = l.disk.after(n, how, random);
    for (std::size_t m = 0;; ++m) {
      recording_files started = left;
      {
        disk_store const store(life::where(1 << 20), log_sink{}, started);
      }
      if (m > started.operations()) break;
      how.data = power_cut::bytes::any;
      recording_files again = started.after(m, how, random);
      std::string const fault = aftermath(l, n, again).fault(m % 2 == 0);
      CHECK_MESSAGE(fault.empty(), "cut before operation " << n << ", again at the next start before its operation "
                                                           << m << ": " << fault);
    }
  }
}

}  // namespace mgw::cache::crash_replay_test
