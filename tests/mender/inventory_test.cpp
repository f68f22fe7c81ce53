#include <mgw/mender/inventory.hpp>

#include <doctest/doctest.h>

#include <ostream>
#include <string>
#include <string_view>

namespace mgw::mender::inventory_test {
namespace {

inventory_attributes const site = {
    inventory_attribute::of_text("mender_gateway_system_id", "site-7"), {"region", "\"eu\""}, {"racks", "[1,\"b\"]"}};
constexpr auto* all_ours =
    R"({"name":"mender_gateway_system_id","value":"site-7"},{"name":"region","value":"eu"},{"name":"racks","value":[1,"b"]})";

/// "?": no list, "!…": an error.
std::string added(std::string_view body, inventory_attributes const& ours = site) {
  auto const r = add_attributes(body, ours);
  if (!r) return '!' + r.error().message();
  return *r ? **r : "?";
}

}  // namespace

TEST_CASE("attributes are put behind a device's own, whose bytes stay as they are") {
  std::string const ours(all_ours);
  CHECK(added("[]") == "[" + ours + "]");
  CHECK(added(" [ \n] \r\n") == " [" + ours + " \n] \r\n");
  CHECK(added(R"([{"name":"a","value":"b"}])") == R"([{"name":"a","value":"b"},)" + ours + "]");
  CHECK(added("[ {\"name\" : \"a\",\t\"value\":1e400} \n ]\n") ==
        "[ {\"name\" : \"a\",\t\"value\":1e400}," + ours + " \n ]\n");
  std::string const odd =
      R"([{"value":["\u0026",{"name":"region"}],"name":"x","scope":"inventory","description":"]}"},{"value":[[]]},{},7)";
  CHECK(added(odd + "]") == odd + "," + ours + "]");
}

TEST_CASE("a device's own attribute is never hidden by one of ours, however it is written") {
  std::string const rest = R"(,{"name":"mender_gateway_system_id","value":"site-7"},{"name":"racks","value":[1,"b"]}])";
  for (std::string const own :
       {R"([{"name":"region","value":"mine"})", R"([{"value":1,"name":"\u0072egi\u006fn"})", R"([{"Name":"region"})",
        R"([{"NAME":"other","name":"region","value":2})", R"([{"name":"region","name":"other"})",
        R"([{"name":"a"},{"name":"region"},{"name":"region"})"}) {
    CAPTURE(own);
    CHECK(added(own + "]") == own + rest);
  }
  std::string const none = R"([{"name":"mender_gateway_system_id"},{"name":"racks"},{"name":"region"}])";
  CHECK(added(none) == none);
  CHECK(added(R"([{"name":"Region"}])", {{"region", "1"}}) == R"([{"name":"Region"},{"name":"region","value":1}])");
  CHECK(added(R"([{"value":"region"}])", {{"region", "1"}}) == R"([{"value":"region"},{"name":"region","value":1}])");
}

TEST_CASE("names and texts of ours are escaped") {
  CHECK(added("[]", {inventory_attribute::of_text("a\"b", "c\\d\ne")}) == R"([{"name":"a\"b","value":"c\\d\u000ae"}])");
}

TEST_CASE("what is no list of JSON is left alone") {
  for (auto const* const text : {"{}", "null", "\"[]\"", "7", R"({"a":[{"name":"b"}]})"}) {
    CAPTURE(text);
    CHECK(added(text) == "?");
  }
  for (auto const* const text : {"", " ", "[", "[}", "[]]", "[] []", "[{\"name\":\"a\"]", "[1,]",
                                 "[{\"name\":\"\\x\"}]", "[{\"name\":\"\xff\"}]", "\xEF\xBB\xBF[]"}) {
    CAPTURE(text);
    CHECK(added(text) == "!not JSON");
  }
  std::string const deep = std::string(100, '[') + std::string(100, ']');
  CHECK(added(deep) == "!JSON nested too deeply");
}

TEST_CASE("an inventory cut short anywhere is refused, never completed") {
  std::string const whole = R"([{"name":"a\u0062","value":["x",{"y":-1.5e3}]}, {"name":"c","value":true}])";
  for (std::size_t n = 0; n < whole.size(); ++n) {
    CAPTURE(n);
    CHECK(added(whole.substr(0, n)) == "!not JSON");
  }
}

TEST_CASE("limit: size of an inventory, with what is added") {
  std::size_t const more = std::string_view(R"({"name":"r","value":1})").size();
  inventory_attributes const ours = {{"r", "1"}};
  auto const padded = [](std::size_t n) { return '[' + std::string(n - 2, ' ') + ']'; };
  CHECK(added(padded(max_inventory_size - more), ours).size() == max_inventory_size);
  CHECK(added(padded(max_inventory_size - more + 1), ours) == "!too long");
  CHECK(added(padded(max_inventory_size + 1), {}) == "!too long");
}

TEST_CASE("attributes are read as configurations have them") {
  auto const read = parse_attributes(R"([{"Name":"region","Value":"eu"}, {"value": [1, "b"] ,"NAME":"racks","x":{}}])");
  REQUIRE(read);
  REQUIRE(read->size() == 2);
  CHECK((*read)[0] == inventory_attribute("region", "\"eu\""));
  CHECK((*read)[1] == inventory_attribute("racks", "[1, \"b\"]"));
  CHECK(parse_attributes("[]") == inventory_attributes{});
  for (auto const* const text :
       {"", "{}", "[1]", R"([{"Name":"a"}])", R"([{"Value":"a"}])", R"([{"Name":"","Value":"a"}])",
        R"([{"Name":1,"Value":"a"}])", R"([{"Name":"a","Value":null}])", R"([{"Name":"a","Value":{}}])",
        R"([{"Name":"a","Value":[[]]}])", R"([{"Name":"a","Value":"1"},{"Name":"a","Value":"2"}])",
        R"([{"Name":"a","name":"b","Value":"2"}])", R"([{"Name":"a","Value":"2"}] x)"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_attributes(text));
  }
}

}  // namespace mgw::mender::inventory_test
