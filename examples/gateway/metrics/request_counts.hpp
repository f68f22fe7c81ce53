#pragma once

#include "metrics/text.hpp"

#include <mgw/mender/device_api.hpp>
#include <mgw/proxy/error_type.hpp>
#include <mgw/proxy/exchange.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>
#include <tuple>
#include <vector>

namespace gateway {

/// A number that one thread counts and any thread reads: no locked instruction, no cache line that two threads write.
class counter_cell {
public:
  void add(std::uint64_t n = 1) noexcept {
    n_.store(n_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t value() const noexcept { return n_.load(std::memory_order_relaxed); }

private:
  std::atomic<std::uint64_t> n_{0};
};

/// Times in buckets. One thread counts, any reads; a reader may see a time in its bucket before it sees it in the sum.
class time_histogram {
public:
  /// Upper ends in seconds: from a call of the device API to a download over a slow link.
  static constexpr std::array<double, 16> ends = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                                  0.5,   1,      2.5,   10,   30,    60,   300, 1800};

  void add(std::chrono::steady_clock::duration d) noexcept {
    double const seconds = std::chrono::duration<double>(d).count();
    auto const at = std::lower_bound(ends.begin(), ends.end(), seconds);
    in_[static_cast<std::size_t>(at - ends.begin())].add();
    nanoseconds_.add(static_cast<std::uint64_t>(std::max<std::int64_t>(0, std::chrono::nanoseconds(d).count())));
  }
  std::uint64_t in(std::size_t bucket) const noexcept { return in_[bucket].value(); }
  std::uint64_t nanoseconds() const noexcept { return nanoseconds_.value(); }

private:
  std::array<counter_cell, ends.size() + 1> in_;
  counter_cell nanoseconds_;
};

/// What is counted of requests, by method, status and route: `count` once for each, on its worker; `write` on any
/// thread sums what the workers have. Of the labels there is a bounded number each, whatever clients and servers send.
/// No allocation but the first time that a method and a route come together on a worker.
class request_counts {
public:
  explicit request_counts(std::size_t workers) {
    for (std::size_t i = 0; i != workers; ++i) workers_.push_back(std::make_unique<of_worker>());
  }

  void count(mgw::proxy::exchange const& x) noexcept;
  /// The families of requests.
  void write(metrics_text& out) const;

  /// How downloads were answered, over all workers: `hit`, `joined`, `miss` or `bypass`.
  std::uint64_t downloads(std::string_view result) const noexcept {
    std::size_t const r = index_in(results, result);
    return r == results.size() ? 0 : total([r](of_worker const& w) { return w.downloads[r].value(); });
  }

  static constexpr std::array<std::string_view, 4> results = {"hit", "joined", "miss", "bypass"};
  static constexpr std::array<std::string_view, 10> methods = {"GET",    "HEAD",    "POST",    "PUT",   "PATCH",
                                                               "DELETE", "OPTIONS", "CONNECT", "TRACE", "other"};
  /// Label values of statuses: the registered ones, those of each class that are not, and `closed` for a connection
  /// that ended without an answer. Source: the IANA registry of RFC 9110 16.2.1.
  static constexpr std::array<std::string_view, 68> statuses = {
      "100", "101", "102", "103", "200", "201", "202", "203", "204", "205", "206", "207",   "208", "226",
      "300", "301", "302", "303", "304", "305", "307", "308", "400", "401", "402", "403",   "404", "405",
      "406", "407", "408", "409", "410", "411", "412", "413", "414", "415", "416", "417",   "418", "421",
      "422", "423", "424", "425", "426", "428", "429", "431", "451", "500", "501", "502",   "503", "504",
      "505", "506", "507", "508", "510", "511", "1xx", "2xx", "3xx", "4xx", "5xx", "closed"};
  /// Where a status stands there; 0: the connection was closed without one.
  static std::size_t status_index(int status) noexcept;

private:
  struct answered {  // by status
    struct {
      counter_cell requests, bytes;
    } of[statuses.size()];
  };
  using route_list = decltype(mgw::mender::all_routes);
  static constexpr std::size_t routes = std::tuple_size_v<route_list> + 1;  // and those without a route
  struct alignas(64) of_worker {
    of_worker() = default;
    of_worker(of_worker const&) = delete;
    of_worker& operator=(of_worker const&) = delete;
    ~of_worker() {
      for (auto& row : answers) delete row.load(std::memory_order_relaxed);
    }
    std::array<std::atomic<answered*>, methods.size() * routes> answers{};  // null: none were counted
    std::array<time_histogram, routes> total, upstream, first_byte;
    std::array<counter_cell, results.size()> downloads, download_bytes;
    std::array<counter_cell, mgw::proxy::upstream_error_types.size()> upstream_errors;
    counter_cell bytes_in;
  };

