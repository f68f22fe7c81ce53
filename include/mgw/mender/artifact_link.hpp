#pragma once

#include <mgw/cache/key.hpp>
#include <mgw/cache/link_id.hpp>
#include <mgw/core/result.hpp>
#include <mgw/http/uri.hpp>
#include <mgw/mender/base64.hpp>
#include <mgw/mender/error.hpp>
#include <mgw/mender/hmac.hpp>
#include <mgw/mender/link_claims.hpp>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mgw::mender {

/// The longest path of a link that is made or accepted, in bytes.
inline constexpr std::size_t max_link_size = std::size_t{16} << 10;
/// The shortest secret, in bytes.
inline constexpr std::size_t min_secret_size = 16;

/// Where the links of this gateway begin: those to objects that devices share, ...
inline constexpr std::string_view artifact_prefix = "/api/gateway/v1/artifacts/";
/// ... and those to what is one link's alone.
inline constexpr std::string_view private_prefix = "/api/gateway/v1/private/";

/// Whether an object is fetched once for all links to it, or for each link anew.
enum class link_kind : std::uint8_t { shared, own };

constexpr std::string_view prefix_of(link_kind k) noexcept {
  return k == link_kind::own ? private_prefix : artifact_prefix;
}

/// What a link to this URL has to be. Own: the server makes the artifact of a configuration for one device, anew with
/// each request and perhaps of other bytes, or another gateway says that it does.
inline link_kind kind_of(http::uri const& u) noexcept {
  bool const own = u.path.find("/download/configuration/") != std::string_view::npos ||
                   u.path.find(private_prefix) != std::string_view::npos;  // a gateway's URL may have a path
  return own ? link_kind::own : link_kind::shared;
}

/// The parts of a link's path.
struct artifact_path_parts {
  cache::key key;
  std::string_view token;  ///< inside the path
  link_kind kind = link_kind::shared;
};

/// `{prefix_of(kind)}{key in lower-case hex}/{token}`.
inline std::string artifact_path(cache::key const& key, std::string_view token, link_kind kind = link_kind::shared) {
  std::string out(prefix_of(kind));
  out += key.hex();
  out += '/';
  out += token;
  return out;
}

/// Reads what artifact_path() writes, and no other spelling: 64 lower-case hex digits, a token of base64url characters
/// and nothing after it. `path` has no query; over max_link_size bytes it is refused.
inline std::optional<artifact_path_parts> match_artifact_path(std::string_view path) {
  constexpr std::size_t key_size = 64;
  link_kind const kind = path.starts_with(private_prefix) ? link_kind::own : link_kind::shared;
  if (path.size() > max_link_size || !path.starts_with(prefix_of(kind))) return std::nullopt;
  path.remove_prefix(prefix_of(kind).size());
  if (path.size() < key_size + 2 || path[key_size] != '/') return std::nullopt;
  std::string_view const token = path.substr(key_size + 1);
  if (!std::all_of(token.begin(), token.end(), is_base64url_char)) return std::nullopt;
  auto const key = cache::key::from_hex(path.substr(0, key_size));
  if (!key) return std::nullopt;
  return artifact_path_parts{*key, token, kind};
}

/// What tells this token from every other one: its salt. Precondition: link_sealer::open has accepted it.
inline std::optional<cache::link_id> token_id(std::string_view token) {
  constexpr std::size_t version_and_salt = 24;  // in base64: 18 bytes
  auto const bytes = decode_base64url(token.substr(0, version_and_salt));
  cache::link_id id;
  if (!bytes || bytes->size() < 1 + id.bytes.size()) return std::nullopt;
  std::memcpy(id.bytes.data(), bytes->data() + 1, id.bytes.size());
  return id;
}

/// 32 random bytes. Throws std::runtime_error if the system has no randomness to give.
inline std::string random_secret() {
  std::string out(32, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size())) != 1)
    throw std::runtime_error("no random bytes to be had");
  return out;
}

