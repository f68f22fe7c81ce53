#pragma once

#include <mgw/http/limits.hpp>
#include <mgw/http/request_parser.hpp>
#include <mgw/http/response_parser.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace mgw::http {

/// What became of a head: an error, or its length and everything in it as text.
struct delivered {
  std::error_code ec;
  std::size_t length = 0;
  std::string text;
  friend bool operator==(delivered const&, delivered const&) = default;
};

inline std::string text_of(fields const& all) {
  std::string s;
  for (auto const& f : all) s.append("\n").append(f.name).append("=").append(f.value);
  return s;
}
inline std::string text_of(request_head const& h) {
  return std::string(h.method) + '|' + std::string(h.target) + '|' + std::to_string(h.minor) +
         (h.host_repeated ? "|host repeated" : "") + text_of(h.fields);
}
inline std::string text_of(response_head const& h) {
  return std::to_string(h.status) + '|' + std::string(h.reason) + '|' + std::to_string(h.minor) + text_of(h.fields);
}

/// Feeds `wire` to a fresh parser so that it sees the first n bytes, for each n of `sizes`, then all. Each call gets an
/// exact-size copy in another place, so that views into an earlier buffer and reads past the end are found by ASan.
template <class Parser, class Head>
delivered deliver(std::string_view wire, std::vector<std::size_t> sizes, limits const& l = {}) {
  sizes.push_back(wire.size());
  Parser p(l);
  Head head;
  std::vector<std::unique_ptr<char[]>> kept;
  delivered d;
  for (std::size_t const n : sizes) {
    auto copy = std::make_unique<char[]>(n);
    std::copy_n(wire.data(), n, copy.get());
    auto const r = p.parse({copy.get(), n}, head);
    if (!r) {
      d.ec = r.error();
      return d;
    }
    if (*r != 0) {
      d.length = *r;
      d.text = text_of(head);
      return d;
    }
  }
  return d;
}

inline delivered request(std::string_view wire, std::vector<std::size_t> sizes = {}, limits const& l = {}) {
  return deliver<request_parser, request_head>(wire, std::move(sizes), l);
}
inline delivered response(std::string_view wire, std::vector<std::size_t> sizes = {}, limits const& l = {}) {
  return deliver<response_parser, response_head>(wire, std::move(sizes), l);
}

/// Ways to deliver `size` bytes: in two pieces at every place, byte by byte, and in pieces of random sizes (fixed
/// seed).
inline std::vector<std::vector<std::size_t>> ways_to_cut(std::size_t size) {
  std::vector<std::vector<std::size_t>> ways;
  for (std::size_t i = 0; i <= size; ++i) ways.push_back({i});
  auto& bytes = ways.emplace_back();
  for (std::size_t i = 1; i <= size; ++i) bytes.push_back(i);
  std::minstd_rand random(7);
  for (int round = 0; round < 50; ++round) {
    auto& way = ways.emplace_back();
    for (std::size_t at = random() % 9; at < size; at += 1 + random() % 23) way.push_back(at);
  }
  return ways;
}

}  // namespace mgw::http
