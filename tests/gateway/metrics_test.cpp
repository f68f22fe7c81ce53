#include "metrics/request_counts.hpp"

#include "metrics/gateway_facts.hpp"
#include "metrics/process_counts.hpp"
#include "metrics/text.hpp"

#include <support/gateway_fixture.hpp>
#include <support/http_client.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace gateway::metrics_test {
namespace {

using mgw::test::eventually;

/// A server whose requests are counted; its handler answers as the request's path says: `/STATUS`.
struct counted_site {
  request_counts counts;
  mgw::test::gateway g;

  explicit counted_site(std::size_t workers) : counts(workers), g(workers) {
    mgw::proxy::server_options o;
    o.observer = [this](mgw::proxy::exchange const& x) { counts.count(x); };
    g.start([](mgw::proxy::exchange& x) { return answer(x); }, std::move(o));
  }
  ~counted_site() { g.stop(); }

  static asio::awaitable<void> answer(mgw::proxy::exchange& x) {
    auto const path = x.target().path;
    x.notes().route = path.size() > 4 ? mgw::mender::all_routes[0] : std::string_view("/not/a/route");
    if (path == "/closed") {
      x.abort();
      co_return;
    }
    x.notes().cache = "hit";
    x.notes().upstream_error = path == "/502" ? "dns_error" : "";
    x.notes().upstream = std::chrono::milliseconds(path == "/502" ? 30 : 0);
    (void)co_await x.respond(std::stoi(std::string(path.substr(1, 3))), "text/plain", "1234567");
  }
  std::string text() const {
    metrics_text out;
    counts.write(out);
    return out.text();
  }
  bool says(std::string const& line) const { return text().find(line + '\n') != std::string::npos; }
};

}  // namespace

TEST_CASE("metrics text: names, types, labels escaped, numbers that lose nothing") {
  metrics_text out;
  out.family("a_total", "counter", "What it is.");
  out.sample({}, std::uint64_t{18446744073709551615U});
  out.sample({{"x", "a\"b\\c\nd"}, {"y", ""}}, 0.1);
  out.sample({{"le", "+Inf"}}, -7, "_bucket");
  out.single("b", "gauge", "Another.", std::numeric_limits<double>::infinity());
  out.sample({}, std::numeric_limits<double>::quiet_NaN());
  CHECK(out.text() ==
        "# HELP a_total What it is.\n# TYPE a_total counter\n"
        "a_total 18446744073709551615\n"
        "a_total{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 0.1\n"
        "a_total_bucket{le=\"+Inf\"} -7\n"
        "# HELP b Another.\n# TYPE b gauge\nb +Inf\nb NaN\n");
}

TEST_CASE("each status has one label value of a bounded set, whatever servers invent") {
  for (int status = -5; status != 1200; ++status) {
    auto const label = request_counts::statuses[request_counts::status_index(status)];
    CAPTURE(status);
    bool const known = std::find(request_counts::statuses.begin(), request_counts::statuses.end(),
                                 std::to_string(status)) != request_counts::statuses.end();
    if (known)
      CHECK(label == std::to_string(status));
    else if (status >= 100 && status < 600)
      CHECK(label == std::to_string(status / 100) + "xx");
    else
      CHECK(label == "closed");
  }
  CHECK(request_counts::statuses[request_counts::status_index(404)] == "404");
  CHECK(request_counts::statuses[request_counts::status_index(499)] == "4xx");
}

TEST_CASE("N requests on several workers and connections are counted as N, by method, status and route") {
  counted_site s(3);
  constexpr int each = 40, clients = 6;
  std::vector<std::thread> threads;
  for (int i = 0; i != clients; ++i)
    threads.emplace_back([&s] {
      mgw::test::http_client c(s.g.port());
      for (int n = 0; n != each; ++n) {
        (void)c.ask("GET", "/200");
        (void)c.ask("POST", "/502");
        (void)c.ask("BREW", "/299x");
      }
    });
  for (auto& t : threads) t.join();
  auto const n = std::to_string(each * clients);
  std::string const first(mgw::mender::all_routes[0]);
  CHECK(eventually([&] {
    return s.says("mender_gateway_http_requests_total{method=\"GET\",status=\"200\",route=\"none\"} " + n) &&
           s.says("mender_gateway_http_requests_total{method=\"POST\",status=\"502\",route=\"none\"} " + n) &&
           s.says("mender_gateway_http_requests_total{method=\"other\",status=\"2xx\",route=\"" + first + "\"} " + n);
  }));
  CHECK(s.says("mgw_api_upstream_errors_total{error=\"dns_error\"} " + n));
  CHECK(s.says("mgw_upstream_response_seconds_bucket{route=\"none\",le=\"0.025\"} 0"));
  CHECK(s.says("mgw_upstream_response_seconds_bucket{route=\"none\",le=\"0.05\"} " + n));
  CHECK(s.says("mgw_upstream_response_seconds_bucket{route=\"none\",le=\"+Inf\"} " + n));
  CHECK(s.says("mgw_upstream_response_seconds_count{route=\"none\"} " + n));
  CHECK(s.says("mgw_http_first_byte_seconds_count{route=\"" + first + "\"} " + n));
  CHECK(s.says("mgw_http_request_duration_seconds_count{route=\"none\"} " + std::to_string(2 * each * clients)));
  CHECK(s.counts.downloads("hit") == 3 * each * clients);
  CHECK(s.counts.downloads("miss") == 0);
  CHECK(s.counts.downloads("what") == 0);
}

