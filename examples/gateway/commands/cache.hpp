#pragma once

#include "control/protocol.hpp"

#include <CLI/CLI.hpp>

#include <string>
#include <vector>

namespace gateway {

/// What `mgw-gateway cache` was asked.
struct cache_command {
  cache_request request;
  std::vector<std::string> files;  ///< of import; of export the one
  bool json = false;
};

/// `mgw-gateway cache …`: what is asked goes into `asked`, which lives as long as `app`.
inline CLI::App* add_cache(CLI::App& app, cache_command& asked) {
  CLI::App* const all = app.add_subcommand("cache", "look after the cache, of the running gateway or of none");
  all->require_subcommand(1);
  all->fallthrough();
  all->footer(
      "OBJECT is the name of an artifact, or the first digits of a key: as many as only one key begins with.\n"
      "Exit status 0: done; 1: an object was damaged, or the artifact is bad; 2: not done, a line says why.\n");
  auto const add = [&](char const* name, char const* help) {
    CLI::App* const one = all->add_subcommand(name, help);
    one->fallthrough();
    one->callback([&asked, name] { asked.request.command = name; });
    one->add_flag("--json", asked.json, "answer with a line of JSON");
    return one;
  };
  auto const objects = [&](CLI::App* one, char const* help, bool required) {
    one->add_option("OBJECT", asked.request.objects, help)->type_name("")->required(required);
  };
  add("list", "what is in the cache, the most recently used first");
  add("stats", "how full the cache is and, of a running gateway, how it was used");
  objects(add("pin", "keep an object until it is unpinned or removed"), "one or several", true);
  objects(add("unpin", "let an object go when there is no space for others"), "one or several", true);
  objects(add("remove", "remove an object; who downloads it goes on"), "one or several", true);
  objects(add("verify", "compare objects with their checksums; a damaged one is removed"), "one or several; none: all",
          false);
  CLI::App* const out = add("export", "copy an object into a file");
  out->add_option_function<std::string>(
         "OBJECT", [&asked](std::string const& one) { asked.request.objects = {one}; }, "the object")
      ->type_name("")
      ->required();
  out->add_option_function<std::string>(
         "FILE", [&asked](std::string const& one) { asked.files = {one}; }, "where to; - is standard output")
      ->type_name("")
      ->required();
  CLI::App* const in = add("import", "verify artifacts, and bring them into the cache, pinned");
  in->add_option("FILE", asked.files, ".mender files")->type_name("")->required();
  return all;
}

}  // namespace gateway
