#pragma once

#include "artifact/error.hpp"
#include "artifact/keys.hpp"
#include "artifact/labels.hpp"
#include "artifact/reader.hpp"
#include "artifact/report.hpp"
#include "artifact/source.hpp"
#include "artifact/tar_reader.hpp"
#include "verifier/options.hpp"
#include "verifier/sandbox.hpp"

#include <mgw/cache/sha256.hpp>

#include <archive.h>
#include <archive_entry.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <string_view>

namespace gateway {

// What the child says, a line each; the gateway believes none of it more than it must:
//
//   ready        it is shut in; the artifact follows
//   want N       N bytes were looked at, more are needed for the head (not said any more after `head`)
//   head         version, manifest and signature are good
//   about N V    a label of the artifact and its value, in hexadecimal digits; after `head`, each label once at most
//   good         the last line
//   other        the last line: this is no Mender artifact
//   bad WHY      the last line
//   unable WHY   the last line: the child could not do its work

namespace detail {

/// No allocation: memory may be what is missing.
inline void say(std::string_view text) noexcept {
  while (!text.empty()) {
    ssize_t const n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno != EINTR) ::_exit(1);  // nobody listens any more
    if (n > 0) text.remove_prefix(static_cast<std::size_t>(n));
  }
}
inline void say_why(std::string_view what, std::string_view why) {
  std::string line = std::string(what) + ' ' + shown(why.substr(0, 1000));
  say(line += '\n');
}

inline std::optional<std::string> read_exactly(std::size_t n) {
  std::string out(n, '\0');
  for (std::size_t at = 0; at != n;) {
    ssize_t const got = ::read(STDIN_FILENO, out.data() + at, n - at);
    if (got == 0 || (got < 0 && errno != EINTR)) return std::nullopt;
    if (got > 0) at += static_cast<std::size_t>(got);
  }
  return out;
}

/// Makes the libraries read all they would read from files later: OpenSSL its configuration and providers, the C
/// library the conversions of characters that libarchive asks for at PAX headers.
inline bool warm_up(artifact_keys const& keys) {
  mgw::cache::sha256 hash;
  mgw::cache::sha256_digest digest;
  if (hash.update("x") || hash.digest(digest)) return false;
  (void)keys.signer("x", std::string(64, 'x'));
  std::string text(16384, '\0');
  std::size_t used = 0;
  archive* const a = archive_write_new();
  archive_entry* const e = archive_entry_new();
  archive_write_set_format_pax(a);
  archive_write_set_bytes_per_block(a, 0);
  archive_entry_set_pathname(e, "x");
  archive_entry_set_filetype(e, AE_IFREG);
  archive_entry_set_size(e, 0);
  archive_entry_set_mtime(e, 1, 1);  // a fraction: it takes a PAX header
  bool const written = archive_write_open_memory(a, text.data(), text.size(), &used) == ARCHIVE_OK &&
                       archive_write_header(a, e) == ARCHIVE_OK && archive_write_close(a) == ARCHIVE_OK;
  archive_entry_free(e);
  archive_write_free(a);
  text.resize(used);
  tar_reader tar(read_from(std::string_view(text)), 65536, 65536);
  bool const read = written && tar.next();
  return read && !tar.next() && !tar.error();
}

/// Reads the artifact, and says what it is.
inline void judge_standard_input(artifact_keys const& keys) {
  std::uint64_t taken = 0;
  bool in_head = true;
  auto const next = [&, from = read_from(STDIN_FILENO)]() -> source_piece {
    if (in_head) say("want " + std::to_string(taken) + '\n');
    auto const piece = from();
    taken += piece.bytes.size();
    return piece;
  };
  artifact_reader reader(next, keys, {});
  if (reader.read_head()) {
    in_head = false;
    say("head\n");
    if (reader.read_header())
      for (auto const& [name, value] : labels_of(reader.info())) {
        std::string line = "about " + name + ' ' + write_label_value(value);
        say(line += '\n');
      }
  }
  auto const& verdict = reader.read_payloads();
  if (verdict)
    say("good\n");
  else if (verdict.not_an_artifact())
    say("other\n");
  else if (verdict.error == artifact_error::unable)
    say("bad over its limit of memory\n");
  else
    say_why(verdict.source_failed() ? "unable" : "bad", verdict.message());
}

}  // namespace detail

/// Whether this process was started to be the child.
inline bool is_verifier_child(int argc, char** argv) noexcept {
  return argc > 1 && std::string_view(argv[1]) == verifier_argument;
}

/// The child's whole life: `PROGRAM --verify-from-standard-input MEMORY CPU KEYS` reads KEYS bytes of PEM and then an
/// artifact from descriptor 0, and writes lines to descriptor 1. MEMORY and KEYS are bytes, CPU seconds. It shuts
/// itself in before it reads the artifact's first byte. The exit status says nothing.
///
/// Signals that end a service or a program in a terminal reach all its processes; this one ends with its input.
/// Precondition: called first thing in main().
inline int run_verifier_child(int argc, char** argv) noexcept {
  ::closefrom(STDERR_FILENO + 1);
  for (int const s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT}) std::signal(s, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    if (argc != 5) {
      detail::say("unable this is not to be called by hand\n");
      ::_exit(2);
    }
    auto const number = [argv](int i) { return std::strtoull(argv[i], nullptr, 10); };
    sandbox_limits const limits{static_cast<std::size_t>(number(2)), std::chrono::seconds(number(3))};
    auto const pem = detail::read_exactly(static_cast<std::size_t>(number(4)));
    artifact_keys keys;
    std::string why;
    if (!pem || (!pem->empty() && !keys.add(*pem, {})))
      why = "the keys are not to be used";
    else if (!detail::warm_up(keys))
      why = "a library failed";
    else
      why = enter_sandbox(limits);
    if (!why.empty()) {
      detail::say_why("unable", why);
      ::_exit(1);
    }
    detail::say("ready\n");
    detail::judge_standard_input(keys);
  } catch (std::bad_alloc const&) {
    detail::say("bad over its limit of memory\n");
  } catch (std::exception const&) {
    detail::say("bad it made a library fail\n");
  }
  ::_exit(0);
}

}  // namespace gateway
