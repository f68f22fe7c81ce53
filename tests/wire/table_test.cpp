#include <wire/readers.hpp>
#include <wire/table.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::wire::table_test {
namespace {

std::string error_of(std::string_view text) {
  try {
    (void)read_table(text);
  } catch (table_error const& e) {
    return e.what();
  }
  return "none";
}

constexpr std::string_view whole =
    "# a comment\n"
    "case: RFC 9112 6.3: name\n"
    "each:\n"
    "  |1\n"
    "  |\\x32\n"
    "client:\n"
    "  |A\\r\\n\\t\\0\\s\\\\\\x7f\\{}\n"
    "  |\\{b\\{c*2}*2}\\\n"
    "client after 100:\n"
    "  |L: \\#\n"
    "  |\n"
    "  |four\\\n"
    "client ends:\n"
    "\n"
    "answers at once:\n"
    "  |X\n"
    "later:\n"
    "  |Y\n"
    "answers, then closes:\n"
    "  |\n"
    "sees:\n"
    "  |GET / HTTP/1.1\n"
    "sees cut:\n"
    "  |G\n"
    "gets: 100?, 200 to HEAD, 200 cut, closed\n"
    "cached gets: closed\n"
    "response 1:\n"
    "  |!X\n"
    "connections: 3\n"
    "not cached: because\n"
    "not dripped: since\n"
    "fails: not yet\n";

}  // namespace

TEST_CASE("a table is read as it is written") {
  auto const all = read_table(whole);
  REQUIRE(all.size() == 2);
  exchange_case const& c = all[1];
  CHECK(all[0].name == "RFC 9112 6.3: name [1]");
  CHECK(c.name == "RFC 9112 6.3: name [\\x32]");
  CHECK(c.line == 5);
  REQUIRE(c.client.size() == 2);
  CHECK(c.client[0].bytes == std::string("A\r\n\t\0 \\\x7f", 8) + "2\r\nbccbcc");
  CHECK(c.client[1].after == 100);
  CHECK(c.client[1].bytes == "L: 4\r\n\r\nfour");
  CHECK(c.client_ends);
  REQUIRE(c.answers.size() == 2);
  CHECK((c.answers[0].at_once && !c.answers[0].closes && c.answers[0].later == "Y\r\n"));
  CHECK((!c.answers[1].at_once && c.answers[1].closes && c.answers[1].bytes == "\r\n"));
  REQUIRE(c.sees.size() == 2);
  CHECK((!c.sees[0].cut && c.sees[1].cut));
  REQUIRE(c.gets.responses.size() == 3);
  CHECK((c.gets.responses[0].optional && c.gets.responses[1].to_head && c.gets.responses[2].cut && !c.gets.open));
  CHECK((c.cached_gets && c.cached_gets->responses.empty()));
  CHECK(c.details.at(0).response == 1);
  CHECK(c.connections == 3u);
  CHECK(c.not_cached == "because");
  CHECK(c.not_dripped == "since");
  CHECK(c.fails == "not yet");
}