/// Reads one or more secrets, separated by commas, blanks around them ignored: base64 (RFC 4648 section 4) stands for
/// the bytes it encodes, any other text for itself.
/// Errors: mender_error::malformed (an empty one), secret_too_short (fewer than min_secret_size bytes).
inline result<std::vector<std::string>> parse_secrets(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  std::vector<std::string> out;
  for (bool last = false; !last;) {
    std::size_t const comma = text.find(',');
    last = comma == std::string_view::npos;
    std::string_view item = text.substr(0, comma);
    if (!last) text.remove_prefix(comma + 1);
    item.remove_prefix(std::min(item.find_first_not_of(blanks), item.size()));
    item = item.substr(0, item.find_last_not_of(blanks) + 1);
    if (item.empty()) return mender_error::malformed;
    auto decoded = decode_base64(item);
    std::string secret = decoded ? *std::move(decoded) : std::string(item);
    if (secret.size() < min_secret_size) return mender_error::secret_too_short;
    out.push_back(std::move(secret));
  }
  return out;
}

/// Makes and opens the tokens of artifact links.
///
/// token = base64url(version (1), salt (16), ciphertext, tag (16)): AES-256-GCM of the claims under a key made for this
/// token alone, HKDF-SHA256(secret, salt, label). The associated data is purpose, version and cache key, so a token is
/// worth nothing beside another key, nor as a link of the other kind. The nonce is fixed: no sealing key is used twice, since its 16 bytes of salt are
/// random (two in 2^48 tokens agree with a chance of 2^-33).
/// Thread rule: constant after construction; any thread.
/// Source: RFC 5869, NIST SP 800-38D.
class link_sealer {
public:
  /// @param secrets raw bytes; the first seals, all open. Throws std::invalid_argument if there is none, or one of
  /// fewer than min_secret_size bytes.
  explicit link_sealer(std::vector<std::string> secrets);

  /// The token for `claims` beside `key` in a link of this kind. Empty if the link would pass max_link_size, or without randomness: then no
  /// link can be made.
  std::string seal(cache::key const& key, link_claims const& claims, link_kind kind = link_kind::shared) const;

  /// Gives the claims of a token that one of the secrets sealed for `key` and this kind. Whether it expired is the caller's business.
  /// Errors: mender_error::malformed, too_long, not_authentic.
  result<link_claims> open(cache::key const& key, std::string_view token, link_kind kind = link_kind::shared) const;

private:
  static constexpr unsigned char version = 1;
  static constexpr std::size_t salt_size = 16;
  static constexpr std::size_t tag_size = 16;
  static constexpr std::size_t overhead = 1 + salt_size + tag_size;
  static constexpr std::string_view purpose = "mgw artifact link", own_purpose = "mgw private link";

  using sealing_key = sha256_bytes;
  struct context_free {
    void operator()(EVP_CIPHER_CTX* c) const noexcept { EVP_CIPHER_CTX_free(c); }
  };
  using context = std::unique_ptr<EVP_CIPHER_CTX, context_free>;

  static bool derive(std::string_view secret, std::string_view salt, sealing_key& out) noexcept;
  static bool crypt(bool sealing, sealing_key const& key, std::string_view associated, std::string_view in, char* out,
                    char* tag) noexcept;
  static std::string associated_data(cache::key const& key, link_kind kind);

  std::vector<std::string> secrets_;
};

inline link_sealer::link_sealer(std::vector<std::string> secrets) : secrets_(std::move(secrets)) {
  if (secrets_.empty()) throw std::invalid_argument("links need a secret");
  for (std::string const& s : secrets_)
    if (s.size() < min_secret_size) throw std::invalid_argument("a secret for links must have at least 16 bytes");
}

inline std::string link_sealer::associated_data(cache::key const& key, link_kind kind) {
  std::string out(kind == link_kind::own ? own_purpose : purpose);
  out.push_back(static_cast<char>(version));
  out += key.hex();
  return out;
}

