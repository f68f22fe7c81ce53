#pragma once

#include <mgw/core/result.hpp>
#include <mgw/http/error.hpp>
#include <mgw/http/fields.hpp>
#include <mgw/http/head_lines.hpp>
#include <mgw/http/limits.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace mgw::http::detail {

/// What request and response heads have in common: a start line, field lines, an empty line, however they arrive.
///
/// What differs is in `Rules`, whose functions return no_error or why the head is refused:
/// `begin()` forgets the head before; `start_line(lines, in, out)` reads the first line, and may return need_more;
/// `field(in, f, keep, out)` judges a field line and adds it to `out` if `keep`; `end(out)` judges the whole.
/// Thread rule: one thread at a time.
class head_reader {
public:
  /// The head's length once it is whole, 0 to ask for more: see request_parser::parse.
  template <class Rules, class Head>
  result<std::size_t> parse(Rules& rules, limits const& l, std::string_view in, Head& out) {
    if (stage_ == stage::failed) return error_;
    bool const resumed = stage_ == stage::fields;  // lines of earlier calls: their views may be stale
    parse_error e = run(rules, l, in, out, !resumed);
    if (e == parse_error::need_more) return std::size_t{0};
    std::size_t const length = lines_.position();
    if (e == no_error && resumed) {  // known to be good: read it again in one go, for the views
      reset(rules);
      e = run(rules, l, in.substr(0, length), out, true);
    }
    if (e != no_error) {
      stage_ = stage::failed;
      error_ = e;
      return e;
    }
    reset(rules);
    return length;
  }
  /// Forgets a head that was begun, and an error.
  template <class Rules>
  void reset(Rules& rules) noexcept {
    lines_.reset();
    stage_ = stage::start_line;
    count_ = 0;
    rules.begin();
  }

private:
  enum class stage : std::uint8_t { start_line, fields, failed };

  template <class Rules, class Head>
  parse_error run(Rules& rules, limits const& l, std::string_view in, Head& out, bool keep) {
    if (stage_ == stage::start_line) {
      out.clear();
      if (auto const e = rules.start_line(lines_, in, out); e != no_error) return e;
      stage_ = stage::fields;
    }
    for (;;) {
      std::string_view line;
      if (auto const e = lines_.next(in, l.max_head, l.max_line, parse_error::line_too_long, line); e != no_error)
        return e;
      if (line.empty()) return rules.end(out);
      if (count_ == l.max_fields) return parse_error::too_many_fields;
      ++count_;
      http::field f;
      if (auto const e = read_field(line, f); e != no_error) return e;
      if (auto const e = rules.field(in, f, keep, out); e != no_error) return e;
    }
  }

  head_lines lines_;
  stage stage_ = stage::start_line;
  parse_error error_ = no_error;
  std::size_t count_ = 0;  // field lines so far
};

}  // namespace mgw::http::detail