TEST_CASE("a mistake in a table is named with its line") {
  std::string const client = "case: a\nclient:\n  |A\n", rest = "sees: nothing\ngets: 400, closed\n";
  CHECK(error_of(client + rest) == "none");
  struct {
    std::string text, begin;
  } const cases[] = {
      {"gets: 400, closed\n", "line 1: 'case: NAME'"},
      {"case:\n", "line 1: 'case: NAME'"},
      {"  |A\n", "line 1: a line of bytes before"},
      {client + "\n  |B\n" + rest, "line 5: a line of bytes apart"},
      {client + "GETS: 1\n" + rest, "line 4: unknown key 'GETS'"},
      {client + "respons 1:\n  |X\n" + rest, "line 4: unknown key"},
      {client + "gets 400\n" + rest, "line 4: neither"},
      {client + " |B\n" + rest, "line 4: neither"},
      {client + "  B\n" + rest, "line 4: neither"},
      {client + "sees: nothing\n", "line 1: no 'gets'"},
      {client + "gets: 400, closed\n", "line 1: no 'sees'"},
      {"case: a\n" + rest, "line 1: no 'client'"},
      {"case: a\nclient:\n" + rest, "line 2: 'client' has no lines"},
      {"case: a\nclient: A\n" + rest, "line 2: 'client' takes lines"},
      {"case: a\nclient after 1:\n  |A\n" + rest, "line 2: 'client' comes first"},
      {client + "client:\n  |B\n" + rest, "line 4: 'client' comes first"},
      {client + "client after x:\n  |B\n" + rest, "line 4: 'x' is no number"},
      {client + "client ends: yes\n" + rest, "line 4: 'client ends' takes nothing"},
      {client + "client ends:\nsees: nothing\ngets: 200, open\n", "line 1: a client that ends"},
      {client + "later:\n  |A\n" + rest, "line 4: 'later' follows"},
      {client + "sees: something\n" + rest, "line 4: 'sees: nothing'"},
      {client + rest + "sees:\n  |A\n", "line 6: 'sees' after"},
      {client + rest + "sees: nothing\n", "line 6: 'sees: nothing'"},
      {client + rest + "gets: closed\n", "line 6: a second 'gets'"},
      {client + "sees: nothing\ngets: 400\n", "line 5: the last word"},
      {client + "sees: nothing\ngets: 400, ajar\n", "line 5: the last word"},
      {client + "sees: nothing\ngets: 4x0, closed\n", "line 5: '4x0' is no number"},
      {client + "sees: nothing\ngets: 400 tohead, closed\n", "line 5: after a status"},
      {client + "sees: nothing\ngets: 400, closed\n  |A\n", "line 5: 'gets' takes no lines"},
      {client + rest + "response 2:\n  |X\n", "line 1: no such response"},
      {client + rest + "response 0:\n  |X\n", "line 1: no such response"},
      {client + rest + "connections: many\n", "line 6: 'many' is no number"},
      {client + rest + "fails:\n", "line 6: 'fails' says why"},
      {client + rest + "each:\n  |1\n", "line 6: 'each' without"},
      {client + rest + "each:\n", "line 6: 'each' takes lines"},
      {"case: a\neach:\n  |1\neach:\n  |2\n" + rest, "line 4: a second 'each'"},
      {"case: a\nclient:\n  |A\n  |\\q\n" + rest, "line 4: unknown escape \\q"},
      {"case: a\nclient:\n  |\\x4\n" + rest, "line 3: \\x wants"},
      {"case: a\nclient:\n  |\\xg0\n" + rest, "line 3: \\x wants"},
      {"case: a\nclient:\n  |\\{}\n" + rest, "line 3: \\{ wants"},
      {"case: a\nclient:\n  |\\{a*3\n" + rest, "line 3: \\{ wants"},
      {"case: a\nclient:\n  |\\{a*b}\n" + rest, "line 3: 'b' is no number"},
      {"case: a\nclient:\n  |\\#\n" + rest, "line 2: \\# without a body"},
  };
  for (auto const& c : cases) {
    CAPTURE(c.text);
    std::string const got = error_of(c.text);
    CHECK_MESSAGE(got.starts_with(c.begin), got);
  }
}

// If the two origins could not be told apart, nothing that the exchanges say about smuggling would count.
TEST_CASE("origins of two beliefs read smuggled requests differently, and clean ones alike") {
  lenient_reader const by_length(belief::length_first), by_coding(belief::coding_first);
  std::string const head = "POST / HTTP/1.1\r\nHost: a\r\n";
  for (std::string const framing :
       {"Content-Length: 6\r\nTransfer-Encoding: chunked", "Content-Length: 6\nTransfer-Encoding : chunked",
        "Transfer-Encoding:\r\n chunked\r\nContent-Length: 6", "content-length: 6\r\ntransfer-encoding: xchunked"}) {
    std::string const bytes = head + framing + "\r\n\r\n0\r\n\r\nGGET / HTTP/1.1\r\n\r\n";
    CAPTURE(bytes);
    CHECK(by_length.read(bytes) != by_coding.read(bytes));
    CHECK_FALSE(fault_of_requests(bytes, by_coding.read(bytes)).empty());
  }
  for (std::string const clean : {"Content-Length: 5\r\n\r\nhello",
                                  "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "X: y\r\n\r\n"}) {
    std::string const bytes = head + clean + "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    CAPTURE(bytes);
    auto const read = by_length.read(bytes);
    CHECK(read == by_coding.read(bytes));
    CHECK(read.size() == 2);
    CHECK(fault_of_requests(bytes, read) == "");
  }
}

TEST_CASE("what leaves malformed is noticed") {
  lenient_reader const reader(belief::coding_first);
  for (std::string const bad :
       {"GET / HTTP/1.1\nHost: a\n\n", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n"}) {
    CAPTURE(bad);
    CHECK_FALSE(fault_of_requests(bad, reader.read(bad)).empty());
  }
  auto const never = [](std::size_t, int) { return false; };
  for (std::string const bad : {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "HTTP/1.1 200OK\r\nContent-Length: 0\r\n\r\n",
                                "hello", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
                                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokEXTRA",
                                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
                                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokok\r\n0\r\n\r\n"}) {
    CAPTURE(bad);
    std::string why;
    (void)read_responses(bad, true, never, why);
    CHECK_FALSE(why.empty());
  }
}

}  // namespace mgw::wire::table_test
