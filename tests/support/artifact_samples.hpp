#pragma once

#include <archive.h>
#include <archive_entry.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::test {

inline std::string sha256_hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> raw;
  unsigned n = 0;
  EVP_Digest(bytes.data(), bytes.size(), raw.data(), &n, EVP_sha256(), nullptr);
  std::string out;
  for (unsigned i = 0; i != n; ++i) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", static_cast<unsigned>(raw[i]));
    out += two;
  }
  return out;
}

/// One entry of a tar archive; every field may be as wrong as a test wants it.
struct tar_entry {
  std::string name;
  std::string content;
  char type = '0';
  std::string link = {};
  std::string size = {};                                        ///< the field, if it is to be another than content's
  std::string_view magic = std::string_view("ustar\00000", 8);  // GNU: "ustar  "

  std::string header() const {
    std::string h(512, '\0');
    auto const put = [&h](std::size_t at, std::string_view text) {
      std::copy(text.begin(), text.end(), h.begin() + static_cast<std::ptrdiff_t>(at));
    };
    char octal[16];
    put(0, std::string_view(name).substr(0, 100));
    put(100, "0000600");
    put(108, "0000000");
    put(116, "0000000");
    std::snprintf(octal, sizeof octal, "%011llo", static_cast<unsigned long long>(content.size()));
    put(124, size.empty() ? std::string_view(octal) : std::string_view(size));
    put(136, "00000000000");
    put(148, "        ");
    h[156] = type;
    put(157, std::string_view(link).substr(0, 100));
    put(257, magic);
    return with_checksum(h);
  }
  static std::string with_checksum(std::string h) {
    std::fill_n(h.begin() + 148, 8, ' ');
    unsigned sum = 0;
    for (char const c : h) sum += static_cast<unsigned char>(c);
    char octal[16];
    std::snprintf(octal, sizeof octal, "%06o", sum);
    std::copy_n(octal, 7, h.begin() + 148);
    return h;
  }
  std::string bytes() const { return header() + content + std::string((512 - content.size() % 512) % 512, '\0'); }
};

inline std::string pax_record(std::string const& key, std::string const& value) {
  std::string const rest = ' ' + key + '=' + value + '\n';
  std::size_t n = rest.size();
  while (std::to_string(n).size() + rest.size() != n) ++n;
  return std::to_string(n) + rest;
}

inline std::string tar(std::vector<tar_entry> const& entries, std::size_t end_blocks = 2) {
  std::string out;
  for (auto const& e : entries) out += e.bytes();
  return out + std::string(end_blocks * 512, '\0');
}

/// `suffix`: "", ".gz", ".xz" or ".zst".
inline std::string packed(std::string_view bytes, std::string_view suffix) {
  if (suffix.empty()) return std::string(bytes);
  std::string out;
  archive* const a = archive_write_new();
  archive_write_set_format_raw(a);
  archive_write_set_bytes_per_block(a, 0);
  if (suffix == ".gz") {
    archive_write_add_filter_gzip(a);
    archive_write_set_filter_option(a, "gzip", "timestamp", nullptr);  // the same bytes at any time
  } else if (suffix == ".xz") {
    archive_write_add_filter_xz(a);
  } else {
    archive_write_add_filter_zstd(a);
  }
  auto const write = [](archive*, void* to, void const* p, std::size_t n) -> la_ssize_t {
    static_cast<std::string*>(to)->append(static_cast<char const*>(p), n);
    return static_cast<la_ssize_t>(n);
  };
  archive_write_open(a, &out, nullptr, write, nullptr);
  archive_entry* const e = archive_entry_new();
  archive_entry_set_filetype(e, AE_IFREG);
  archive_write_header(a, e);
  bool const well = archive_write_data(a, bytes.data(), bytes.size()) == static_cast<la_ssize_t>(bytes.size()) &&
                    archive_write_close(a) == ARCHIVE_OK;
  archive_entry_free(e);
  archive_write_free(a);
  if (!well) throw std::runtime_error("cannot compress a sample");
  return out;
}

/// A Mender artifact of small files. Change what is to be wrong, then make entries() of it, or all().
struct artifact_sample {
  std::string suffix = {};  ///< of the archives inside
  std::string version = R"({"format":"mender","version":3})";
  std::string header_info = R"({"payloads":[{"type":"single-file"}],"artifact_provides":{"artifact_name":"release-2"},)"
                            R"("artifact_depends":{"device_type":["qemux86-64","raspberrypi4"]}})";
  std::vector<tar_entry> header = {{"header-info", {}},
                                   {"scripts/ArtifactInstall_Enter_00", "#!/bin/sh\n"},
                                   {"headers/0000/type-info", R"({"type":"single-file"})"}};
  std::vector<tar_entry> files = {{"dest_dir", "/var/lib"}, {"blob.bin", std::string(3000, 'b')}};
  std::vector<tar_entry> augment_files = {};
  bool augmented = false;
  std::string signature = {};  ///< as it stands in manifest.sig, if any

  static std::string line(std::string_view content, std::string const& name) {
    return sha256_hex(content) + "  " + name + '\n';
  }

  std::string header_tar() const {
    auto all = header;
    for (auto& e : all)
      if (e.name == "header-info" && e.content.empty()) e.content = header_info;
    return packed(tar(all), suffix);
  }
  std::string augment_tar() const {
    return packed(
        tar({{"header-info", R"({"payloads":[{"type":"delta"}]})"}, {"headers/0000/type-info", R"({"type":"delta"})"}}),
        suffix);
  }
  std::string data_tar() const {
    auto all = files;
    all.insert(all.end(), augment_files.begin(), augment_files.end());
    return packed(tar(all), suffix);
  }
  std::string manifest() const {
    std::string out;
    for (auto const& f : files) out += line(f.content, "data/0000/" + f.name);
    return out + line(header_tar(), "header.tar" + suffix) + line(version, "version");
  }
  std::string augment_manifest() const {
    std::string out;
    for (auto const& f : augment_files) out += line(f.content, "data/0000/" + f.name);
    return out + line(augment_tar(), "header-augment.tar" + suffix);
  }
  std::vector<tar_entry> entries() const {
    std::vector<tar_entry> out{{"version", version}, {"manifest", manifest()}};
    if (!signature.empty()) out.push_back({"manifest.sig", signature});
    if (augmented) out.push_back({"manifest-augment", augment_manifest()});
    out.push_back({"header.tar" + suffix, header_tar()});
    if (augmented) out.push_back({"header-augment.tar" + suffix, augment_tar()});
    out.push_back({"data/0000.tar" + suffix, data_tar()});
    return out;
  }
  std::string all() const { return tar(entries()); }
};

inline constexpr std::string_view suffixes[] = {"", ".gz", ".xz", ".zst"};

}  // namespace mgw::test
