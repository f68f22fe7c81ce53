#pragma once

#include <mgw/http/fields.hpp>
#include <mgw/http/serializer.hpp>

#include <string>

namespace mgw::proxy {

/// The question how long an object is whose 200 does not say it: the object is asked for once more, as the range that
/// is all of it, whose total is the length; and once more if it was replaced meanwhile. Thread rule: none of its own.
class length_question {
public:
  /// The next request is the question.
  bool is_next() const noexcept { return !fields_.empty(); }
  /// Its field lines.
  std::string const& fields() const noexcept { return fields_; }
  /// Nothing tells it: the object goes out without.
  bool given_up() const noexcept { return given_up_; }

  /// For all of what was answered just now.
  void ask(http::fields const& answer) {
    ++asked_;
    http::append_field(fields_, "Range", "bytes=0-");
    auto const etag = answer.value("ETag"), modified = answer.value("Last-Modified");
    bool const strong = etag.starts_with('"');
    if (!strong && modified.empty()) return;
    http::append_field(fields_, strong ? "If-Match" : "If-Unmodified-Since", strong ? etag : modified);
    http::append_field(fields_, "If-Range", strong ? etag : modified);
  }
  /// The object is asked for as at first.
  void withdraw() noexcept { fields_.clear(); }
  void give_up() noexcept { given_up_ = true; }
  /// The question was answered with this status, and not told.
  void not_told(int status) noexcept {
    withdraw();
    given_up_ = status != 412 || asked_ > 1;
  }

private:
  std::string fields_;
  int asked_ = 0;
  bool given_up_ = false;
};

}  // namespace mgw::proxy
