#pragma once

#include "artifact/error.hpp"
#include "artifact/head_digest.hpp"
#include "artifact/header_info.hpp"
#include "artifact/info.hpp"
#include "artifact/keys.hpp"
#include "artifact/limits.hpp"
#include "artifact/manifest.hpp"
#include "artifact/source.hpp"
#include "artifact/tar_reader.hpp"
#include "artifact/unpacker.hpp"

#include <mgw/cache/sha256.hpp>
#include <mgw/mender/base64.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace gateway {

/// Reads and checks a Mender artifact, format version 3, as it comes in. Nothing is unpacked to anywhere: memory is
/// bounded by `artifact_limits`, whatever is fed; time by the artifact's size and by what it may unpack to.
///
/// Three stages, each including the ones before; after the first verdict that is not good, all later ones are the same.
///
///     artifact_reader reader(read_from(fd), keys, {});
///     if (!reader.read_head()) ...      // version, manifest, signature: the first kilobytes
///     if (!reader.read_header()) ...    // names and device types: info().header
///     if (!reader.read_payloads()) ...  // everything, to the end of the source
///
/// What is held: the order of the entries; the checksums of `version`, of the header as it is stored (before it is
/// unpacked), of each payload file; each file is in exactly one manifest, each line of a manifest has its file; with
/// keys, that one of them signed the manifest. What a payload's own tar archive says beside that is covered by no
/// checksum, so only plain files with plain names may be in it. Source: Documentation/artifact-format-v3.md of
/// mender-artifact.
class artifact_reader {
public:
  /// `keys` stays the caller's; without a key, signatures are not looked at.
  artifact_reader(byte_source source, artifact_keys const& keys, artifact_limits const& limits)
      : limits_(limits), keys_(keys), outer_(std::move(source), limits.max_entry_headers, limits.max_padding) {}
  artifact_reader(byte_source, artifact_keys const&&, artifact_limits const&) = delete;
  artifact_reader(artifact_reader const&) = delete;
  artifact_reader& operator=(artifact_reader const&) = delete;

  artifact_verdict const& read_head() { return reach(stage::head); }
  artifact_verdict const& read_header() { return reach(stage::header); }
  artifact_verdict const& read_payloads() { return reach(stage::end); }

  artifact_info const& info() const noexcept { return info_; }

private:
  enum class stage { start, head, header, end };

  artifact_verdict const& reach(stage wanted) {
    while (verdict_ && stage_ < wanted) {
      bool good = false;
      switch (stage_) {
        case stage::start: good = head(); break;
        case stage::head: good = header(); break;
        case stage::header: good = payloads(); break;
        case stage::end: good = true; break;
      }
      if (good) stage_ = static_cast<stage>(static_cast<int>(stage_) + 1);
    }
    return verdict_;
  }

  bool head();
  std::optional<std::string> version();
  bool signature(std::string_view signed_text);
  bool header();
  bool payloads();
  bool payload(std::size_t index, compression how);
  bool payload_file(tar_reader& files, std::string const& name);
  bool stored_header(manifest& listed, compression how, bool augmenting);
  bool unpacked_header(std::string_view stored, compression how, bool augmenting);
  bool complete();

  bool refuse(std::error_code ec, std::string entry = {}, std::string detail = {}) {
    if (verdict_) verdict_ = {ec, std::move(entry), std::move(detail)};
    return false;
  }
  /// The outer archive broke or ended, where an entry was wanted.
  bool no_entry() {
    return refuse(outer_.error() ? outer_.error() : make_error_code(artifact_error::truncated), outer_.name());
  }
  bool next() {
    have_entry_ = outer_.next();
    return have_entry_ || (outer_.error() ? no_entry() : true);
  }
  bool at(std::string_view name) const { return have_entry_ && outer_.name() == name; }
  bool unexpected() { return have_entry_ ? refuse(artifact_error::unexpected_entry, outer_.name()) : no_entry(); }
  std::optional<std::string> whole_entry(tar_reader& from, std::size_t max, std::string const& prefix);
  bool right_checksum(mgw::cache::sha256 const& hash, manifest::line& line, std::string const& entry);
  bool right_checksum(std::string_view bytes, manifest::line& line, std::string const& entry) {
    mgw::cache::sha256 hash;
    return hash.update(bytes) ? refuse(artifact_error::unable) : right_checksum(hash, line, entry);
  }

  artifact_limits const limits_;
  artifact_keys const& keys_;
  tar_reader outer_;
  bool have_entry_ = false;  // outer_ stands at an entry that was not dealt with yet
  stage stage_ = stage::start;
  artifact_verdict verdict_;
  artifact_info info_;
  head_digest digest_;
  manifest manifest_;
  manifest augment_;
  std::uint64_t unpacked_ = 0;  // by all payloads
};

