// Properties of answers to a poll, held against another JSON parser: what that refuses is refused; the URI and the
// fields found are those that it finds; after the URI was replaced, nothing but the URI is another.
// Input: the new URI, a line feed, the body.
#include "property.hpp"

#include <mgw/mender/deployments.hpp>
#include <mgw/mender/json_scanner.hpp>

#include <boost/json/src.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

namespace json = boost::json;

json::value parse(std::string_view text, boost::system::error_code& ec) {
  json::parse_options how;
  how.max_depth = 256;
  return json::parse(json::string_view(text.data(), text.size()), ec, {}, how);
}

// Numbers that are JSON but fit no machine are a matter of the other parser.
bool is_about_size(boost::system::error_code const& ec) {
  return ec == json::error::exponent_overflow;
}

void check(std::string_view input) {
  std::size_t const end = std::min(input.find('\n'), input.size());
  std::string_view const new_uri = input.substr(0, end);
  exact_copy const body(input.substr(std::min(end + 1, input.size())));

  auto const found = mender::find_artifact_source(body.view());
  must(!found || body.view().size() <= mender::max_deployment_size, "what is too long is not looked into");
  boost::system::error_code ec;
  json::value value = parse(body.view(), ec);
  if (ec) {
    must(!found || is_about_size(ec), "what is no JSON is refused");
    return;
  }
  if (!found) return;  // stricter: too deep
  if (!*found) return;
  mender::artifact_source const& source = **found;
  must(source.uri_offset <= body.view().size() && source.uri_size <= body.view().size() - source.uri_offset,
       "the URI lies in the body");
  json::value* uri = nullptr;
  json::value* header = nullptr;
  json::value* at = &value;
  for (char const* name : {"artifact", "source"}) {
    must(at->is_object(), "the way to the URI leads through objects");
    at = at->as_object().if_contains(name);
    must(at != nullptr, "the way to the URI is there");
  }
  must(at->is_object(), "a source is an object");
  uri = at->as_object().if_contains("uri");
  header = at->as_object().if_contains("header");
  must(uri != nullptr && uri->is_string(), "the URI is a string");
  must(source.uri == std::string_view(uri->as_string().data(), uri->as_string().size()), "the URI is the one found");
  must(source.headers.size() <= mender::max_source_fields, "the fields are bounded");
  if (header != nullptr && header->is_object())
    for (auto const& member : header->as_object()) {
      std::string_view const name(member.key().data(), member.key().size());
      must(member.value().is_string(), "a field is a string");
      std::string_view const text(member.value().as_string().data(), member.value().as_string().size());
      must(std::any_of(source.headers.begin(), source.headers.end(),
                       [&](auto const& h) { return h.first == name && h.second == text; }),
           "a field that is there is found");
    }
  else
    must(source.headers.empty(), "without fields none is found");

  std::string const replaced = mender::replace_uri(body.view(), source, new_uri);
  boost::system::error_code ec2;
  json::value const after = parse(replaced, ec2);
  must(!ec2, "a body with another URI is JSON");
  std::string written;
  mender::append_json_string(written, new_uri);
  boost::system::error_code ec3;
  json::value const wanted = parse(written, ec3);
  must(!ec3 && wanted.is_string(), "a URI is written as a string");
  bool ascii = std::all_of(new_uri.begin(), new_uri.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  must(!ascii || std::string_view(wanted.as_string().data(), wanted.as_string().size()) == new_uri,
       "a URI is written as it is");
  *uri = wanted;
  json::value const same(value);
  must(after == value || same != value, "nothing but the URI is another");  // a number that overflowed may be NaN
  auto const again = mender::find_artifact_source(replaced);
  bool const plain = !new_uri.empty() && std::all_of(new_uri.begin(), new_uri.end(), [](char c) {
    return static_cast<unsigned char>(c) > 0x20 && c != 0x7f;
  });
  if (plain && replaced.size() <= mender::max_deployment_size)
    must(again && *again && (**again).headers == source.headers, "the new URI is found in its place");
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
