// Properties of the cache's own files: whatever is in them is refused or reads to what writes the same; a journal cut
// anywhere has the same records up to there. The second bit of the plan puts the right checksums around the input, so
// that what stands behind them is reached.
#include "property.hpp"

#include <mgw/cache/crc32c.hpp>
#include <mgw/cache/journal.hpp>
#include <mgw/cache/ledger_file.hpp>
#include <mgw/cache/meta.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

void check_meta(std::string_view text) {
  exact_copy const copy(text);
  auto const m = cache::read_meta(copy.view());
  if (!m) return;
  must(text.size() <= cache::max_meta_file, "a metadata file is bounded");
  auto const written = cache::write_meta(*m);
  must(static_cast<bool>(written), "what was read can be written");
  must(written->size() <= cache::max_meta_file, "what is written is bounded");
  auto const back = cache::read_meta(*written);
  must(back && *back == *m, "what was read writes and reads the same");
  for (std::string const* s : {&m->etag, &m->last_modified, &m->content_type, &m->content_disposition})
    must(s->size() <= cache::max_meta_value, "a value is bounded");
  must(!cache::check_labels(m->labels), "labels are bounded");
}

void check_journal(std::string_view text, std::size_t cut) {
  exact_copy const copy(text);
  auto const j = cache::read_journal(copy.view());
  if (!j) return;
  must(j->header_size <= text.size(), "a header lies in its file");
  must(j->offset_after(j->records.size()) <= text.size(), "the records lie in their file");
  for (std::size_t i = 0; i < j->records.size(); ++i) {
    must(j->records[i].size != 0, "a record promises bytes");
    must(i == 0 || j->records[i].size > j->records[i - 1].size, "records grow");
    must(!j->meta.length_known || j->records[i].size <= j->meta.length, "a record lies in its object");
    std::size_t const at = j->offset_after(i);
    must(text.substr(at, cache::checkpoint_record_size) == cache::write_checkpoint(j->records[i], j->header_crc),
         "a record is what writes it");
  }
  auto header = cache::write_journal_header(j->meta);
  must(static_cast<bool>(header), "what was read can be written");
  std::uint32_t const crc = cache::crc32c(*header);
  std::string again = *header;
  for (auto const& r : j->records) again += cache::write_checkpoint(r, crc);
  auto const back = cache::read_journal(again);
  must(back && back->meta == j->meta && back->records == j->records, "what was read writes and reads the same");

  std::size_t const shorter = j->header_size + cut % (text.size() - j->header_size + 1);
  auto const torn = cache::read_journal(text.substr(0, shorter));
  must(static_cast<bool>(torn), "a torn journal is a journal");
  must(torn->records.size() == std::min(j->records.size(), (shorter - j->header_size) / cache::checkpoint_record_size),
       "a torn journal has the records that are whole");
  must(std::equal(torn->records.begin(), torn->records.end(), j->records.begin()),
       "a torn journal has the same records");
}

void check_ledger(std::string_view text) {
  cache::ledger_contents found;
  if (cache::read_ledger(text, found)) return;
  must(found.read <= text.size(), "no more is read than there is");
  std::string again(cache::ledger_header);
  for (auto const& [link, about] : found.links) cache::append_ledger_record(again, link, about);
  for (auto const& [k, about] : found.objects) cache::append_ledger_record(again, k, about);
  cache::ledger_contents back;
  must(!cache::read_ledger(again, back) && back.read == again.size(), "what is written can be read whole");
  must(back.links.size() == found.links.size() && back.objects.size() == found.objects.size(),
       "what was read writes and reads the same");
}

void check(plan const& input) {
  std::string_view wire = input.wire;
  if (!input.small) {
    check_meta(wire);
    check_ledger(wire);
    check_journal(wire, input.piece * 7);
    return;
  }
  // Lines, then a line "--", then a size and a digest for each record: given the frame that makes them a journal.
  std::size_t const end = std::min(wire.find("--\n"), wire.size());
  std::string meta = "mgw-meta 1\n" + std::string(wire.substr(0, end));
  if (!input.option && !meta.ends_with('\n')) meta += '\n';
  meta += "crc32c " + cache::meta_detail::hex8(cache::crc32c(meta)) + "\n";
  check_meta(meta);
  std::string file = "mgw-part 1\n" + std::to_string(meta.size()) + "\n" + meta;
  std::uint32_t const crc = cache::crc32c(file);
  wire.remove_prefix(std::min(end + 3, wire.size()));
  while (!wire.empty()) {
    cache::checkpoint_record r;
    for (int i = 0; i < 4 && !wire.empty(); ++i) {
      r.size = r.size << 16 | static_cast<unsigned char>(wire[0]);
      wire.remove_prefix(1);
    }
    for (std::size_t i = 0; i < r.digest.size() && i < wire.size(); ++i)
      r.digest[i] = static_cast<unsigned char>(wire[i]);
    file += cache::write_checkpoint(r, input.piece == 64 ? crc ^ 1 : crc);
  }
  file.append(input.piece % 48, 'C');
  check_journal(file, input.piece * 7);

  std::string book(cache::ledger_header);
  for (std::string_view rest = input.wire; rest.size() >= 64; rest.remove_prefix(64)) {
    cache::link_id link;
    cache::key::bytes_type k;
    std::memcpy(link.bytes.data(), rest.data(), link.bytes.size());
    std::memcpy(k.data(), rest.data() + 16, k.size());
    cache::ledger_link about;
    std::memcpy(&about.generation, rest.data() + 48, sizeof about.generation);
    std::memcpy(&about.until, rest.data() + 56, sizeof about.until);
    cache::append_ledger_record(book, link, about);
    cache::append_ledger_record(book, cache::key(k), {about.generation, about.until, about.until, about.generation});
  }
  if (input.option && !book.empty()) book[input.piece % book.size()] ^= 1;
  check_ledger(book);
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check(mgw::fuzz::plan(data, size));
  return 0;
}