/// HKDF-SHA256 with one block of output: extract, then expand once.
inline bool link_sealer::derive(std::string_view secret, std::string_view salt, sealing_key& out) noexcept {
  constexpr std::string_view info = "mgw artifact link sealing key\x01";  // the label, and the number of the block
  sealing_key extracted{};
  std::string_view const key(reinterpret_cast<char const*>(extracted.data()), extracted.size());
  bool const ok = hmac_sha256(salt, secret, extracted) && hmac_sha256(key, info, out);
  OPENSSL_cleanse(extracted.data(), extracted.size());
  return ok;
}

/// Writes `in.size()` bytes to `out`. `tag` is written when sealing and compared when opening.
inline bool link_sealer::crypt(bool sealing, sealing_key const& key, std::string_view associated, std::string_view in,
                               char* out, char* tag) noexcept {
  auto const bytes = [](std::string_view s) { return reinterpret_cast<unsigned char const*>(s.data()); };
  static constexpr std::array<unsigned char, 12> nonce{};
  auto* const to = reinterpret_cast<unsigned char*>(out);
  int n = 0;
  context const c(EVP_CIPHER_CTX_new());
  if (!c || EVP_CipherInit_ex(c.get(), EVP_aes_256_gcm(), nullptr, key.data(), nonce.data(), sealing ? 1 : 0) != 1)
    return false;
  if (!sealing && EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_SET_TAG, tag_size, tag) != 1) return false;
  if (EVP_CipherUpdate(c.get(), nullptr, &n, bytes(associated), static_cast<int>(associated.size())) != 1 ||
      EVP_CipherUpdate(c.get(), to, &n, bytes(in), static_cast<int>(in.size())) != 1 ||
      EVP_CipherFinal_ex(c.get(), to + n, &n) != 1)
    return false;
  return !sealing || EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_GET_TAG, tag_size, tag) == 1;
}

inline std::string link_sealer::seal(cache::key const& key, link_claims const& claims, link_kind kind) const {
  std::string const plain = encode_claims(claims);
  if (plain.size() > max_link_size) return {};
  std::string out(overhead + plain.size(), '\0');
  out[0] = static_cast<char>(version);
  if (RAND_bytes(reinterpret_cast<unsigned char*>(out.data() + 1), salt_size) != 1) return {};
  sealing_key sealing{};
  std::string const associated = associated_data(key, kind);
  bool const ok =
      derive(secrets_.front(), std::string_view(out).substr(1, salt_size), sealing) &&
      crypt(true, sealing, associated, plain, out.data() + 1 + salt_size, out.data() + out.size() - tag_size);
  OPENSSL_cleanse(sealing.data(), sealing.size());
  if (!ok) return {};
  std::string token = encode_base64url(out);
  return prefix_of(kind).size() + 65 + token.size() <= max_link_size ? token : std::string{};
}

inline result<link_claims> link_sealer::open(cache::key const& key, std::string_view token, link_kind kind) const {
  if (token.size() > max_link_size) return mender_error::too_long;
  auto sealed = decode_base64url(token);
  if (!sealed || sealed->size() < overhead || (*sealed)[0] != static_cast<char>(version))
    return mender_error::malformed;
  std::string const associated = associated_data(key, kind);
  std::string_view const salt = std::string_view(*sealed).substr(1, salt_size);
  std::string_view const in = std::string_view(*sealed).substr(1 + salt_size, sealed->size() - overhead);
  std::string plain(in.size(), '\0');
  for (std::string const& secret : secrets_) {
    sealing_key opening{};
    bool const ok = derive(secret, salt, opening) &&
                    crypt(false, opening, associated, in, plain.data(), sealed->data() + sealed->size() - tag_size);
    OPENSSL_cleanse(opening.data(), opening.size());
    if (ok) return decode_claims(plain);
  }
  return mender_error::not_authentic;
}

}  // namespace mgw::mender