  template <class List>
  static constexpr std::size_t index_in(List const& list, std::string_view what) noexcept {
    std::size_t i = 0;
    while (i < list.size() && list[i] != what) ++i;
    return i;
  }
  static std::string_view route_name(std::size_t i) noexcept {
    return i + 1 == routes ? std::string_view("none") : mgw::mender::all_routes[i];
  }
  template <class F>
  std::uint64_t total(F of) const noexcept {
    std::uint64_t n = 0;
    for (auto const& w : workers_) n += of(*w);
    return n;
  }
  template <class F>
  void write_answers(metrics_text& out, F of) const;
  void write_times(metrics_text& out, std::array<time_histogram, routes> of_worker::* which) const;

  std::vector<std::unique_ptr<of_worker>> workers_;
};

inline std::size_t request_counts::status_index(int status) noexcept {
  constexpr std::size_t classes = statuses.size() - 6;  // where "1xx" stands
  if (status < 100 || status > 599) return statuses.size() - 1;
  char const text[] = {static_cast<char>('0' + status / 100), static_cast<char>('0' + status / 10 % 10),
                       static_cast<char>('0' + status % 10)};
  auto const known = statuses.begin() + classes;
  auto const at = std::lower_bound(statuses.begin(), known, std::string_view(text, sizeof text));
  if (at != known && *at == std::string_view(text, sizeof text)) return static_cast<std::size_t>(at - statuses.begin());
  return classes + static_cast<std::size_t>(status / 100 - 1);
}

inline void request_counts::count(mgw::proxy::exchange const& x) noexcept {
  of_worker& w = *workers_[x.worker().index];
  auto const& notes = x.notes();
  std::size_t const route = index_in(mgw::mender::all_routes, notes.route);
  std::size_t const method = std::min(index_in(methods, x.request().method), methods.size() - 1);
  bool const closed = x.aborted() && !x.head_sent();
  auto& row = w.answers[method * routes + route];
  answered* counted = row.load(std::memory_order_relaxed);
  if (counted == nullptr) {
    counted = new (std::nothrow) answered;
    row.store(counted, std::memory_order_release);
  }
  if (counted != nullptr) {
    auto& one = counted->of[status_index(closed ? 0 : x.status())];
    one.requests.add();
    one.bytes.add(x.bytes_out());
  }
  w.bytes_in.add(x.bytes_in());
  w.total[route].add(std::chrono::steady_clock::now() - x.begun());
  if (x.first_out() != std::chrono::steady_clock::time_point{}) w.first_byte[route].add(x.first_out() - x.begun());
  if (notes.upstream.count() != 0) w.upstream[route].add(notes.upstream);
  if (std::size_t const r = index_in(results, notes.cache); r != results.size()) {
    w.downloads[r].add();
    w.download_bytes[r].add(x.bytes_out());
  }
  if (std::size_t const e = mgw::proxy::upstream_error_index(notes.upstream_error); e != w.upstream_errors.size())
    w.upstream_errors[e].add();
}

template <class F>
void request_counts::write_answers(metrics_text& out, F of) const {
  for (std::size_t row = 0; row != methods.size() * routes; ++row)
    for (std::size_t s = 0; s != statuses.size(); ++s) {
      std::uint64_t requests = 0, value = 0;
      for (auto const& w : workers_)
        if (answered const* const a = w->answers[row].load(std::memory_order_acquire)) {
          requests += a->of[s].requests.value();
          value += of(a->of[s]);
        }
      if (requests != 0)
        out.sample({{"method", methods[row / routes]}, {"status", statuses[s]}, {"route", route_name(row % routes)}},
                   value);
    }
}

inline void request_counts::write_times(metrics_text& out,
                                        std::array<time_histogram, routes> of_worker::* which) const {
  for (std::size_t route = 0; route != routes; ++route) {
    auto const in = [&](std::size_t bucket) {
      return total([&](of_worker const& w) { return (w.*which)[route].in(bucket); });
    };
    std::array<std::uint64_t, time_histogram::ends.size() + 1> up_to{};
    std::uint64_t sum = 0;
    for (std::size_t b = 0; b != up_to.size(); ++b) up_to[b] = sum += in(b);
    if (sum == 0) continue;
    std::string_view const name = route_name(route);
    for (std::size_t b = 0; b != up_to.size(); ++b) {
      std::array<char, 32> end;
      auto const text_end = std::to_chars(end.data(), end.data() + end.size(),
                                          b < time_histogram::ends.size() ? time_histogram::ends[b] : 0.0)
                                .ptr;
      std::string_view const le = b < time_histogram::ends.size()
                                      ? std::string_view(end.data(), static_cast<std::size_t>(text_end - end.data()))
                                      : "+Inf";
      out.sample({{"route", name}, {"le", le}}, up_to[b], "_bucket");
    }
    auto const ns = total([&](of_worker const& w) { return (w.*which)[route].nanoseconds(); });
    out.sample({{"route", name}}, static_cast<double>(ns) / 1e9, "_sum");
    out.sample({{"route", name}}, sum, "_count");
  }
}

inline void request_counts::write(metrics_text& out) const {
  out.family("mender_gateway_http_requests_total", "counter",
             "Requests that were answered, or closed without an answer.");
  write_answers(out, [](auto const& a) { return a.requests.value(); });
  out.family("mender_gateway_http_response_bytes_total", "counter",
             "Bytes sent to devices, heads of responses included.");
  write_answers(out, [](auto const& a) { return a.bytes.value(); });
  out.single("mgw_http_request_bytes_total", "counter", "Bytes of requests that devices have sent, heads included.",
             total([](of_worker const& w) { return w.bytes_in.value(); }));
  out.family("mgw_http_request_duration_seconds", "histogram",
             "From a request's first byte to the end of its response; a tunnel's whole life.");
  write_times(out, &of_worker::total);
  out.family("mgw_http_first_byte_seconds", "histogram",
             "From a request's first byte to the first one of its response.");
  write_times(out, &of_worker::first_byte);
  out.family("mgw_upstream_response_seconds", "histogram",
             "From when the upstream is asked for a relayed request to the head of its answer, connecting included.");
  write_times(out, &of_worker::upstream);
  out.family("mgw_artifact_requests_total", "counter", "Downloads by how they were served.");
  for (std::size_t r = 0; r != results.size(); ++r)
    out.sample({{"result", results[r]}}, total([r](of_worker const& w) { return w.downloads[r].value(); }));
  out.family("mgw_artifact_response_bytes_total", "counter", "Bytes of downloads sent to devices.");
  for (std::size_t r = 0; r != results.size(); ++r)
    out.sample({{"result", results[r]}}, total([r](of_worker const& w) { return w.download_bytes[r].value(); }));
  out.family("mgw_api_upstream_errors_total", "counter", "Relayed requests that failed upstream, by RFC 9209's names.");
  for (std::size_t e = 0; e != mgw::proxy::upstream_error_types.size(); ++e)
    out.sample({{"error", mgw::proxy::upstream_error_types[e]}},
               total([e](of_worker const& w) { return w.upstream_errors[e].value(); }));
}

}  // namespace gateway