TEST_CASE("bytes are those on the wire, and a connection closed without an answer has no first byte") {
  counted_site s(1);
  mgw::test::reply r;
  {
    mgw::test::http_client c(s.g.port());
    r = c.ask("GET", "/200");
  }
  {
    mgw::test::http_client c(s.g.port());
    CHECK_FALSE(c.ask("GET", "/closed").head.there());
  }
  std::string const first(mgw::mender::all_routes[0]);
  CHECK(eventually([&] {
    return s.says("mender_gateway_http_requests_total{method=\"GET\",status=\"closed\",route=\"" + first + "\"} 1");
  }));
  CHECK(s.says("mender_gateway_http_response_bytes_total{method=\"GET\",status=\"200\",route=\"none\"} " +
               std::to_string(r.head.text.size() + r.body.size())));
  CHECK(s.says("mender_gateway_http_response_bytes_total{method=\"GET\",status=\"closed\",route=\"" + first + "\"} 0"));
  CHECK(s.says("mgw_http_request_duration_seconds_count{route=\"" + first + "\"} 1"));
  CHECK(s.text().find("mgw_http_first_byte_seconds_count{route=\"" + first) == std::string::npos);
}

TEST_CASE("a time is in the bucket whose end it does not pass") {
  time_histogram h;
  h.add(std::chrono::microseconds(1000));
  h.add(std::chrono::microseconds(1001));
  h.add(std::chrono::hours(1));
  h.add(std::chrono::nanoseconds(-5));
  CHECK(h.in(0) == 2);
  CHECK(h.in(1) == 1);
  CHECK(h.in(time_histogram::ends.size()) == 1);
  CHECK(h.nanoseconds() == 3'600'002'001'000);
}

TEST_CASE("what there is not is not told: a cache, a management API, certificates") {
  gateway_facts f;
  f.connections = 7;
  f.fetch_errors[mgw::proxy::upstream_error_index("dns_error")] = 3;
  metrics_text out;
  write_facts(out, f);
  CHECK(out.text().find("mgw_connections 7\n") != std::string::npos);
  CHECK(out.text().find("mgw_artifact_upstream_errors_total{error=\"dns_error\"} 3\n") != std::string::npos);
  for (auto const* absent : {"mgw_cache_", "mgw_management_", "mgw_certificate_"})
    CHECK(out.text().find(absent) == std::string::npos);
  management_counts calls;
  for (int const status : {0, 200, 201, 409, 503, 999}) calls.count(status);
  f.management = &calls;
  f.cache.emplace().bytes = 5;
  f.certificates.emplace_back("server", 1'800'000'000);
  metrics_text more;
  write_facts(more, f);
  for (auto const* line :
       {"mgw_cache_bytes 5\n", "mgw_management_calls_total{status=\"none\"} 2\n",
        "mgw_management_calls_total{status=\"2xx\"} 2\n", "mgw_management_calls_total{status=\"4xx\"} 1\n",
        "mgw_management_calls_total{status=\"5xx\"} 1\n",
        "mgw_certificate_expiry_timestamp_seconds{certificate=\"server\"} 1800000000\n"})
    CHECK(more.text().find(line) != std::string::npos);
}

TEST_CASE("the process tells what Prometheus' own libraries tell") {
  metrics_text out;
  write_process(out);
  for (auto const* name : {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_virtual_memory_bytes",
                           "process_start_time_seconds", "process_open_fds", "process_max_fds"})
    CHECK(out.text().find(std::string("\n") + name + ' ') != std::string::npos);
}

TEST_CASE("every fault of an upstream has a name among those that are counted") {
  using mgw::upstream::error;
  using mgw::upstream::hop;
  for (int e = 1; e <= static_cast<int>(error::private_address); ++e)
    for (auto const where : {hop::dns, hop::proxy, hop::tcp, hop::tls, hop::request, hop::response}) {
      mgw::proxy::forward_outcome o;
      o.ec = make_error_code(static_cast<error>(e));
      o.hop = where;
      CHECK(mgw::proxy::upstream_error_index(mgw::proxy::proxy_error_type(o)) <
            mgw::proxy::upstream_error_types.size());
    }
  CHECK(mgw::proxy::upstream_error_index("") == mgw::proxy::upstream_error_types.size());
}

}  // namespace gateway::metrics_test