/// What is left of the current entry, of at most `max` bytes.
inline std::optional<std::string> artifact_reader::whole_entry(tar_reader& from, std::size_t max,
                                                               std::string const& prefix) {
  std::string out;
  if (from.size() > max) return refuse(artifact_error::entry_too_large, prefix + from.name()), std::nullopt;
  for (auto piece = from.read(); !piece.is_end(); piece = from.read()) {
    if (piece.failure) return refuse(piece.failure, prefix + from.name()), std::nullopt;
    out += piece.bytes;
  }
  return out;
}

inline bool artifact_reader::right_checksum(mgw::cache::sha256 const& hash, manifest::line& line,
                                            std::string const& entry) {
  mgw::cache::sha256_digest digest;
  if (hash.digest(digest)) return refuse(artifact_error::unable);
  line.seen = true;
  return mgw::cache::to_hex(digest) == line.sha256 || refuse(artifact_error::wrong_checksum, entry);
}

inline bool artifact_reader::head() {
  auto const version_text = version();
  if (!version_text || !next()) return false;
  if (!at("manifest")) return unexpected();
  auto const text = whole_entry(outer_, limits_.max_manifest, {});
  if (!text) return false;
  auto parsed = manifest::parse(*text, manifest::kind::main);
  if (!parsed) return refuse(parsed.error(), "manifest");
  manifest_ = std::move(*parsed);
  digest_.add("version", *version_text);
  digest_.add("manifest", *text);
  return right_checksum(*version_text, *manifest_.find("version"), "version") && next() && signature(*text);
}

inline std::optional<std::string> artifact_reader::version() {
  if (!outer_.next()) {
    auto const ec = outer_.error();
    bool const no_tar = !ec || ec == artifact_error::broken_archive || ec == artifact_error::truncated ||
                        ec == artifact_error::trailing_data;
    // An entry that is no file may still be called `version`.
    bool const another = ec == artifact_error::bad_entry_type && outer_.name() != "version";
    if (no_tar || another)
      refuse(artifact_error::not_an_artifact);
    else
      refuse(ec, outer_.name());
    return std::nullopt;
  }
  if (outer_.name() != "version") return refuse(artifact_error::not_an_artifact), std::nullopt;
  auto text = whole_entry(outer_, limits_.max_version, {});
  if (!text) return std::nullopt;
  auto const number = read_format_version(*text);
  if (!number)
    refuse(artifact_error::bad_version, "version");
  else if (*number != 3)
    refuse(artifact_error::unsupported_version, "version", "format version " + std::to_string(*number) + ", not 3");
  return verdict_ ? text : std::nullopt;
}

/// Looks at manifest.sig, if it is there, and goes on to the next entry.
inline bool artifact_reader::signature(std::string_view signed_text) {
  info_.signature = at("manifest.sig") ? signature_state::not_checked : signature_state::none;
  if (!at("manifest.sig")) return keys_.empty() || refuse(artifact_error::unsigned_manifest);
  auto encoded = whole_entry(outer_, limits_.max_signature, {});
  if (!encoded) return false;
  digest_.add("manifest.sig", *encoded);
  std::erase_if(*encoded, [](char c) { return c == '\r' || c == '\n'; });  // Go's decoder, so clients, pass over them
  if (!keys_.empty()) {
    auto const decoded = mgw::mender::decode_base64(*encoded);
    auto const signer = decoded ? keys_.signer(signed_text, *decoded) : std::nullopt;
    if (!signer) return refuse(artifact_error::bad_signature, "manifest.sig");
    info_.signature = signature_state::good;
    info_.signer = *signer;
  }
  return next();
}

inline bool artifact_reader::header() {
  bool const augmented = at("manifest-augment");
  if (augmented) {
    auto const text = whole_entry(outer_, limits_.max_manifest, {});
    if (!text) return false;
    auto parsed = manifest::parse(*text, manifest::kind::augment);
    if (!parsed) return refuse(parsed.error(), "manifest-augment");
    augment_ = std::move(*parsed);
    digest_.add("manifest-augment", *text);
    for (auto const& [name, line] : augment_.lines())
      if (manifest_.find(name) != nullptr) return refuse(artifact_error::repeated_entry, name, "in both manifests");
    if (!next()) return false;
  }
  auto const how = have_entry_ ? compression_of(outer_.name(), "header.tar") : std::nullopt;
  if (!how) return unexpected();
  info_.head_digest = digest_.hex();
  if (info_.head_digest.empty()) return refuse(artifact_error::unable);
  if (!stored_header(manifest_, *how, false) || !next()) return false;
  if (augmented) {
    if (!have_entry_ || compression_of(outer_.name(), "header-augment.tar") != how) return unexpected();
    if (!stored_header(augment_, *how, true) || !next()) return false;
  }
  return true;
}

