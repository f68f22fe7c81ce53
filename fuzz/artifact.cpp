// Properties of the reader of Mender artifacts: the same verdict on the same bytes however they are cut; no more comes
// out than the limits say; what is good is no longer good with its end cut off or with something after it; the source
// is never asked again after its end; the reader of an artifact's first entries agrees with it. Input: plan, then the
// artifact; with the plan's second switch, the archives inside one, which get an outer archive and a manifest with the
// right checksums: a byte for their compression (and for tar sums put right), two for the length of header.tar, the two
// archives.
#include "property.hpp"

#include "artifact/keys.hpp"
#include "artifact/limits.hpp"
#include "artifact/reader.hpp"
#include "artifact/source.hpp"
#include "imports/artifact_start.hpp"
#include "support/artifact_samples.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>

namespace gateway {
namespace {

using mgw::fuzz::must;

struct outcome {
  artifact_verdict verdict;
  artifact_info info;
};

artifact_limits limits_of(bool small) {
  artifact_limits out;
  out.free_unpacked = out.max_unpacked = 4U << 20U;  // the ratio plays no part: it depends on how the input is cut
  out.max_ratio = 0;
  out.max_unpacker_memory = 16U << 20U;
  if (!small) return out;
  out.free_unpacked = out.max_unpacked = 3000;
  out.max_header = 3000;
  out.max_header_info = 150;
  out.max_header_entries = 2;
  out.max_files = 2;
  out.max_manifest = 300;
  out.max_padding = 1000;
  return out;
}

outcome read(std::string_view bytes, std::size_t piece, artifact_limits const& limits,
             std::error_code at_the_end = {}) {
  artifact_keys const no_keys;
  bool ended = false;
  artifact_reader reader(
      [&]() -> source_piece {
        must(!ended, "a source is not asked after its end");
        auto const now = bytes.substr(0, piece);
        bytes.remove_prefix(now.size());
        ended = now.empty();
        return {now, ended ? at_the_end : std::error_code()};
      },
      no_keys, limits);
  bool const head = bool(reader.read_head());
  bool const header = bool(reader.read_header());
  must(head || !header, "a later verdict is no better");
  outcome out{reader.read_payloads(), reader.info()};
  must(header || !out.verdict, "a later verdict is no better");
  must(out.verdict.error == reader.read_head().error || head, "a verdict stays");
  std::uint64_t sum = 0;
  for (auto const& f : out.info.files) sum += f.size;
  must(sum <= limits.max_unpacked, "no more comes out than the limit says");
  must(out.info.files.size() <= limits.max_files, "files are limited");
  must(out.info.header.payloads.size() <= limits.max_payloads, "payloads are limited");
  return out;
}

/// The few lines that read the first entries without a sandbox tell the same as libarchive, or that they cannot tell.
void check_start(std::string_view bytes, std::size_t piece, artifact_info const& info) {
  auto const seen = read_artifact_start(bytes);
  must(seen.what == artifact_start::state::whole || seen.digest.empty(), "what is not whole has no digest");
  if (seen.what == artifact_start::state::whole && !info.head_digest.empty())
    must(seen.digest == info.head_digest, "both read the same entries");
  auto const less = read_artifact_start(bytes.substr(0, std::min(bytes.size(), piece)));
  must(less.what == artifact_start::state::more || (less.what == seen.what && less.digest == seen.digest),
       "what is told of the first bytes stays");
}

void check(std::string_view bytes, std::size_t piece, bool small) {
  artifact_limits const limits = limits_of(small);
  mgw::fuzz::exact_copy const copy(bytes);
  auto const whole = read(copy.view(), std::string_view::npos, limits);
  auto const cut = read(copy.view(), piece, limits);
  must(bool(whole.verdict) == bool(cut.verdict), "cutting makes nothing good or bad");
  // How much comes out of broken data before a decompressor notices is its own matter, and may show another fault
  // first.
  if (whole.verdict.error != artifact_error::cannot_unpack && cut.verdict.error != artifact_error::cannot_unpack) {
    must(whole.verdict.error == cut.verdict.error, "cutting does not change the verdict");
    must(whole.verdict.entry == cut.verdict.entry, "cutting does not change which entry is bad");
    must(whole.verdict.detail == cut.verdict.detail, "cutting does not change the detail");
    must(whole.info.files.size() == cut.info.files.size(), "cutting does not change the files");
  }
  must(whole.info.header.artifact_name == cut.info.header.artifact_name, "cutting does not change the name");
  check_start(copy.view(), piece * 64, whole.info);
  must(!whole.verdict.source_failed(), "a source that did not fail is not blamed");
  must(whole.verdict || !whole.verdict.message().empty(), "a refusal says why");

  auto const failed = read(copy.view(), piece, limits, std::make_error_code(std::errc::io_error));
  must(!failed.verdict, "without an end nothing is good");
  must(!whole.verdict || failed.verdict.source_failed(), "what is good but for its end is not called bad");
  if (!whole.verdict) return;

  must(!whole.info.header.artifact_name.empty(), "what is good has a name");
  must(!read(std::string(bytes) + "x", piece, limits).verdict, "nothing may follow");
  std::size_t const last = bytes.find_last_not_of('\0');
  must(last != std::string_view::npos && !read(bytes.substr(0, last + 1), piece, limits).verdict,
       "the end may not be missing");
}

/// The blocks that look like headers get the sums that tar wants, or no change to one would get any further.
std::string with_tar_sums(std::string archive) {
  for (std::size_t at = 0; at + 512 <= archive.size(); at += 512)
    if (archive.compare(at + 257, 5, "ustar") == 0)
      archive.replace(at, 512, mgw::test::tar_entry::with_checksum(archive.substr(at, 512)));
  return archive;
}

std::string with_right_checksums(std::string_view recipe) {
  if (recipe.size() < 3) return {};
  auto const byte = [recipe](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(recipe[i])); };
  std::string const header_suffix(mgw::test::suffixes[byte(0) & 3U]);
  std::string const data_suffix(mgw::test::suffixes[byte(0) >> 2U & 3U]);
  std::size_t const length = byte(1) | byte(2) << 8U;
  bool const tar_sums = (byte(0) & 16U) != 0;
  recipe = recipe.substr(3);
  std::string header(recipe.substr(0, length));
  std::string data(recipe.substr(std::min(length, recipe.size())));
  if (tar_sums) {
    header = with_tar_sums(header);
    data = with_tar_sums(data);
  }
  auto const line = mgw::test::artifact_sample::line;
  std::string const version = R"({"format":"mender","version":3})";
  std::string const listed = line(version, "version") + line(header, "header.tar" + header_suffix) +
                             line("", "data/0000/a") + line("x", "data/0000/b");
  return mgw::test::tar({{"version", version},
                         {"manifest", listed},
                         {"header.tar" + header_suffix, header},
                         {"data/0000.tar" + data_suffix, data}});
}

}  // namespace
}  // namespace gateway

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::plan const p(data, size);
  if (p.option)
    gateway::check(gateway::with_right_checksums(p.wire), p.piece, p.small);
  else
    gateway::check(p.wire, p.piece, p.small);
  return 0;
}
