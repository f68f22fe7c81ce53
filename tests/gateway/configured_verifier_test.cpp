#include "verifier/configured.hpp"

#include "artifact_signing.hpp"

#include <support/temporary_directory.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <fstream>
#include <ostream>
#include <set>
#include <string>
#include <vector>

namespace gateway::configured_verifier_test {

TEST_CASE("another policy or other keys are another judge, the same ones the same, wherever the files lie") {
  mgw::test::temporary_directory const directory;
  auto const file = [&](std::string const& name, std::string const& text) {
    std::string path = (directory.path() / name).string();
    std::ofstream(path) << text;
    return path;
  };
  std::string const one = pem_of(key_ptr(EVP_EC_gen("P-256"))), two = pem_of(key_ptr(EVP_EC_gen("P-256")));
  std::vector<std::string> const none, first{file("1", one)}, second{file("2", two)}, both{first[0], second[0]};
  settings s;
  std::set<std::uint64_t> judges;
  std::size_t n = 0;
  for (std::string const policy : {"artifact", "length", "off"}) {
    s.cache.verify = policy;
    for (auto const* const keys : {&none, &first, &second, &both}) {
      s.cache.verify_keys = *keys;
      judges.insert(configured_judge(s));
      n += policy == "off" && keys != &none ? 0U : 1U;  // keys that nobody looks at
    }
  }
  CHECK(judges.size() == n);
  s.cache.verify = "artifact";
  s.cache.verify_keys = {file("moved", one)};
  auto const moved = configured_judge(s);
  s.cache.verify_keys = first;
  CHECK(moved == configured_judge(s));
}

}  // namespace gateway::configured_verifier_test
