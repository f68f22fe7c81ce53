#include "logging/logging.hpp"

#include "logging/level_signals.hpp"
#include "logging/log_fields.hpp"
#include "logging/repeats.hpp"

#include <support/temporary_directory.hpp>

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>

namespace gateway::logging_test {
namespace {

std::string fields_of(log_format how, std::string_view peer_given) {
  std::string line;
  log_fields f(how, line);
  f.word("msg", "request").text("path", peer_given).number("status", 404).number("out", std::uint64_t{7});
  f.seconds("seconds", 0.0125).flag("cut", true);
  return line;
}
/// A whole line as it leaves the program.
std::string written(log_format how, bool for_journal, spdlog::level::level_enum level, std::string_view fields) {
  auto const f = logging::formatter(how, for_journal);
  spdlog::memory_buf_t out;
  f->format(spdlog::details::log_msg("gateway", level, spdlog::string_view_t(fields.data(), fields.size())), out);
  return {out.data(), out.size()};
}

}  // namespace

TEST_CASE("whatever a peer sends, its text stays between its quotes and on its line") {
  std::string every;
  for (int c = 0; c != 256; ++c) every += static_cast<char>(c);
  for (std::string const& text : {every, std::string("a\" level=error msg=\"b"),
                                  std::string("\xc2\x9b"
                                              "2J"),
                                  std::string("\xff\xfe"), std::string("\\"),
                                  std::string("gr\xc3\xbc\xc3\x9f"
                                              "e"),
                                  std::string("\xe2\x82")}) {
    std::string const line = fields_of(log_format::text, text);
    std::string_view const rest = std::string_view(line).substr(line.find("path=\"") + 6);
    std::size_t end = 0;
    while (rest[end] != '"') end += rest[end] == '\\' ? 2 : 1;
    CHECK(rest.substr(end) == "\" status=404 out=7 seconds=0.013 cut=true");
    for (char const c : line) CHECK((static_cast<unsigned char>(c) >= 0x20 && c != 0x7f));
    CHECK(line.find("\xc2\x9b") == std::string::npos);

    std::string const json = written(log_format::json, false, spdlog::level::warn, fields_of(log_format::json, text));
    CHECK(json.find('\n') == json.size() - 1);
    auto const v = boost::json::parse(boost::json::string_view(json.data(), json.size()));
    REQUIRE(v.is_object());
    CHECK(v.at("msg") == "request");
    CHECK(v.at("level") == "warning");
    CHECK(v.at("status") == 404);
    CHECK(v.at("out") == 7);
    CHECK(v.at("cut") == true);
    CHECK(v.at("path").is_string());
    CHECK(v.as_object().size() == 8);
  }
  CHECK(fields_of(log_format::text,
                  "gr\xc3\xbc\xc3\x9f"
                  "e")
            .find("path=\"gr\xc3\xbc\xc3\x9f"
                  "e\"") != std::string::npos);
}

TEST_CASE("lines for the journal begin with their priority, others do not") {
  CHECK(written(log_format::text, false, spdlog::level::info, "msg=x").starts_with("time=\""));
  CHECK(written(log_format::text, false, spdlog::level::info, "msg=x").ends_with("\" level=info msg=x\n"));
  using spdlog::level::level_enum;
  for (auto const& [level, start] : {std::pair<level_enum, char const*>{spdlog::level::debug, "<7>time="},
                                     {spdlog::level::info, "<6>time="},
                                     {spdlog::level::warn, "<4>time="},
                                     {spdlog::level::err, "<3>time="},
                                     {spdlog::level::critical, "<2>time="}})
    CHECK(written(log_format::text, true, level, "msg=x").starts_with(start));
  CHECK(written(log_format::json, true, spdlog::level::err, "\"msg\":\"x\"").starts_with("<3>{\"time\":\""));
}

TEST_CASE("the journal is told by device and inode, and nothing else is") {
  mgw::test::temporary_directory const d;
  std::FILE* const f = std::fopen((d.path() / "log").c_str(), "w");
  REQUIRE(f != nullptr);
  struct stat s{};
  REQUIRE(::fstat(fileno(f), &s) == 0);
  std::string const device = std::to_string(s.st_dev), inode = std::to_string(s.st_ino);
  CHECK(logging::leads_to_journal(fileno(f), (device + ':' + inode).c_str()));
  CHECK_FALSE(logging::leads_to_journal(fileno(f), (device + ':' + inode + '1').c_str()));
  CHECK_FALSE(logging::leads_to_journal(fileno(f), device.c_str()));
  CHECK_FALSE(logging::leads_to_journal(fileno(f), ""));
  CHECK_FALSE(logging::leads_to_journal(fileno(f), nullptr));
  CHECK_FALSE(logging::leads_to_journal(-1, (device + ':' + inode).c_str()));
  std::fclose(f);
}

TEST_CASE("a line begins with its own second and level, whatever came before it") {
  using namespace std::chrono_literals;
  auto const f = logging::formatter(log_format::text, true);
  auto const plain = [&](spdlog::log_clock::time_point at, spdlog::level::level_enum level, std::string const& text) {
    spdlog::memory_buf_t out;
    f->format(spdlog::details::log_msg(at, spdlog::source_loc{}, "gateway", level, text), out);
    return std::string(out.data(), out.size());
  };
  auto const alone = [](spdlog::log_clock::time_point at, spdlog::level::level_enum level, std::string const& text) {
    auto const fresh = logging::formatter(log_format::text, true);
    spdlog::memory_buf_t out;
    fresh->format(spdlog::details::log_msg(at, spdlog::source_loc{}, "gateway", level, text), out);
    return std::string(out.data(), out.size());
  };
  spdlog::log_clock::time_point const t(1'700'000'000s);
  std::string const first = plain(t, spdlog::level::info, "a=1");
  CHECK(first.starts_with("<6>time=\"2023-11-1"));
  CHECK(first.ends_with("\" level=info a=1\n"));
  CHECK(plain(t + 999ms, spdlog::level::info, "b=2").ends_with(" level=info b=2\n"));
  CHECK(plain(t + 999ms, spdlog::level::info, "a=1") == first);
  CHECK(plain(t + 999ms, spdlog::level::warn, "a=1").starts_with("<4>"));
  for (auto const at : {t + 1s, t, t - 1s, t + 3600s, t + 3600s}) {
    CHECK(plain(at, spdlog::level::info, "x") == alone(at, spdlog::level::info, "x"));
    CHECK(plain(at, spdlog::level::err, "") == alone(at, spdlog::level::err, ""));
  }
  CHECK(plain(t + 1s, spdlog::level::info, "a=1") != first);
  CHECK(f->clone() != nullptr);
}

TEST_CASE("lines that may wait leave with the next one that may not, or at a flush, in their order") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
  auto const arrived = [&] {
    std::string text(4096, '\0');
    ssize_t const n = ::read(ends[0], text.data(), text.size());
    text.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return text;
  };
  auto const sink = std::make_shared<gathering_sink>(ends[1]);
  spdlog::logger log("test", sink);
  log.set_pattern("%v");
  bool must = false;
  spdlog::log_clock::time_point now{std::chrono::hours(1)};
  auto const line = [&](std::string const& text) { log.log(now, spdlog::source_loc{}, spdlog::level::info, text); };
  auto const patient = [&](std::string const& text) {
    gathering_sink::may_wait const waits;
    line(text);
    must = gathering_sink::may_wait::must_flush();
  };
  patient("at once");
  CHECK_FALSE(must);  // none was written shortly before
  CHECK(arrived() == "at once\n");
  now += gathering_sink::max_wait;
  patient("and this");
  CHECK(arrived() == "and this\n");
  now += gathering_sink::max_wait / 2;
  patient("a");
  CHECK(must);  // the first to wait
  patient("b");
  CHECK_FALSE(must);
  CHECK(arrived() == "");
  line("now");
  CHECK(arrived() == "a\nb\nnow\n");
  patient("c");
  CHECK_FALSE(must);  // the flush that was promised before is still to come
  CHECK(arrived() == "");
  log.flush();
  CHECK(arrived() == "c\n");
  patient("d");  // the clock was set back
  CHECK(must);
  patient(std::string(gathering_sink::max_held, 'x'));
  CHECK(arrived().starts_with("d\nxxx"));  // too much to hold
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a line that is said again soon is left out, and counted; others pass") {
  repeats r(std::chrono::seconds(10), 2);
  repeats::clock::time_point const t{};
  using std::chrono::seconds;
  CHECK(r.due("a", t) == 0);
  CHECK(r.due("a", t + seconds(1)) == std::nullopt);
  CHECK(r.due("b", t + seconds(1)) == 0);
  CHECK(r.due("a", t + seconds(9)) == std::nullopt);
  CHECK(r.due("c", t + seconds(9)) == 0);  // beyond what it remembers
  CHECK(r.due("c", t + seconds(9)) == 0);
  CHECK(r.due("a", t + seconds(10)) == 2);
  CHECK(r.due("a", t + seconds(11)) == std::nullopt);
  CHECK(r.due("c", t + seconds(11)) == 0);  // in b's place
  CHECK(r.due("c", t + seconds(12)) == std::nullopt);
}

TEST_CASE("a signal makes the log one level more talkative, down to debug") {
  CHECK(level_signals::below(spdlog::level::critical) == spdlog::level::err);
  CHECK(level_signals::below(spdlog::level::info) == spdlog::level::debug);
  CHECK(level_signals::below(spdlog::level::debug) == spdlog::level::debug);
  CHECK(logging::level_of("fatal") == spdlog::level::critical);
  CHECK(logging::level_of("warn") == spdlog::level::warn);
}

}  // namespace gateway::logging_test
