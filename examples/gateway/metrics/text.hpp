#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace gateway {

/// Writes Prometheus' text format: families one after another, the samples of each directly behind it.
///
/// Names and label names are literals of ours; label values may be any text. Source: Prometheus' exposition formats,
/// text format 0.0.4. Why none of the client libraries: what is counted lies in cells of the workers' own, and is text
/// only when it is asked for; a library would want a counter of its own, shared by all threads, for each of them.
class metrics_text {
public:
  static constexpr std::string_view content_type = "text/plain; version=0.0.4; charset=utf-8";
  using labels = std::initializer_list<std::pair<std::string_view, std::string_view>>;

  /// Begins a family. `type`: counter, gauge or histogram. `help`: one line.
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    out_.append("# HELP ").append(name).append(" ").append(help).append("\n# TYPE ");
    out_.append(name).append(" ").append(type).append("\n");
  }
  /// A sample of the family begun last. `suffix` is for histograms.
  template <class N>
  void sample(labels l, N value, std::string_view suffix = {}) {
    out_.append(name_).append(suffix);
    char before = '{';
    for (auto const& [name, text] : l) {
      (out_ += before).append(name).append("=\"");
      append_value(text);
      out_ += '"';
      before = ',';
    }
    if (before != '{') out_ += '}';
    out_ += ' ';
    append_number(value);
    out_ += '\n';
  }
  /// A family with one sample.
  template <class N>
  void single(std::string_view name, std::string_view type, std::string_view help, N value) {
    family(name, type, help);
    sample({}, value);
  }

  std::string const& text() const noexcept { return out_; }

private:
  void append_value(std::string_view text) {
    for (char const c : text)
      if (c == '\n')
        out_ += "\\n";
      else if (c == '"' || c == '\\')
        (out_ += '\\') += c;
      else
        out_ += c;
  }
  void append_number(double value) {
    if (std::isnan(value)) {
      out_ += "NaN";
    } else if (std::isinf(value)) {
      out_ += value < 0 ? "-Inf" : "+Inf";
    } else {
      std::array<char, 32> digits;
      auto const end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
      out_.append(digits.data(), end);
    }
  }
  void append_number(std::uint64_t value) { out_ += std::to_string(value); }
  void append_number(std::int64_t value) { out_ += std::to_string(value); }
  void append_number(int value) { out_ += std::to_string(value); }

  std::string out_;
  std::string name_;
};

}  // namespace gateway
