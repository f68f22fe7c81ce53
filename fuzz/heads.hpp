#pragma once

#include "property.hpp"

#include <mgw/http/fields.hpp>
#include <mgw/http/limits.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>

namespace mgw::fuzz {

/// What became of a head: an error, a length with the text of the head, or neither: more bytes wanted.
struct outcome {
  std::error_code ec;
  std::size_t length = 0;
  std::string text;
  friend bool operator==(outcome const&, outcome const&) = default;
};

/// Text that two heads share exactly if they are equal (no part can hold a line feed).
inline void append_text(std::string& out, http::fields const& all) {
  for (auto const& f : all) out.append(f.name).append("\n").append(f.value).append("\n");
}

/// Lets a fresh parser see the first `piece` bytes, then twice as many, and so on, each time in a buffer of its own.
template <class Parser, class Head, class Text>
outcome parse_in_pieces(std::string_view wire, std::size_t piece, http::limits const& l, Text text_of) {
  Parser p(l);
  Head head;
  outcome o;
  for (std::size_t n = std::min(piece, wire.size());; n = std::min(n + piece, wire.size())) {
    exact_copy const copy(wire.substr(0, n));
    auto const r = p.parse(copy.view(), head);
    if (!r) {
      o.ec = r.error();
      must(p.parse(copy.view(), head).error() == o.ec, "an error stays");
      return o;
    }
    if (*r != 0) {
      must(*r <= n, "a head is no longer than its input");
      must(copy.view().substr(0, *r).ends_with("\r\n\r\n"), "a head ends in an empty line");
      for (auto const& f : head.fields) {
        must(http::is_token(f.name), "a field name is a token");
        must(http::is_field_value(f.value), "a field value has no control character");
        must(f.value == http::trim(f.value), "a field value is trimmed");
      }
      o.length = *r;
      o.text = text_of(head);
      return o;
    }
    if (n == wire.size()) return o;
  }
}

inline http::limits limits_for(plan const& p) {
  http::limits l;
  if (p.small) {
    l.max_head = 160;
    l.max_target = 24;
    l.max_line = 40;
    l.max_fields = 4;
  }
  return l;
}

}  // namespace mgw::fuzz
