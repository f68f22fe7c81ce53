#pragma once

#include <charconv>
#include <cstddef>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::wire {

/// One answer of the origin, in the order of the messages that it sees.
struct answer {
  std::string bytes;
  std::string later;     // sent once the client has what it is waiting for
  bool at_once = false;  // as soon as the head is there
  bool closes = false;
};

/// What the client sends, once it has so many final responses.
struct step {
  std::size_t after = 0;
  std::string bytes;
};

struct expected_message {
  std::string text;
  bool cut = false;
};

struct expected_response {
  int status = 0;
  bool to_head = false, optional = false, cut = false;
};

struct expected_end {
  std::vector<expected_response> responses;
  bool open = false;
};

/// Lines that a response has: `Name: value`, `!Name`, and after an empty line the body.
struct expected_detail {
  std::size_t response = 0;  // from 1, without interim ones that are optional
  std::string text;
};

/// One exchange of the table. The format stands at the top of exchanges.txt.
struct exchange_case {
  std::string name;
  std::size_t line = 0;
  std::vector<step> client;
  bool client_ends = false;
  std::vector<answer> answers;
  std::vector<expected_message> sees;
  expected_end gets;
  std::optional<expected_end> cached_gets;
  std::vector<expected_detail> details;
  std::optional<std::size_t> connections;
  std::string not_cached;  // why it does not run behind a cache
  std::string not_dripped;  // why it does not run byte by byte
  std::string fails;       // why the right expectation does not hold yet
};

/// What is wrong with a table, and in which line.
class table_error : public std::runtime_error {
public:
  table_error(std::size_t line, std::string const& what)
      : std::runtime_error("line " + std::to_string(line) + ": " + what) {}
};

/// Reads a table. Errors: table_error.
std::vector<exchange_case> read_table(std::string_view text);

/// Reads a table from a file. Errors: table_error; std::runtime_error if it cannot be read.
inline std::vector<exchange_case> read_table_file(std::string const& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  if (!in || !(text << in.rdbuf())) throw std::runtime_error("cannot read " + path);
  return read_table(text.str());
}

