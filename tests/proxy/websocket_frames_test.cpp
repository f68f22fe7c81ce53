#include <mgw/proxy/websocket_frames.hpp>

#include <support/websocket.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::proxy::websocket_frames_test {
namespace {

using test::ws_frame;

/// The offsets at which it is between two frames.
std::vector<std::size_t> boundaries(std::string_view wire, bool masked, std::size_t piece) {
  websocket_frames f(masked);
  std::vector<std::size_t> out;
  for (std::size_t at = 0; at < wire.size();) {
    std::size_t const n = std::min(piece, wire.size() - at);
    f.pass(wire.substr(at, n));
    at += n;
    if (f.at_boundary()) out.push_back(at);
    CHECK(f.at_boundary() != f.within_frame());
  }
  return out;
}

}  // namespace

TEST_CASE("RFC 6455 5.2: frames end where their heads say, however they are cut") {
  for (bool const masked : {false, true}) {
    std::string wire;
    std::vector<std::size_t> ends;
    for (std::size_t const n : std::vector<std::size_t>{0, 1, 125, 126, 127, 65535, 65536, 70000}) {
      wire += ws_frame(2, std::string(n, 'x'), masked);
      ends.push_back(wire.size());
    }
    wire += ws_frame(9, "ping", masked);
    ends.push_back(wire.size());
    CHECK(boundaries(wire, masked, 1) == ends);
    for (std::size_t const piece : {std::size_t{2}, std::size_t{3}, std::size_t{4096}}) {
      std::vector<std::size_t> expected;  // those that a cut falls on
      for (std::size_t const e : ends)
        if (e % piece == 0 || e == wire.size()) expected.push_back(e);
      CHECK(boundaries(wire, masked, piece) == expected);
    }
  }
}

TEST_CASE("RFC 6455 5.5: what cannot be a frame leaves no boundaries to be known") {
  struct row {
    std::string wire;
    bool masked;
  };
  for (auto const& [wire, masked] :
       std::vector<row>{{"hello", false},                             // reserved bits
                        {std::string("\x83\x00", 2), false},          // a reserved opcode
                        {std::string("\x8B\x00", 2), false},          // a reserved control opcode
                        {std::string("\x09\x00", 2), false},          // a control frame that goes on
                        {std::string("\x89\x7E\x01\x00", 4), false},  // a long one
                        {std::string("\x82\x00", 2), true},           // no mask
                        {ws_frame(2, "x", true), false},              // a mask
                        {"\x82\x7F\xFF" + std::string(7, '\0'), false}}) {
    websocket_frames f(masked);
    f.pass(wire);
    f.pass(ws_frame(2, "x", masked));
    CHECK_FALSE(f.at_boundary());
    CHECK_FALSE(f.within_frame());
  }
  websocket_frames compressed(false);
  compressed.pass(std::string("\xC2\x01x", 3));
  CHECK(compressed.at_boundary());
}

TEST_CASE("RFC 6455 5.5.1: a close frame is known from its first byte") {
  for (bool const masked : {false, true}) {
    websocket_frames f(masked);
    f.pass(ws_frame(1, "text", masked));
    CHECK_FALSE(f.closed());
    std::string const close = going_away(masked);
    f.pass(close.substr(0, 1));
    CHECK(f.closed());
    CHECK(f.within_frame());
    f.pass(close.substr(1));
    CHECK(f.at_boundary());
    CHECK(test::ws_payload(close) == "\x03\xE9");
  }
}

}  // namespace mgw::proxy::websocket_frames_test
