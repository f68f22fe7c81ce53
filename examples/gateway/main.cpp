// mgw-gateway: options → command. What the gateway is made of stands in assembly.hpp.
#include "commands/run.hpp"
#include "config/command_line.hpp"

#include <cstdio>
#include <exception>

int main(int argc, char** argv) {
  try {
    auto const asked = gateway::read_command_line(argc, argv);
    if (asked.exit_code) return *asked.exit_code;
    return gateway::run(asked.settings);
  } catch (gateway::config_error const& e) {
    std::fprintf(stderr, "mgw-gateway: %s\n", e.what());
    return 2;
  } catch (std::exception const& e) {
    std::fprintf(stderr, "mgw-gateway: %s\n", e.what());
    return 1;
  }
}