/// The header is looked into only after its checksum is known to be right.
inline bool artifact_reader::stored_header(manifest& listed, compression how, bool augmenting) {
  auto* const line = listed.find(outer_.name());
  if (line == nullptr) return refuse(artifact_error::not_in_manifest, outer_.name());
  auto const stored = whole_entry(outer_, limits_.max_header, {});
  return stored && right_checksum(*stored, *line, outer_.name()) && unpacked_header(*stored, how, augmenting);
}

inline bool artifact_reader::unpacked_header(std::string_view stored, compression how, bool augmenting) {
  unpacker bytes(read_from(stored), how, {limits_.max_header, limits_.max_header, 0, limits_.max_unpacker_memory});
  tar_reader files([&bytes] { return bytes.read(); }, limits_.max_entry_headers, limits_.max_padding);
  std::string const prefix = outer_.name() + '/';
  std::set<std::string> seen;
  while (files.next()) {
    std::string const& name = files.name();
    if (seen.size() == limits_.max_header_entries) return refuse(artifact_error::too_many_entries, outer_.name());
    std::string_view const of_payload = name_in_payload(name, "headers/");
    bool const known = name == "header-info" || of_payload == "type-info" || of_payload == "meta-data" ||
                       (name.starts_with("scripts/") && is_plain_name(std::string_view(name).substr(8)));
    if (!known) return refuse(artifact_error::bad_entry_name, prefix + name);
    if (seen.empty() != (name == "header-info")) return refuse(artifact_error::unexpected_entry, prefix + name);
    if (!seen.insert(name).second) return refuse(artifact_error::repeated_entry, prefix + name);
    if (name != "header-info") continue;
    auto const text = whole_entry(files, limits_.max_header_info, prefix);
    if (!text) return false;
    auto info = read_header_info(*text, augmenting);
    if (!info) return refuse(info.error(), prefix + name);
    if (info->payloads.size() > limits_.max_payloads) return refuse(artifact_error::too_many_entries, prefix + name);
    if (!augmenting) info_.header = std::move(*info);
  }
  if (files.error()) return refuse(files.error(), prefix + files.name());
  return !seen.empty() || refuse(artifact_error::missing_file, prefix + "header-info");
}

inline bool artifact_reader::payloads() {
  for (std::size_t index = 0; have_entry_; ++index) {
    char stem[32];
    std::snprintf(stem, sizeof stem, "data/%04zu.tar", index);
    auto const how = compression_of(outer_.name(), stem);
    if (!how || index == info_.header.payloads.size()) return unexpected();
    if (!payload(index, *how) || !next()) return false;
  }
  return complete();
}

inline bool artifact_reader::payload(std::size_t index, compression how) {
  unpacker bytes(
      [this] { return outer_.read(); }, how,
      {limits_.max_unpacked - unpacked_, limits_.free_unpacked, limits_.max_ratio, limits_.max_unpacker_memory});
  tar_reader files([&bytes] { return bytes.read(); }, limits_.max_entry_headers, limits_.max_padding);
  char folder[32];
  std::snprintf(folder, sizeof folder, "data/%04zu/", index);
  while (files.next()) {
    if (!is_plain_name(files.name())) return refuse(artifact_error::bad_entry_name, folder + files.name());
    if (!payload_file(files, folder + files.name())) return false;
  }
  unpacked_ += bytes.unpacked();
  return !files.error() || refuse(files.error(), files.name().empty() ? outer_.name() : folder + files.name());
}

inline bool artifact_reader::payload_file(tar_reader& files, std::string const& name) {
  auto* line = manifest_.find(name);
  bool const augmented = line == nullptr;
  if (augmented) line = augment_.find(name);
  if (line == nullptr) return refuse(artifact_error::not_in_manifest, name);
  if (line->seen) return refuse(artifact_error::repeated_entry, name);
  if (info_.files.size() == limits_.max_files) return refuse(artifact_error::too_many_entries, name);
  mgw::cache::sha256 hash;
  for (auto piece = files.read(); !piece.is_end(); piece = files.read()) {
    if (piece.failure) return refuse(piece.failure, name);
    if (hash.update(piece.bytes)) return refuse(artifact_error::unable);
  }
  if (!right_checksum(hash, *line, name)) return false;
  info_.files.push_back({name, files.size(), line->sha256, augmented});
  return true;
}

inline bool artifact_reader::complete() {
  for (auto const* const listed : {&manifest_, &augment_})
    for (auto const& [name, line] : listed->lines())
      if (!line.seen) return refuse(artifact_error::missing_file, name);
  return true;
}

}  // namespace gateway
