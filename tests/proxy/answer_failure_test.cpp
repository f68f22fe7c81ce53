#include <mgw/proxy/answer_failure.hpp>

#include <mgw/proxy/forward.hpp>

#include <support/http_client.hpp>
#include <support/origin.hpp>
#include <support/relay.hpp>
#include <support/scripted_server.hpp>

#include <doctest/doctest.h>

#include <openssl/x509_vfy.h>
#include <chrono>
#include <string>
#include <string_view>

namespace mgw::proxy::answer_failure_test {
namespace {

using test::blocking_socket;
using test::origin;
using test::relay;
using test::reply;
using test::scripted_server;
using upstream::error;
using upstream::hop;

struct fault {
  std::error_code ec;
  hop at;
  std::string_view type;
  fault(std::error_code e, hop h, std::string_view t) : ec(e), at(h), type(t) {}
};

}  // namespace

TEST_CASE("RFC 9209 2.3: every failure has the error type that fits") {
  using http::parse_error;
  fault const all[] = {
      {std::make_error_code(std::errc::invalid_argument), hop::dns, "dns_error"},
      {asio::error::connection_refused, hop::tcp, "connection_refused"},
      {asio::error::host_unreachable, hop::tcp, "destination_unavailable"},
      {error::connect_timeout, hop::tcp, "connection_timeout"},
      {error::connect_timeout, hop::tls, "connection_timeout"},
      {net::verify_error(X509_V_ERR_CERT_HAS_EXPIRED), hop::tls, "tls_certificate_error"},
      {net::tls_error::failed, hop::tls, "tls_protocol_error"},
      {asio::error::connection_reset, hop::request, "connection_terminated"},
      {error::response_timeout, hop::request, "connection_write_timeout"},
      {error::response_timeout, hop::response, "http_response_timeout"},
      {error::body_timeout, hop::response, "connection_read_timeout"},
      {error::closed_before_head, hop::response, "connection_terminated"},
      {asio::error::connection_reset, hop::response, "connection_terminated"},
      {error::truncated_head, hop::response, "http_response_incomplete"},
      {make_error_code(parse_error::truncated_body), hop::response, "http_response_incomplete"},
      {make_error_code(parse_error::body_too_large), hop::response, "http_response_body_size"},
      {make_error_code(parse_error::head_too_large), hop::response, "http_response_header_section_size"},
      {make_error_code(parse_error::too_many_fields), hop::response, "http_response_header_section_size"},
      {make_error_code(parse_error::unknown_transfer_coding), hop::response, "http_response_transfer_coding"},
      {make_error_code(parse_error::bad_content_length), hop::response, "http_protocol_error"},
      {error::unasked_upgrade, hop::response, "http_protocol_error"},
      {error::too_many_interim_responses, hop::response, "http_protocol_error"},
      {error::max_forwards, hop::none, "proxy_internal_response"},
  };
  for (auto const& f : all) {
    CAPTURE(f.ec.message());
    forward_outcome o;
    o.ec = f.ec;
    o.hop = f.at;
    CHECK(proxy_error_type(o) == f.type);
  }
  CHECK(proxy_error_type(client_fault(error::loop, 508)) == "proxy_loop_detected");
  CHECK(proxy_error_type(client_fault(make_error_code(parse_error::body_too_large), 413)) == "http_request_error");
}

TEST_CASE("RFC 9209 2: an answer of ours says so in Proxy-Status, and why; one that is passed on does not") {
  auto const status = [](std::uint16_t port, std::string_view method = "GET") {
    forward_options f = test::forward_to(port);
    f.exchange.response_timeout = std::chrono::milliseconds(100);
    std::string const us = f.pseudonym + "; error=";
    relay r(f);
    reply const got = test::http_client(r.port()).ask(method, "/", {{"Max-Forwards", "0"}});
    std::string value = got.value("Proxy-Status");
    if (value.starts_with(us)) value.erase(0, us.size());
    return std::to_string(got.status()) + ' ' + value;
  };
  origin o("ok");
  CHECK(status(o.port()) == "200 ");
  CHECK(status(o.port(), "OPTIONS") == "200 proxy_internal_response");
  CHECK(status(o.port(), "TRACE") == "501 proxy_internal_response");
  CHECK(o.count() == 1);
  o.refuse();
  CHECK(status(o.port()) == "502 connection_refused");
  scripted_server const garbled([](blocking_socket& c) {
    std::string unread;
    scripted_server::read_head(c, unread);
    c.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
  });
  CHECK(status(garbled.port()) == "502 http_protocol_error");
  scripted_server const silent([](blocking_socket& c) {
    std::string unread;
    while (c.receive(unread)) {
    }
  });
  CHECK(status(silent.port()) == "504 http_response_timeout");
  scripted_server const relayed([](blocking_socket& c) {
    std::string unread;
    scripted_server::read_head(c, unread);
    c.send("HTTP/1.1 502 Bad Gateway\r\nProxy-Status: far; error=dns_error\r\nContent-Length: 0\r\n\r\n");
  });
  CHECK(status(relayed.port()) == "502 far; error=dns_error");
}

}  // namespace mgw::proxy::answer_failure_test
