#include "verifier/probe.hpp"

#include "verifier_support.hpp"

#include <doctest/doctest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

namespace gateway::verifier_probe_test {
namespace {

void check_trouble(verifier_options how, std::string_view why) {
  auto const text = verifier_trouble(std::move(how));
  CHECK_MESSAGE(text.find(why) != std::string::npos, text);
  CHECK_FALSE(has_children());
}

}  // namespace

TEST_CASE("verifier: whether there can be one is found out with a child that is ended again") {
  auto const descriptors = open_descriptors();
  CHECK(verifier_trouble(child_options()).empty());
  CHECK_FALSE(has_children());
  CHECK(open_descriptors() == descriptors);
}

TEST_CASE("verifier: one that cannot be started or shut in is told why") {
  verifier_options none;
  none.program = "/nonexistent/program";
  check_trouble(none, "the verifier cannot be started: /nonexistent/program: No such file or directory");
  check_trouble(misbehaving("unable").options(), "to speak of it");
  check_trouble(misbehaving("status 7 before").options(), "the verifier did not begin, status 7");
  check_trouble(misbehaving("crash before").options(), "the verifier did not begin: SIGSEGV");
  auto keys = child_options();
  keys.keys = "no key\n";
  check_trouble(keys, "the keys are not to be used");
}

TEST_CASE("verifier: one that does not answer is not waited for, beyond its limit") {
  misbehaving const child("hangs before");
  auto how = child.options();
  how.max_silence = std::chrono::milliseconds(200);
  check_trouble(how, "the verifier did not go on for 200 ms");
}

}  // namespace gateway::verifier_probe_test
