// Properties of artifact links: no token opens that was not sealed here; what is sealed opens to the same claims, and
// no longer once a bit of it or the key beside it has changed; claims are refused or read to what writes them again.
#include "property.hpp"

#include <mgw/mender/artifact_link.hpp>
#include <mgw/mender/link_claims.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mgw::fuzz {
namespace {

std::int64_t take_number(std::string_view& in) {
  std::uint64_t n = 0;
  for (int i = 0; i < 8 && !in.empty(); ++i) {
    n = n << 8 | static_cast<unsigned char>(in[0]);
    in.remove_prefix(1);
  }
  return static_cast<std::int64_t>(n);
}
std::string take_line(std::string_view& in) {
  std::size_t const end = std::min(in.find('\n'), in.size());
  std::string out(in.substr(0, end));
  in.remove_prefix(std::min(end + 1, in.size()));
  return out;
}

void check(plan const& input) {
  static mender::link_sealer const ours({"the secret that seals", "a secret from before"});
  static mender::link_sealer const before({"a secret from before"});
  static mender::link_sealer const foreign({"the secret of another"});
  static cache::key const key, other([] {
    cache::key::bytes_type bytes{};
    bytes[31] = 1;
    return bytes;
  }());

  exact_copy const copy(input.wire);
  must(!ours.open(key, copy.view()), "no token opens that was not sealed here");
  if (auto const parts = mender::match_artifact_path(copy.view()))
    must(mender::artifact_path(parts->key, parts->token, parts->kind) == copy.view(), "a link has one spelling");

  auto const read = mender::decode_claims(copy.view());
  if (read) {
    auto const back = mender::decode_claims(mender::encode_claims(*read));
    must(back && *back == *read, "claims that are read write and read the same");
    must(read->headers.size() <= copy.view().size() / 2, "claims hold no more fields than there are bytes for");
  }
  auto const bytes = mender::decode_base64url(copy.view());
  must(!bytes || mender::encode_base64url(*bytes) == copy.view(), "base64url has one spelling");

  mender::link_claims claims;
  std::string_view in = copy.view();
  claims.issued = take_number(in);
  claims.expires = take_number(in);
  claims.import = input.option;
  claims.url = take_line(in);
  claims.device_id = take_line(in);
  while (!in.empty()) {
    std::string name = take_line(in);
    claims.headers.emplace_back(std::move(name), take_line(in));
  }
  std::string const token = (input.small ? before : ours).seal(key, claims);
  must(!token.empty() || copy.view().size() > 8000, "what is not too long can be sealed");
  if (token.empty()) return;
  auto const opened = ours.open(key, token);
  must(opened && *opened == claims, "what is sealed opens to the same");
  must(!ours.open(other, token), "a token is worth nothing beside another key");
  must(!ours.open(key, token, mender::link_kind::own), "a token is worth nothing in a link of the other kind");
  must(!foreign.open(key, token), "a token is worth nothing to another gateway");
  std::size_t const at = input.piece * 131 % token.size();
  std::string changed = token;
  changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ (1u << input.piece % 8));
  must(!ours.open(key, changed), "a token with a changed bit does not open");
  must(!ours.open(key, std::string_view(token).substr(0, at)), "a token that is cut does not open");
  must(!ours.open(key, token + "A"), "a token with more behind it does not open");
  std::string const path = mender::artifact_path(key, token);
  auto const parts = mender::match_artifact_path(path);
  must(parts && parts->key == key && parts->token == token, "a link is found in its path");
}

}  // namespace
}  // namespace mgw::fuzz

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  mgw::fuzz::check(mgw::fuzz::plan(data, size));
  return 0;
}
