// Properties of URIs: the parts put together are the text; what resolves is a URI that resolves to itself; dot segments
// go as RFC 3986 5.2.4 says, step by step. Input: the base, a line feed, the reference.
#include "property.hpp"

#include <mgw/http/uri.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

// RFC 3986 5.2.4 to the letter, for absolute paths.
std::string without_dots(std::string in) {
  std::string out;
  auto const drop_last = [&out] { out.resize(out.rfind('/') == std::string::npos ? 0 : out.rfind('/')); };
  while (!in.empty()) {
    if (in.starts_with("/./")) {
      in.erase(0, 2);
    } else if (in == "/.") {
      in = "/";
    } else if (in.starts_with("/../")) {
      in.erase(0, 3);
      drop_last();
    } else if (in == "/..") {
      in = "/";
      drop_last();
    } else {
      std::size_t const end = in.find('/', 1);
      out += in.substr(0, end);
      in.erase(0, end);
    }
  }
  return out;
}

void check_uri(std::string_view text, http::uri const& u) {
  std::string again = std::string(u.scheme) + "://" + std::string(u.authority);
  std::string_view const whole = text.substr(0, text.find('#'));
  if (again.size() != whole.size()) again += u.target;
  must(again == whole, "the parts put together are the URI");
  auto const where = http::parse_host_and_port(u.authority);
  must(where && where->host == u.host, "the host is the authority's");
  must(where->port.has_value() == u.explicit_port, "an explicit port is the authority's");
  must(u.port != 0 && (!where->port || *where->port == u.port), "the port is the authority's");
  must(u.tls == (u.scheme.size() == 5), "https is TLS");
  must(u.request_target().starts_with('/'), "a request target begins with a slash");
  must(u.path.starts_with('/'), "a path begins with a slash");
  std::string const path_and_query = std::string(u.path) + (u.has_query ? "?" + std::string(u.query) : std::string());
  must(u.request_target() == path_and_query, "the request target is path and query");
}

void check(std::string_view input) {
  std::size_t const end = input.find('\n');
  exact_copy const base_text(input.substr(0, end));
  exact_copy const reference(end == std::string_view::npos ? std::string_view() : input.substr(end + 1));
  for (auto const* t : {&base_text, &reference})
    if (t->view().starts_with('/')) {
      std::string const clean = http::remove_dot_segments(t->view());
      must(clean == without_dots(std::string(t->view())), "dot segments go as RFC 3986 5.2.4 says");
      must(http::remove_dot_segments(clean) == clean, "removing dot segments twice is removing them once");
    }
  auto const host = http::parse_host_and_port(reference.view());
  must(!host || reference.view().starts_with(host->host), "a host begins its text");

  auto const base = http::parse_uri(base_text.view());
  if (!base) return;
  check_uri(base_text.view(), *base);
  auto const resolved = http::resolve_reference(*base, reference.view());
  if (!resolved) return;
  must(resolved->find('#') == std::string::npos, "a resolved URI has no fragment");
  auto const u = http::parse_uri(*resolved);
  must(static_cast<bool>(u), "what was resolved is a URI");
  check_uri(*resolved, *u);
  auto const again = http::resolve_reference(*base, *resolved);
  must(again && *again == *resolved, "an absolute reference stands as it is");
  auto const self = http::resolve_reference(*u, "");
  must(self && http::parse_uri(*self)->request_target() == u->request_target(), "an empty reference is the same place");
  std::string_view const r = reference.view();
  if (r.starts_with('/') && !r.starts_with("//")) {
    must(u->authority == base->authority && u->scheme == base->scheme, "a path stays on its host");
    must(u->path == without_dots(std::string(r.substr(0, r.find_first_of("?#")))), "a path is cleaned of dots");
  }
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
