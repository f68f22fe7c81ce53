#pragma once

#include <mgw/cache/error.hpp>
#include <mgw/cache/file.hpp>
#include <mgw/cache/key.hpp>
#include <mgw/cache/meta.hpp>
#include <mgw/cache/store.hpp>

#include <cache/disk_support.hpp>
#include <support/store_rigs.hpp>
#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

/// What every CacheStore has to do (docs/concepts/cache_store.md). In a test file of one's own:
///
///     #include "store_conformance.hpp"
///     TEST_CASE_TEMPLATE_INVOKE(cache_store_conformance, my_rig);
///
/// A rig (support/store_rigs.hpp) makes the store in a directory, for bodies of so many bytes at most.
namespace mgw::cache::test {

/// A store in a directory of its own.
template <class Rig>
struct bench {
  temporary_directory directory;
  Rig rig;
  typename Rig::store_type& store = rig.store;
  explicit bench(std::uint64_t max_size = 1u << 20) : rig(mgw::test::store_settings(directory.path(), max_size)) {}

  /// Stores an object; the error of the first step that failed.
  std::error_code put(unsigned char n, std::string_view bytes) {
    auto p = store.create(test_meta(n, bytes.size()));
    if (!p) return p.error();
    if (auto const ec = p->append(bytes)) return ec;
    return p->commit(bytes.size());
  }
  /// The bytes of an object; "none" if there is none.
  std::string take(unsigned char n) {
    auto const s = store.open(test_key(n));
    return s ? contents(*s->body) : "none";
  }
};

}  // namespace mgw::cache::test