namespace detail {

struct entry {
  std::size_t line = 0;
  std::string key, value;
  std::vector<std::string> block;
  bool used = false;
};

inline std::string_view strip(std::string_view s) {
  while (s.starts_with(' ')) s.remove_prefix(1);
  while (s.ends_with(' ') || s.ends_with('\r')) s.remove_suffix(1);
  return s;
}

inline std::size_t number(std::string_view s, std::size_t line) {
  std::size_t n = 0;
  auto const r = std::from_chars(s.data(), s.data() + s.size(), n);
  if (s.empty() || r.ec != std::errc{} || r.ptr != s.data() + s.size())
    throw table_error(line, "'" + std::string(s) + "' is no number");
  return n;
}

inline constexpr std::string_view length_mark = "\x01the length\x01";

/// One line's bytes; `continues`: it ended in a backslash, so no CRLF follows.
inline std::string unescape(std::string_view s, std::size_t line, bool& continues) {
  std::string out;
  continues = false;
  while (!s.empty()) {
    if (s.front() != '\\') {
      out += s.front();
      s.remove_prefix(1);
      continue;
    }
    s.remove_prefix(1);
    if (s.empty()) {
      continues = true;
      break;
    }
    char const c = s.front();
    s.remove_prefix(1);
    if (c == 'x') {
      unsigned byte = 0;
      auto const r = std::from_chars(s.data(), s.data() + std::min<std::size_t>(s.size(), 2), byte, 16);
      if (r.ptr != s.data() + 2) throw table_error(line, "\\x wants two hex digits");
      out += static_cast<char>(byte);
      s.remove_prefix(2);
    } else if (c == '#') {
      out += length_mark;
    } else if (c == '{') {
      std::size_t end = s.find('}');  // of this one: another may stand inside
      for (std::size_t in = s.find("\\{"); in < end && end != s.npos; in = s.find("\\{", in + 2))
        end = s.find('}', end + 1);
      std::size_t const star = end == s.npos ? s.npos : s.substr(0, end).rfind('*');
      if (star == s.npos) throw table_error(line, "\\{ wants text*count}");
      bool ignored = false;
      std::string const piece = unescape(s.substr(0, star), line, ignored);
      for (std::size_t n = number(s.substr(star + 1, end - star - 1), line); n != 0; --n) out += piece;
      s.remove_prefix(end + 1);
    } else {
      constexpr std::string_view names = "rnt0s\\", bytes("\r\n\t\0 \\", 6);
      std::size_t const at = names.find(c);
      if (at == names.npos) throw table_error(line, std::string("unknown escape \\") + c);
      out += bytes[at];
    }
  }
  return out;
}

inline std::string bytes_of(entry const& e) {
  std::string out;
  if (!e.value.empty()) throw table_error(e.line, "'" + e.key + "' takes lines, not a value");
  if (e.block.empty()) throw table_error(e.line, "'" + e.key + "' has no lines");
  for (std::size_t i = 0; i < e.block.size(); ++i) {
    bool continues = false;
    out += unescape(e.block[i], e.line + 1 + i, continues);
    if (!continues) out += "\r\n";
  }
  for (std::size_t at = out.find(length_mark); at != out.npos; at = out.find(length_mark)) {
    std::size_t const body = out.find("\r\n\r\n", at);
    if (body == out.npos) throw table_error(e.line, "\\# without a body behind an empty line");
    out.replace(at, length_mark.size(), std::to_string(out.size() - body - 4));
  }
  return out;
}

inline expected_end end_of(entry const& e) {
  if (!e.block.empty()) throw table_error(e.line, "'" + e.key + "' takes no lines");
  expected_end out;
  std::string_view rest = e.value;
  for (;;) {
    std::size_t const comma = rest.find(',');
    std::string_view word = strip(rest.substr(0, comma));
    if (comma == rest.npos) {
      if (word != "open" && word != "closed") throw table_error(e.line, "the last word is 'open' or 'closed'");
      out.open = word == "open";
      return out;
    }
    rest.remove_prefix(comma + 1);
    expected_response r;
    r.status = static_cast<int>(number(word.substr(0, 3), e.line));
    std::string_view const how = word.substr(std::min<std::size_t>(word.size(), 3));
    r.to_head = how == " to HEAD";
    r.cut = how == " cut";
    r.optional = how == "?";
    if (!how.empty() && !r.to_head && !r.cut && !r.optional)
      throw table_error(e.line, "after a status stands ' to HEAD', ' cut' or '?'");
    out.responses.push_back(r);
  }
}

inline std::vector<entry> entries_of(std::string_view text) {
  std::vector<entry> out;
  std::size_t line = 0;
  while (!text.empty()) {
    ++line;
    std::size_t const lf = std::min(text.find('\n'), text.size());
    std::string_view const one = text.substr(0, lf);
    text.remove_prefix(std::min(text.size(), lf + 1));
    if (strip(one).empty() || one.starts_with('#')) continue;
    if (one.starts_with("  |")) {
      if (out.empty()) throw table_error(line, "a line of bytes before any key");
      if (out.back().line + out.back().block.size() + 1 != line)
        throw table_error(line, "a line of bytes apart from its block");
      out.back().block.emplace_back(one.substr(3));
      continue;
    }
    std::size_t const colon = one.find(':');
    if (one.starts_with(' ') || colon == one.npos) throw table_error(line, "neither 'key:' nor '  |bytes'");
    entry e;
    e.line = line;
    e.key = one.substr(0, colon);
    e.value = strip(one.substr(colon + 1));
    out.push_back(std::move(e));
  }
  return out;
}

/// Puts `value` where `\{}` stands; counts how often.
inline std::size_t substitute(std::string& s, std::string_view value) {
  std::size_t n = 0;
  for (std::size_t at = s.find("\\{}"); at != s.npos; at = s.find("\\{}", at + value.size())) {
    s.replace(at, 3, value);
    ++n;
  }
  return n;
}

inline exchange_case case_of(std::string name, std::vector<entry> const& entries) {
  exchange_case c;
  c.name = std::move(name);
  c.line = entries.front().line;
  bool has_gets = false, has_sees = false, sees_nothing = false;
  for (std::size_t i = 1; i < entries.size(); ++i) {
    entry const& e = entries[i];
    std::string_view const key = e.key;
    if (key == "client" || key.starts_with("client after ")) {
      step s;
      s.bytes = bytes_of(e);
      if (key != "client") s.after = number(key.substr(13), e.line);
      if (c.client.empty() != (key == "client")) throw table_error(e.line, "'client' comes first, and once");
      c.client.push_back(std::move(s));
    } else if (key == "client ends") {
      if (!e.value.empty() || !e.block.empty()) throw table_error(e.line, "'client ends' takes nothing");
      c.client_ends = true;
    } else if (key == "answers" || key == "answers at once" || key == "answers, then closes") {
      answer a;
      a.bytes = bytes_of(e);
      a.at_once = key == "answers at once";
      a.closes = key == "answers, then closes";
      c.answers.push_back(std::move(a));
    } else if (key == "later") {
      if (c.answers.empty()) throw table_error(e.line, "'later' follows an answer");
      c.answers.back().later = bytes_of(e);
    } else if (key == "sees" && e.block.empty()) {
      if (e.value != "nothing" || has_sees) throw table_error(e.line, "'sees: nothing' alone, or lines");
      has_sees = sees_nothing = true;
    } else if (key == "sees" || key == "sees cut") {
      if (sees_nothing) throw table_error(e.line, "'sees' after 'sees: nothing'");
      expected_message m;
      m.text = bytes_of(e);
      m.cut = key == "sees cut";
      c.sees.push_back(std::move(m));
      has_sees = true;
    } else if (key == "gets") {
      if (has_gets) throw table_error(e.line, "a second 'gets'");
      c.gets = end_of(e);
      has_gets = true;
    } else if (key == "cached gets") {
      c.cached_gets = end_of(e);
    } else if (key.starts_with("response ")) {
      expected_detail d;
      d.response = number(key.substr(9), e.line);
      d.text = bytes_of(e);
      c.details.push_back(std::move(d));
    } else if (key == "connections") {
      c.connections = number(e.value, e.line);
    } else if (key == "fails" || key == "not cached" || key == "not dripped") {
      if (e.value.empty() || !e.block.empty()) throw table_error(e.line, "'" + e.key + "' says why");
      (key == "fails" ? c.fails : key == "not cached" ? c.not_cached : c.not_dripped) = e.value;
    } else {
      throw table_error(e.line, "unknown key '" + e.key + "'");
    }
  }
  if (c.client.empty()) throw table_error(c.line, "no 'client'");
  if (!has_sees) throw table_error(c.line, "no 'sees'");
  if (!has_gets) throw table_error(c.line, "no 'gets'");
  if (c.client_ends && c.gets.open) throw table_error(c.line, "a client that ends cannot find out 'open'");
  for (auto const& d : c.details)
    if (d.response == 0 || d.response > c.gets.responses.size()) throw table_error(c.line, "no such response");
  return c;
}

}  // namespace detail

