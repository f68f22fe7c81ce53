// All of mgw in one of several translation units. PART is the name of what it exports.
#include <mgw/mgw.hpp>

bool PART() {
  return static_cast<bool>(mgw::http::parse_uri("https://mgw.example/"));
}
