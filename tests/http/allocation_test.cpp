// Counts allocations: the only file of this program that replaces the global operator new.
#include <mgw/http/body_decoder.hpp>
#include <mgw/http/serializer.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdlib>
#include <new>
#include <ostream>
#include <string>
#include <string_view>

namespace {
std::size_t allocations = 0;
}

void* operator new(std::size_t n) {
  ++allocations;
  if (void* const p = std::malloc(n != 0 ? n : 1)) return p;
  throw std::bad_alloc{};
}
void* operator new[](std::size_t n) {
  return operator new(n);
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, std::size_t) noexcept {
  std::free(p);
}
void operator delete[](void* p) noexcept {
  std::free(p);
}
void operator delete[](void* p, std::size_t) noexcept {
  std::free(p);
}

namespace mgw::http::allocation_test {

TEST_CASE("the second message of a connection allocates nothing") {
  std::string_view const request =
      "POST /api/devices/v1/x HTTP/1.1\r\nHost: h\r\nA: 1\r\nB: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
  std::string_view const body = "5\r\nhello\r\n0\r\n\r\n";
  std::string_view const response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: 1\r\nB: 2\r\n\r\n";
  request_parser requests;
  response_parser responses;
  request_head q;
  response_head p;
  std::string out;
  bool good = true;
  for (int round = 0; round < 3; ++round) {
    std::size_t const before = allocations;
    out.clear();
    for (std::size_t n = round == 1 ? 0 : request.size(); n <= request.size(); ++n)  // once byte by byte
      good = good && *requests.parse(request.substr(0, n), q) == (n == request.size() ? n : 0);
    auto const framed = request_framing(q);
    body_decoder d(*framed);
    good = good && d.next(body)->body == "hello" && d.next(body.substr(8))->done;
    good = good && *responses.parse(response, p) == response.size();
    good = good && append_request_line(out, q.method, q.target);
    for (auto const& f : q.fields) good = good && append_field(out, f.name, f.value);
    end_head(out);
    if (round != 0) CHECK(allocations == before);
  }
  CHECK(good);
  CHECK(allocations != 0);
}

}  // namespace mgw::http::allocation_test