inline std::vector<exchange_case> read_table(std::string_view text) {
  std::vector<exchange_case> out;
  auto const all = detail::entries_of(text);
  for (std::size_t begin = 0; begin < all.size();) {
    if (all[begin].key != "case" || all[begin].value.empty() || !all[begin].block.empty())
      throw table_error(all[begin].line, "'case: NAME' begins a case");
    std::vector<detail::entry> one{all[begin]};
    std::optional<detail::entry> each;
    for (++begin; begin < all.size() && all[begin].key != "case"; ++begin) {
      if (all[begin].key != "each") {
        one.push_back(all[begin]);
        continue;
      }
      if (each) throw table_error(all[begin].line, "a second 'each'");
      if (all[begin].block.empty() || !all[begin].value.empty())
        throw table_error(all[begin].line, "'each' takes lines");
      each = all[begin];
    }
    if (!each) {
      out.push_back(detail::case_of(one.front().value, one));
      continue;
    }
    for (std::size_t i = 0; i < each->block.size(); ++i) {
      auto filled = one;
      std::size_t uses = 0;
      for (auto& e : filled)
        for (auto& line : e.block) uses += detail::substitute(line, each->block[i]);
      if (uses == 0) throw table_error(each->line, "'each' without a \\{} to fill");
      auto c = detail::case_of(one.front().value + " [" + each->block[i] + "]", filled);
      c.line = each->line + 1 + i;
      out.push_back(std::move(c));
    }
  }
  return out;
}

}  // namespace mgw::wire
