// mgw-gateway: options → command. What the gateway is made of stands in assembly.hpp.
#include "commands/run.hpp"
#include "commands/run_audit.hpp"
#include "commands/run_cache.hpp"
#include "commands/run_doctor.hpp"
#include "commands/run_health.hpp"
#include "commands/run_setup.hpp"
#include "commands/show.hpp"
#include "config/command_line.hpp"
#include "config/load.hpp"
#include "verifier/child.hpp"

#include <cstdio>
#include <ctime>
#include <exception>
#include <utility>

int main(int argc, char** argv) {
  if (gateway::is_verifier_child(argc, argv)) return gateway::run_verifier_child(argc, argv);
  try {
    auto const asked = gateway::read_command_line(argc, argv);
    if (asked.exit_code) return *asked.exit_code;
    if (asked.verify) return gateway::verify_file(*asked.verify, stdout, stderr);
    if (asked.setup) return std::fputs(gateway::run_setup(*asked.setup, std::time(nullptr)).c_str(), stdout) < 0 ? 1 : 0;
    auto configuration = gateway::load(asked.given);
    if (asked.doctor) return gateway::run_doctor(std::move(configuration), *asked.doctor);
    if (asked.audit) return gateway::run_audit(configuration, *asked.audit);
    if (asked.health) return gateway::run_health(configuration, *asked.health);
    if (asked.cache) return gateway::run_cache_command(configuration, *asked.cache);
    if (asked.check || asked.print) return gateway::show(std::move(configuration), asked.check, asked.print);
    return gateway::run(std::move(configuration), asked.given);
  } catch (gateway::config_error const& e) {
    std::fprintf(stderr, "mgw-gateway: %s\n", e.what());
    return 2;
  } catch (std::exception const& e) {
    std::fprintf(stderr, "mgw-gateway: %s\n", e.what());
    return 1;
  }
}
