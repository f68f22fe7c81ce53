// Properties of the gateway's configuration file: any bytes are refused with messages that name the file, line and
// column, or they give settings that are written as a file and read to the same settings. Client certificates that are
// asked for are never left out silently, and a secret is never shown.
// Input: the file.
#include "property.hpp"

#include "config/configuration.hpp"
#include "config/file.hpp"
#include "config/json_entries.hpp"
#include "config/options.hpp"
#include "config/print.hpp"
#include "config/settings.hpp"

#include <mgw/http/fields.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace mgw::fuzz {
namespace {

gateway::configuration read(std::string_view text) {
  gateway::configuration c;
  gateway::read_config_text(c, "f", text);
  c.settle();
  return c;
}

// Takes a number and the colon behind it away.
std::size_t number_before_colon(std::string_view& text) {
  std::size_t n = 0;
  auto const [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  must(ec == std::errc{} && end != text.data() + text.size() && *end == ':', "a message names line and column");
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return n;
}

void check_messages(std::string_view text, std::vector<std::string> const& messages) {
  auto const lines = 1 + static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  for (std::string_view m : messages) {
    must(m.starts_with("f:"), "a message names the file");
    m.remove_prefix(2);
    std::size_t const line = number_before_colon(m);
    std::size_t const column = number_before_colon(m);
    must(line >= 1 && line <= lines && column >= 1 && column <= text.size() + 1, "a place lies in the file");
    must(m.size() > 3, "a message says something");
    must(std::none_of(m.begin(), m.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }),
         "a message is one line");
  }
}

// What a message says, without its place.
std::string_view words(std::string_view message) {
  message.remove_prefix(2);
  number_before_colon(message);
  number_before_colon(message);
  return message;
}
// Warnings about values, not about how a file spells them, come again when the values are read again.
bool says_nothing_new(std::vector<std::string> const& warnings, std::vector<std::string> const& before) {
  return std::all_of(warnings.begin(), warnings.end(), [&](std::string const& w) {
    return std::any_of(before.begin(), before.end(), [&](std::string const& b) { return words(w) == words(b); });
  });
}

bool asks_for_mtls(std::string_view text) {
  auto const all = gateway::read_json_entries(text);
  return std::any_of(all.begin(), all.end(), [](gateway::json_entry const& e) {
    return http::iequals(e.key, "Features.mTLS.Enabled") && e.text == "true";
  });
}

void check(std::string_view input) {
  exact_copy const text(input);
  auto const c = read(text.view());
  check_messages(text.view(), c.errors);
  check_messages(text.view(), c.unknown);
  check_messages(text.view(), c.warnings);
  if (!c.errors.empty()) return;
  must(!asks_for_mtls(text.view()) || c.values.mtls.enabled, "mTLS is not left out silently");

  std::string const written = gateway::to_config_text(c.values, gateway::secrets::shown);
  auto const again = read(written);
  must(again.errors.empty() && again.unknown.empty(), "what is written is read");
  must(says_nothing_new(again.warnings, c.warnings), "what is written gives no new warning");
  must(gateway::to_config_text(again.values, gateway::secrets::shown) == written, "what is written reads the same");
  for (gateway::option const& o : gateway::options()) {
    must(o.value.show(again.values) == o.value.show(c.values), "each option reads the same");
    std::string const value = o.value.show(c.values);
    gateway::settings s;
    must(value.empty() || (o.value.set(s, value) && o.value.show(s) == value), "what is shown is accepted");
  }
  gateway::settings masked = c.values;
  for (std::string* secret : {&masked.cache.secret, &masked.mtls.password, &masked.mtls.access_token})
    if (!secret->empty()) *secret = "***";
  if (!masked.allowed_tenants.empty()) masked.allowed_tenants = {"***"};
  must(gateway::to_config_text(c.values, gateway::secrets::masked) ==
           gateway::to_config_text(masked, gateway::secrets::shown),
       "a secret is masked");
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check({reinterpret_cast<char const*>(data), size});
  return 0;
}