TEST_CASE_TEMPLATE_DEFINE("every store", Rig, cache_store_conformance) {
  using namespace mgw::cache;
  using namespace mgw::cache::test;
  using part_type = typename Rig::store_type::part_type;
  static_assert(CacheStore<typename Rig::store_type>);
  auto const none = std::errc::no_such_file_or_directory;
  bench<Rig> b;
  auto& store = b.store;
  std::string const bytes = test_body(1, 50'000);

  SUBCASE("keeps an object whole, with what is known of it") {
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK(store.open(test_key(1)).error() == none);
    meta m = test_meta(1, bytes.size());
    m.last_modified = "Tue, 15 Nov 1994 12:45:26 GMT";
    m.content_type = "application/vnd.mender-artifact";
    m.content_disposition = "attachment; filename=\"\xc3\xa4.mender\"";
    auto p = store.create(m);
    REQUIRE(p);
    CHECK(p->size() == 0);
    CHECK(p->meta().key == m.key);
    CHECK_FALSE(p->append(bytes.substr(0, 1)));
    CHECK_FALSE(p->append(""));
    CHECK_FALSE(p->append(bytes.substr(1)));
    CHECK(p->size() == bytes.size());
    CHECK_FALSE(p->checkpoint());
    CHECK_FALSE(store.contains(m.key));
    CHECK(store.open(m.key).error() == none);
    CHECK_FALSE(p->commit(bytes.size()));
    CHECK(store.contains(m.key));
    auto const s = store.open(m.key);
    REQUIRE(s);
    CHECK((contents(*s->body) == bytes));
    meta const& got = s->meta;
    CHECK(got.key == m.key);
    CHECK(got.length == bytes.size());
    CHECK(got.length_known);
    CHECK(got.etag == m.etag);
    CHECK(got.last_modified == m.last_modified);
    CHECK(got.content_type == m.content_type);
    CHECK(got.content_disposition == m.content_disposition);
  }
  SUBCASE("keeps the labels that were set, if it keeps any") {
    meta m = test_meta(1, 3);
    m.labels = {{"artifact-name", "before"}};
    m.pinned = true;  // not for whoever fills to say
    auto p = store.create(m);
    REQUIRE(p);
    std::string expected = "before";
    if constexpr (requires { p->set_labels(m.labels); }) {
      CHECK(p->set_labels({{"not a token", "x"}}) == error::malformed);
      CHECK(p->set_labels({{"large", std::string(max_label_bytes, 'x')}}) == error::value_too_long);
      CHECK(p->meta().labels == m.labels);
      m.labels = {{"artifact-name", "release 1"}, {"device-type", "a"}, {"device-type", "b"}};
      CHECK_FALSE(p->set_labels(m.labels));
      CHECK(p->meta().labels == m.labels);
      CHECK_FALSE(p->meta().pinned);
      expected = "release 1";
    }
    CHECK_FALSE(p->append("abc"));
    CHECK_FALSE(p->commit(3));
    if constexpr (requires { p->set_labels(m.labels); }) CHECK(p->set_labels({}) == error::part_closed);
    auto const s = store.open(test_key(1));
    REQUIRE(s);
    CHECK(s->meta.label("artifact-name") == expected);
    CHECK(s->meta.labels == m.labels);
  }
  SUBCASE("shows readers of a part what is written, and keeps that readable") {
    auto p = store.create(test_meta(1, bytes.size()));
    REQUIRE(p);
    auto const body = p->body();
    REQUIRE(body != nullptr);
    CHECK(contents(*body).empty());
    CHECK_FALSE(p->append(bytes.substr(0, 20'000)));
    CHECK((contents(*body) == bytes.substr(0, 20'000)));
    CHECK_FALSE(p->append(bytes.substr(20'000)));
    CHECK((contents(*body) == bytes));
    SUBCASE("after the commit") {
      CHECK_FALSE(p->commit(bytes.size()));
    }
    SUBCASE("after it was kept") {
      p->suspend();
    }
    SUBCASE("after the drop") {
      p->drop();
    }
    CHECK((contents(*body) == bytes));
  }
  SUBCASE("commits nothing short or long") {
    auto p = store.create(test_meta(1, 10));
    REQUIRE(p);
    CHECK_FALSE(p->append("12345"));
    CHECK(p->commit(5) == error::length_mismatch);
    CHECK(p->commit(10) == error::length_mismatch);
    CHECK(p->append("678901") == error::length_mismatch);
    CHECK(p->size() == 5);
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK_FALSE(p->append("67890"));
    CHECK(p->append("1") == error::length_mismatch);
    CHECK(p->commit(11) == error::length_mismatch);
    CHECK_FALSE(p->commit(10));
    CHECK(b.take(1) == "1234567890");
  }
  SUBCASE("closes a part at its end") {
    auto p = store.create(test_meta(1, 3));
    REQUIRE(p);
    CHECK_FALSE(p->append("abc"));
    bool committed = false;
    SUBCASE("committed") {
      CHECK_FALSE(p->commit(3));
      committed = true;
    }
    SUBCASE("suspended") {
      p->suspend();
    }
    SUBCASE("dropped") {
      p->drop();
    }
    CHECK(p->append("") == error::part_closed);
    CHECK(p->checkpoint() == error::part_closed);
    CHECK(p->commit(3) == error::part_closed);
    p->drop();
    p->suspend();
    CHECK(store.contains(test_key(1)) == committed);
  }
  SUBCASE("learns a length that was not known") {
    meta m = test_meta(1, 0);
    m.length_known = false;
    auto p = store.create(m);
    REQUIRE(p);
    CHECK_FALSE(p->meta().length_known);
    CHECK_FALSE(p->append(bytes));
    CHECK(p->commit(bytes.size() + 1) == error::length_mismatch);
    CHECK(p->commit(bytes.size() - 1) == error::length_mismatch);
    CHECK_FALSE(p->commit(bytes.size()));
    auto const s = store.open(test_key(1));
    REQUIRE(s);
    CHECK(s->meta.length_known);
    CHECK(s->meta.length == bytes.size());
    CHECK((contents(*s->body) == bytes));
  }
  SUBCASE("keeps an empty object") {
    CHECK_FALSE(b.put(1, ""));
    CHECK(store.contains(test_key(1)));
    CHECK(b.take(1).empty());
  }
  SUBCASE("has one part of a key at a time, and drops what goes out of scope") {
    {
      auto p = store.create(test_meta(1, 10));
      REQUIRE(p);
      CHECK_FALSE(p->append("12345"));
      CHECK(store.create(test_meta(1, 10)).error() == error::being_filled);
      CHECK_FALSE(store.resume(test_key(1)));
      part_type q = *std::move(p);
      CHECK(p->append("x") == error::part_closed);
      CHECK(p->body() == nullptr);
      p->suspend();
      p->drop();
      CHECK_FALSE(q.append("67"));
      CHECK(q.size() == 7);
      auto other = store.create(test_meta(2, 10));
      REQUIRE(other);
      CHECK_FALSE(other->append("b"));
      q = *std::move(other);  // drops what it was
      CHECK(q.meta().key == test_key(2));
      CHECK(store.create(test_meta(1, 10)));
      CHECK(store.create(test_meta(2, 10)).error() == error::being_filled);
    }
    CHECK(store.resume(test_key(1)).error() == none);
    CHECK(store.resume(test_key(2)).error() == none);
    CHECK_FALSE(b.put(1, bytes));
    CHECK((b.take(1) == bytes));
  }
  SUBCASE("gives a part back that was suspended") {
    meta m = test_meta(1, bytes.size());
    m.last_modified = "Tue, 15 Nov 1994 12:45:26 GMT";
    bool const known = [] {
      bool k = true;
      SUBCASE("of a known length") {}
      SUBCASE("of an unknown length") {
        k = false;
      }
      return k;
    }();
    m.length_known = known;
    if (!known) m.length = 0;
    CHECK(store.resume(test_key(1)).error() == none);
    auto p = store.create(m);
    REQUIRE(p);
    CHECK_FALSE(p->append(bytes.substr(0, 1000)));
    CHECK_FALSE(p->checkpoint());
    CHECK_FALSE(p->append(bytes.substr(1000, 20'000)));
    p->suspend();
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK(store.open(test_key(1)).error() == none);
    CHECK(store.resume(test_key(2)).error() == none);
    for (int i = 0; i < 3; ++i) {  // again and again
      auto q = store.resume(test_key(1));
      REQUIRE(q);
      CHECK(q->size() >= 1000);  // what the checkpoint had, at least
      CHECK(q->size() <= 21'000);
      CHECK((contents(*q->body()).substr(0, q->size()) == bytes.substr(0, q->size())));
      CHECK(q->meta().etag == m.etag);
      CHECK(q->meta().last_modified == m.last_modified);
      CHECK(q->meta().length_known == known);
      CHECK(store.create(m).error() == error::being_filled);
      q->suspend();
    }
    auto q = store.resume(test_key(1));
    REQUIRE(q);
    CHECK_FALSE(q->append(std::string_view(bytes).substr(q->size())));
    CHECK_FALSE(q->commit(bytes.size()));
    CHECK((b.take(1) == bytes));
    CHECK(store.resume(test_key(1)).error() == none);
  }
  SUBCASE("forgets a suspended part for a new one, and one with nothing in it") {
    auto p = store.create(test_meta(1, 10));
    REQUIRE(p);
    p->suspend();
    CHECK(store.resume(test_key(1)).error() == none);
    auto q = store.create(test_meta(1, 10));
    REQUIRE(q);
    CHECK_FALSE(q->append("old"));
    auto const readers = q->body();
    q->suspend();
    auto r = store.create(test_meta(1, 5));
    REQUIRE(r);
    CHECK(r->size() == 0);
    CHECK(contents(*readers) == "old");
    CHECK_FALSE(r->append("newer"));
    CHECK_FALSE(r->commit(5));
    CHECK(b.take(1) == "newer");
    CHECK(store.resume(test_key(1)).error() == none);
  }
  SUBCASE("forgets a part that was resumed and dropped") {
    auto p = store.create(test_meta(1, 10));
    REQUIRE(p);
    CHECK_FALSE(p->append("abc"));
    p->suspend();
    {
      auto const q = store.resume(test_key(1));
      REQUIRE(q);
    }
    CHECK(store.resume(test_key(1)).error() == none);
  }
  SUBCASE("replaces an object, and its readers keep the old bytes") {
    CHECK_FALSE(b.put(1, "first"));
    auto const old = store.open(test_key(1));
    REQUIRE(old);
    CHECK_FALSE(b.put(1, bytes));
    CHECK((b.take(1) == bytes));
    CHECK(contents(*old->body) == "first");
    CHECK_FALSE(b.put(1, "third"));
    CHECK(b.take(1) == "third");
  }
  SUBCASE("keeps keys apart, also with the same bytes") {
    CHECK_FALSE(b.put(1, bytes));
    CHECK_FALSE(b.put(2, bytes));
    CHECK_FALSE(b.put(3, "other"));
    CHECK_FALSE(b.put(2, "changed"));
    CHECK((b.take(1) == bytes));
    CHECK(b.take(2) == "changed");
    CHECK(b.take(3) == "other");
    CHECK(store.open(test_key(2))->meta.etag == "\"2\"");
    CHECK(b.take(4) == "none");
  }
  SUBCASE("goes on when something did not fit") {
    bench<Rig> small(1000);
    CHECK_FALSE(small.put(1, "before"));
    CHECK(small.store.create(test_meta(2, 1001)).error() == error::not_enough_space);
    CHECK(small.store.create(test_meta(2, UINT64_MAX)).error() == error::not_enough_space);
    meta m = test_meta(3, 0);
    m.length_known = false;
    {
      auto p = small.store.create(m);
      REQUIRE(p);
      CHECK_FALSE(p->append(test_body(3, 900)));
      CHECK(p->append(test_body(3, 101)) == error::not_enough_space);
      CHECK(p->size() == 900);
      CHECK((contents(*p->body()) == test_body(3, 900)));
    }
    for (unsigned char n = 0; n < 20; ++n) {  // what was dropped takes no room
      auto p = small.store.create(test_meta(4, 1000));
      REQUIRE(p);
      CHECK_FALSE(p->append(test_body(n, 700)));
    }
    CHECK_FALSE(small.put(5, test_body(5, 1000)));
    CHECK((small.take(5) == test_body(5, 1000)));
    CHECK(small.take(2) == "none");
    CHECK(small.take(4) == "none");
  }
  SUBCASE("stores, reads, replaces and suspends on many threads at once") {
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) {
      threads.emplace_back([&b, &wrong, t] {
        for (unsigned i = 0; i < 60; ++i) {
          auto const n = static_cast<unsigned char>((t + i) % 5);
          if (auto const s = b.store.open(test_key(n))) {
            std::string const got = contents(*s->body);
            if (got != test_body(n, 900) && got != test_body(9, 800)) ++wrong;
            if (got.size() != s->meta.length) ++wrong;
          }
          if (i % 3 == 0) (void)b.put(n, i % 2 == 0 ? test_body(n, 900) : test_body(9, 800));
          if (i % 4 == 0) {
            auto p = b.store.resume(test_key(static_cast<unsigned char>(10 + n)));
            if (!p) p = b.store.create(test_meta(static_cast<unsigned char>(10 + n), 100'000));
            if (p) {
              if (contents(*p->body()) != std::string(p->size(), 'p')) ++wrong;
              (void)p->append("ppp");
              p->suspend();
            }
          }
          (void)b.store.contains(test_key(n));
        }
      });
    }
    for (auto& t : threads) t.join();
    CHECK(wrong == 0);
    for (unsigned char n = 0; n < 5; ++n) CHECK(b.store.open(test_key(n)));
  }
}

/// What a store does that makes room. Its parts may be dropped for an object while nobody holds them.
TEST_CASE_TEMPLATE_DEFINE("every store that evicts", Rig, evicting_store_conformance) {
  using namespace mgw::cache;
  using namespace mgw::cache::test;
  bench<Rig> b(100);
  auto& store = b.store;
  for (unsigned char n = 1; n <= 4; ++n) CHECK_FALSE(b.put(n, test_body(n, 25)));
  CHECK(store.used().bytes == 100);
  CHECK(b.take(1) == test_body(1, 25));  // now the newest
  auto held = store.open(test_key(2));
  REQUIRE(held);

  SUBCASE("lets the least recently used go first, what is read or filled never") {
    CHECK_FALSE(b.put(5, test_body(5, 25)));
    CHECK(store.contains(test_key(1)));
    CHECK(store.contains(test_key(2)));
    CHECK_FALSE(store.contains(test_key(3)));

    auto filled = store.create(test_meta(6, 40));  // 4 and 1 make room
    REQUIRE(filled);
    CHECK_FALSE(filled->append("abc"));
    CHECK_FALSE(store.contains(test_key(4)));
    CHECK_FALSE(store.contains(test_key(1)));
    CHECK(store.used().bytes == 90);
    CHECK(store.create(test_meta(7, 101)).error() == error::not_enough_space);  // larger than the cache
    CHECK(store.create(test_meta(7, UINT64_MAX)).error() == error::not_enough_space);
    CHECK(store.create(test_meta(7, 61)).error() == error::not_enough_space);
    CHECK(store.contains(test_key(5)));  // not evicted in vain
    CHECK(store.create(test_meta(7, 10)));
    filled->suspend();  // three bytes
    filled = std::make_error_code(std::errc::io_error);
    CHECK(store.used().bytes == 25 + 25 + 3);
    CHECK_FALSE(b.put(8, test_body(8, 72)));
    CHECK_FALSE(store.contains(test_key(5)));
    auto eight = store.open(test_key(8));
    REQUIRE(eight);
    CHECK(store.resume(test_key(6)).error() == error::not_enough_space);  // 40 no longer fit
    held->body.reset();
    CHECK(store.resume(test_key(6)).error() == error::not_enough_space);
    CHECK(store.contains(test_key(2)));
    eight->body.reset();
    CHECK(store.resume(test_key(6)));
    CHECK_FALSE(store.contains(test_key(2)));
    CHECK_FALSE(b.put(9, test_body(9, 100)));
    CHECK(store.used().objects == 1);
    CHECK(store.used().bytes == 100);
  }
  SUBCASE("goes on with what is held when nothing else can go") {
    auto const one = store.open(test_key(1)), three = store.open(test_key(3)), four = store.open(test_key(4));
    CHECK(store.create(test_meta(5, 1)).error() == error::not_enough_space);
    held->body.reset();
    CHECK(store.create(test_meta(5, 26)).error() == error::not_enough_space);
    CHECK(store.contains(test_key(2)));
    CHECK_FALSE(b.put(5, test_body(5, 25)));
    CHECK_FALSE(store.contains(test_key(2)));
  }
}
