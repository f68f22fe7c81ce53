#include <mgw/cache/key.hpp>

#include <mgw/http/uri.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <ostream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

// URLs of the shapes that storage servers and Mender's own server send, in pairs: the same object or another one.
namespace mgw::cache::key_shapes_test {

namespace {

enum verdict { same, different };

struct pair_of_links {
  char const* what;
  std::string a, b;
  verdict want;
};

std::string const s3 = "https://s3.example.com/mender-artifact-storage/5abcb6de/b0c05f55-4e95-4b1c-9b4d-1a3b1d3c6e5f";
std::string const s3_a =
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=DUMMYA%2F20250101%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20250101T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&response-content-disposition=attachment%3B%20filename%3D%22release-1.mender%22"
    "&response-content-type=application%2Fvnd.mender-artifact&x-id=GetObject&X-Amz-Signature=aaaa";
std::string const s3_b =
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=DUMMYB%2F20250102%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20250102T030405Z&X-Amz-Expires=900&X-Amz-Security-Token=c2Vzc2lvbg%3D%3D&X-Amz-SignedHeaders=host"
    "&response-content-disposition=attachment%3B%20filename%3D%22renamed.mender%22"
    "&response-content-type=application%2Fvnd.mender-artifact&x-id=GetObject&X-Amz-Signature=bbbb";
std::string const v2_a = "AWSAccessKeyId=DUMMYA&Expires=1700000000&Signature=aaaa%3D";
std::string const v2_b = "AWSAccessKeyId=DUMMYB&Expires=1800000000&Signature=bbbb%3D";
std::string const blob = "https://mender.blob.core.windows.net/artifacts/5abc/b0c05f55";
std::string const sas_a =
    "sv=2021-06-08&st=2025-01-01T00%3A00%3A00Z&se=2025-01-02T00%3A00%3A00Z&sr=b&sp=r&sig=aaaa%3D"
    "&rscd=attachment%3B+filename%3D%22a.mender%22";
std::string const sas_b =
    "sv=2023-11-03&st=2025-02-01T00%3A00%3A00Z&se=2025-02-02T00%3A00%3A00Z&sr=b&sp=r&sig=bbbb%3D"
    "&rscd=attachment%3B+filename%3D%22b.mender%22";
std::string const gcs = "https://storage.googleapis.com/mender/b0c05f55";
std::string const goog_a =
    "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=A%40dummy&X-Goog-Date=20250101T000000Z&X-Goog-Expires=900"
    "&X-Goog-SignedHeaders=host&X-Goog-Signature=aaaa";
std::string const goog_b =
    "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=B%40dummy&X-Goog-Date=20250102T000000Z&X-Goog-Expires=600"
    "&X-Goog-SignedHeaders=host&X-Goog-Signature=bbbb";
std::string const conf = "https://mender.example.com/api/devices/v1/deployments/download/configuration/dep/type/";
std::string const gw = "https://gw.example.com/api/gateway/v1/";
std::string const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
std::string const hex2 = "1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

std::vector<pair_of_links> const table = {
    // S3, version 4: AWS, MinIO, SeaweedFS, Ceph, Google's S3 API
    {"path style, signed a day later", s3 + "?" + s3_a, s3 + "?" + s3_b, same},
    {"an older server, without x-id, with a signed hash member",
     "https://s3.amazonaws.com/hosted-mender-artifacts/5abc/b0c05f55"
     "?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-Credential=D"
     "&X-Amz-Date=20200101T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aaaa",
     "https://s3.amazonaws.com/hosted-mender-artifacts/5abc/b0c05f55?" + s3_b, same},
    {"virtual host", "https://b.s3.eu-west-1.amazonaws.com/5abc/b0c05f55?" + s3_a,
     "https://b.s3.eu-west-1.amazonaws.com/5abc/b0c05f55?" + s3_b, same},
    {"virtual host, another bucket", "https://b.s3.eu-west-1.amazonaws.com/5abc/b0c05f55?" + s3_a,
     "https://c.s3.eu-west-1.amazonaws.com/5abc/b0c05f55?" + s3_b, different},
    {"virtual host and path style", "https://b.s3.amazonaws.com/k?" + s3_a, "https://s3.amazonaws.com/b/k?" + s3_b,
     different},
    {"accelerated", "https://b.s3-accelerate.amazonaws.com/k?" + s3_a,
     "https://b.s3-accelerate.amazonaws.com/k?" + s3_b, same},
    {"R2", "https://c271964d41749feb10da762816c952ee.r2.cloudflarestorage.com/m/5abc/b0c05f55?" + s3_a,
     "https://c271964d41749feb10da762816c952ee.r2.cloudflarestorage.com/m/5abc/b0c05f55?" + s3_b, same},
    {"R2, another account", "https://c271964d41749feb10da762816c952ee.r2.cloudflarestorage.com/m/k?" + s3_a,
     "https://d271964d41749feb10da762816c952ee.r2.cloudflarestorage.com/m/k?" + s3_a, different},
    {"MinIO on a port", "http://minio:9000/mender/b0c05f55?" + s3_a, "http://minio:9000/mender/b0c05f55?" + s3_b, same},
    {"MinIO on another port", "http://minio:9000/mender/b0c05f55?" + s3_a, "http://minio:9001/mender/b0c05f55?" + s3_a,
     different},
    {"another artifact", s3 + "?" + s3_a, s3 + "0?" + s3_a, different},
    {"another tenant", "https://s3.example.com/m/t1/b0c05f55?" + s3_a, "https://s3.example.com/m/t2/b0c05f55?" + s3_a,
     different},
    {"another scheme", "https://h/b/k?" + s3_a, "http://h/b/k?" + s3_a, different},
    {"a path in another case", "https://h/b/k?" + s3_a, "https://h/b/K?" + s3_a, different},
    {"a path with another escape", "https://h/b/k?" + s3_a, "https://h/b/%6b?" + s3_a, different},
    {"a path with an empty segment", "https://h/b/k?" + s3_a, "https://h/b//k?" + s3_a, different},
    {"a host in another case", "https://h.example/b/k?" + s3_a, "https://H.Example/b/k?" + s3_b, same},
    {"a host with a dot behind it", "https://h/b/k?" + s3_a, "https://h./b/k?" + s3_a, different},
    {"the port that the scheme means", "https://h/b/k?" + s3_a, "https://h:443/b/k?" + s3_b, same},
    {"signed and not signed", s3 + "?" + s3_a, s3, different},
    {"an object version and none", s3 + "?versionId=v1&" + s3_a, s3 + "?" + s3_a, different},
    {"one object version, in another place", s3 + "?versionId=v1&" + s3_a, s3 + "?" + s3_b + "&versionId=v1", same},
    {"two object versions", s3 + "?versionId=v1&" + s3_a, s3 + "?versionId=v2&" + s3_a, different},
    {"two parts of an object", s3 + "?partNumber=1&" + s3_a, s3 + "?partNumber=2&" + s3_a, different},
    {"members repeated", s3 + "?a=1&" + s3_a, s3 + "?a=1&a=1&" + s3_a, different},
    {"members repeated in another order", s3 + "?a=1&a=2&" + s3_a, s3 + "?a=2&a=1&" + s3_a, different},
    {"signing members repeated", s3 + "?" + s3_a, s3 + "?" + s3_a + "&" + s3_b, same},
    {"other members in another order", s3 + "?a=1&b=2&" + s3_a, s3 + "?b=2&a=1&" + s3_a, different},
    {"an empty value and no value", s3 + "?a&" + s3_a, s3 + "?a=&" + s3_a, different},
    {"a value with another escape", s3 + "?a=1&" + s3_a, s3 + "?a=%31&" + s3_a, different},
    {"without the signature, all counts", s3 + "?X-Amz-Date=1", s3 + "?X-Amz-Date=2", different},
    {"an empty signature is none",
     s3 + "?X-Amz-Date=1&X-Amz-Signature=", s3 + "?X-Amz-Date=2&X-Amz-Signature=", different},
    {"a signature without a value is none", s3 + "?X-Amz-Date=1&X-Amz-Signature", s3 + "?X-Amz-Date=2&X-Amz-Signature",
     different},
    {"a signature in a value is none", s3 + "?a=X-Amz-Signature=s&X-Amz-Date=1",
     s3 + "?a=X-Amz-Signature=s&X-Amz-Date=2", different},
    {"a longer name is no signature", s3 + "?X-Amz-Signature2=s&X-Amz-Date=1", s3 + "?X-Amz-Signature2=s&X-Amz-Date=2",
     different},
    {"a member of S3 beside a signature of Azure", s3 + "?X-Amz-Date=1&" + sas_a, s3 + "?X-Amz-Date=2&" + sas_a,
     different},
    {"a time of Azure beside a signature of S3", s3 + "?se=1&" + s3_a, s3 + "?se=2&" + s3_a, different},
    {"an expiry of version 2 beside a signature of version 4", s3 + "?Expires=1&" + s3_a, s3 + "?Expires=2&" + s3_a,
     different},

    // S3, version 2: old MinIO and Ceph, Google's interoperability
    {"version 2, signed anew", "http://minio:9000/mender/b0c05f55?response-content-type=x&" + v2_a,
     "http://minio:9000/mender/b0c05f55?" + v2_b + "&x-amz-security-token=c2Vzc2lvbg", same},
    {"version 2, Google's account", gcs + "?GoogleAccessId=a%40d&Expires=1&Signature=aaaa",
     gcs + "?GoogleAccessId=b%40d&Expires=2&Signature=bbbb", same},
    {"version 2, another object", "http://minio:9000/mender/a?" + v2_a, "http://minio:9000/mender/b?" + v2_a,
     different},
    {"version 2, another object version", "http://minio:9000/m/a?versionId=1&" + v2_a,
     "http://minio:9000/m/a?versionId=2&" + v2_a, different},
    {"version 2 without a key id", "http://h/a?Expires=1&Signature=s", "http://h/a?Expires=2&Signature=s", different},
    {"version 2 without a signature", "http://h/a?AWSAccessKeyId=k&Expires=1", "http://h/a?AWSAccessKeyId=k&Expires=2",
     different},
    {"a signature of CloudFront", "http://h/a?Expires=1&Signature=s&Key-Pair-Id=k",
     "http://h/a?Expires=2&Signature=s&Key-Pair-Id=k", different},
    {"version 2, a member of version 4", "http://h/a?X-Amz-Date=1&" + v2_a, "http://h/a?X-Amz-Date=2&" + v2_a,
     different},

    // A storage proxy: members sorted, some of its own merged in
    {"behind the API's host", "https://mender.example.com/mender-artifact-storage/5abc/b0c05f55?" + s3_a + "&site=7",
     "https://mender.example.com/mender-artifact-storage/5abc/b0c05f55?site=7&" + s3_b, same},
    {"behind a proxy, another member of its own", "https://artifacts.example.com/b0c05f55?" + s3_a + "&site=7",
     "https://artifacts.example.com/b0c05f55?" + s3_a + "&site=8", different},
    {"two proxies", "https://artifacts.example.com/b0c05f55?" + s3_a, "https://artifacts.example.org/b0c05f55?" + s3_a,
     different},

    // Azure SAS
    {"service SAS, signed a month later", blob + "?" + sas_a, blob + "?" + sas_b, same},
    {"service SAS, in another order", blob + "?" + sas_a,
     blob + "?rscd=x&se=2025-02-02T00%3A00%3A00Z&sig=bbbb%3D&sp=r&sr=b&st=2025-02-01T00%3A00%3A00Z&sv=2023-11-03",
     same},
    {"user delegation SAS", blob + "?skoid=a&sktid=b&skt=c&ske=d&sks=b&skv=e&sdd=1&saoid=f&suoid=g&scid=h&" + sas_a,
     blob + "?ss=b&srt=o&ses=s&spr=https&sip=1.1.1.1&si=p&skdutid=q&sduoid=r&rscc=a&rsce=b&rscl=c&rsct=d&" + sas_b,
     same},
    {"two snapshots", blob + "?snapshot=2025-01-01&" + sas_a, blob + "?snapshot=2025-01-02&" + sas_a, different},
    {"one snapshot", blob + "?snapshot=2025-01-01&" + sas_a, blob + "?snapshot=2025-01-01&" + sas_b, same},
    {"two blob versions", blob + "?versionid=1&" + sas_a, blob + "?versionid=2&" + sas_a, different},
    {"an operation on the blob", blob + "?comp=metadata&" + sas_a, blob + "?" + sas_a, different},
    {"sig without sv", blob + "?sig=s&se=1", blob + "?sig=s&se=2", different},
    {"sv without sig", blob + "?sv=2021-06-08&se=1", blob + "?sv=2021-06-08&se=2", different},
    {"an empty sig", blob + "?sv=2021-06-08&sig=&se=1", blob + "?sv=2021-06-08&sig=&se=2", different},
    {"Azure's names in capitals", blob + "?SV=2021-06-08&SIG=s&se=1", blob + "?SV=2021-06-08&SIG=s&se=2", different},
    {"names that begin like Azure's", blob + "?svx=1&" + sas_a, blob + "?svx=2&" + sas_a, different},
    {"another account", blob + "?" + sas_a, "https://other.blob.core.windows.net/artifacts/5abc/b0c05f55?" + sas_a,
     different},

    // Google, version 4
    {"Google, version 4", gcs + "?" + goog_a + "&response-content-disposition=a", gcs + "?" + goog_b, same},
    {"Google, two generations", gcs + "?generation=1&" + goog_a, gcs + "?generation=2&" + goog_a, different},
    {"Google, one generation", gcs + "?generation=1&" + goog_a, gcs + "?" + goog_b + "&generation=1", same},
    {"Google without the signature", gcs + "?X-Goog-Date=1", gcs + "?X-Goog-Date=2", different},
    {"Google, a member that only S3 has", gcs + "?x-id=1&" + goog_a, gcs + "?x-id=2&" + goog_a, different},
    {"Google's project counts", gcs + "?userProject=p&" + goog_a, gcs + "?userProject=q&" + goog_a, different},

    // Mender's own configuration links: never shared, so nothing is left out
    {"a configuration, signed anew", conf + "dev?tenant_id=t&x-men-expire=2025-01-01T00:00:00Z&x-men-signature=a",
     conf + "dev?tenant_id=t&x-men-expire=2025-01-01T00:15:00Z&x-men-signature=b", different},
    {"a configuration of another device", conf + "dev1?tenant_id=t&x-men-expire=1&x-men-signature=a",
     conf + "dev2?tenant_id=t&x-men-expire=1&x-men-signature=a", different},

    // Another gateway of this kind
    {"another gateway's link", gw + "artifacts/" + hex + "/tokenA", gw + "artifacts/" + hex + "/Token-B_2", same},
    {"another gateway's link to another object", gw + "artifacts/" + hex + "/t", gw + "artifacts/" + hex2 + "/t",
     different},
    {"another gateway's private link", gw + "private/" + hex + "/a", gw + "private/" + hex + "/b", different},
    {"another gateway's link without a token", gw + "artifacts/" + hex + "/a", gw + "artifacts/" + hex, different},
    {"something below another gateway's link", gw + "artifacts/" + hex + "/a/x", gw + "artifacts/" + hex + "/b/x",
     different},
    {"another gateway's link with a query", gw + "artifacts/" + hex + "/a?x=1", gw + "artifacts/" + hex + "/b?x=2",
     different},
    {"a key that is none", gw + "artifacts/" + hex.substr(1) + "/a", gw + "artifacts/" + hex.substr(1) + "/b",
     different},

    // No signature that is known
    {"a plain query", "https://h/k?a=1", "https://h/k?a=2", different},
    {"a query and none", "https://h/k?", "https://h/k", different},
    {"a token of somebody else's", "https://h/k?token=1", "https://h/k?token=2", different},
};

key key_of(std::string const& link) {
  CAPTURE(link);
  auto const u = http::parse_uri(link);
  REQUIRE(u);
  auto const k = make_key(*u, {});
  REQUIRE(k);
  return *k;
}

/// A family of signatures: members, of which the needed ones make it a signature at all.
struct family {
  char const* name;
  std::vector<std::string> members, needed;
};
std::vector<family> const families = {
    {"S3, version 4",
     {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-Security-Token",
      "X-Amz-SignedHeaders", "X-Amz-Content-Sha256", "X-Amz-Signature", "x-id", "response-content-type",
      "response-content-disposition", "response-cache-control", "response-content-encoding",
      "response-content-language", "response-expires"},
     {"X-Amz-Signature"}},
    {"S3, version 2",
     {"AWSAccessKeyId", "Expires", "Signature", "x-amz-security-token", "response-content-type",
      "response-content-disposition"},
     {"AWSAccessKeyId", "Signature"}},
    {"Google, version 2",
     {"GoogleAccessId", "Expires", "Signature", "response-content-type"},
     {"GoogleAccessId", "Signature"}},
    {"Google, version 4",
     {"X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires", "X-Goog-SignedHeaders",
      "X-Goog-Signature", "response-content-disposition"},
     {"X-Goog-Signature"}},
    {"Azure",
     {"sv",     "ss",    "srt",   "sr",    "st",    "se",   "sp",   "spr",  "sip", "si",
      "sig",    "sdd",   "ses",   "skoid", "sktid", "skt",  "ske",  "sks",  "skv", "skdutid",
      "sduoid", "saoid", "suoid", "scid",  "rscc",  "rscd", "rsce", "rscl", "rsct"},
     {"sv", "sig"}},
};

/// The link with these members, in order, each with the value `v` but for one that has its own ("name=value", "name").
std::string link_of(std::vector<std::string> const& members, std::string const& v = "1") {
  std::string out = "https://h/b/k";
  char separator = '?';
  for (auto const& m : members) {
    out += separator;
    out += m.find('=') == std::string::npos && m.front() != '!' ? m + "=" + v : m.substr(m.front() == '!' ? 1 : 0);
    separator = '&';
  }
  return out;
}
bool is_needed(family const& f, std::string const& name) {
  return std::find(f.needed.begin(), f.needed.end(), name) != f.needed.end();
}
std::string swap_case(std::string text) {
  for (char& c : text) {
    auto const u = static_cast<unsigned char>(c);
    c = static_cast<char>(std::isupper(u) != 0 ? std::tolower(u) : std::toupper(u));
  }
  return text;
}
/// The name with its first letter escaped.
std::string escaped(std::string const& name) {
  constexpr char digits[] = "0123456789ABCDEF";
  auto const c = static_cast<unsigned char>(name.front());
  return std::string("%") + digits[c >> 4] + digits[c & 15] + name.substr(1);
}

}  // namespace

TEST_CASE("what only signs a link never makes two keys of one object, anything else does") {
  for (auto const& row : table) {
    std::string const what = row.what, a = row.a, b = row.b;
    CAPTURE(what);
    CAPTURE(a);
    CAPTURE(b);
    CHECK((key_of(a) == key_of(b)) == (row.want == same));
  }
}

TEST_CASE("no two rows of the table that are different objects share a key") {
  // Each row's first link without its signature says which object it is.
  std::set<std::string> objects;
  std::set<key> keys;
  for (auto const& row : table) {
    auto const u = http::parse_uri(row.a);
    REQUIRE(u);
    auto const tokenless = key_detail::without_token(u->path);
    std::string object = u->tls ? "s" : "p";
    object.append(key_detail::lower(u->host)).append(":").append(std::to_string(u->port));
    object.append(tokenless.empty() ? u->path : tokenless)
        .append(u->has_query ? "?" : "")
        .append(significant_query(*u));
    objects.insert(object);
    keys.insert(key_of(row.a));
  }
  CHECK(keys.size() == objects.size());
  CHECK(keys.size() > 40);
}

TEST_CASE("every member of a signature may have any value, stand anywhere, come twice or be missing") {
  for (auto const& f : families) {
    std::string const name = f.name;
    CAPTURE(name);
    key const k = key_of(link_of(f.members));
    CHECK(bool(key_of(link_of(f.members, "2")) == k));
    CHECK(bool(key_of(link_of(f.needed)) == k));
    std::vector<std::string> reversed(f.members.rbegin(), f.members.rend());
    CHECK(bool(key_of(link_of(reversed)) == k));
    for (std::size_t i = 0; i < f.members.size(); ++i) {
      CAPTURE(f.members[i]);
      auto with = f.members;
      with[i] = f.members[i] + "=other%26=";
      CHECK(bool(key_of(link_of(with)) == k));
      with.push_back(f.members[i] + "=again");
      CHECK(bool(key_of(link_of(with)) == k));
      if (is_needed(f, f.members[i])) continue;
      with = f.members;
      with[i] = f.members[i] + "=";
      CHECK(bool(key_of(link_of(with)) == k));
      with.erase(with.begin() + static_cast<std::ptrdiff_t>(i));
      CHECK(bool(key_of(link_of(with)) == k));
    }
  }
}

TEST_CASE("a signature that is missing, empty or spelt otherwise takes nothing out") {
  for (auto const& f : families) {
    std::string const name = f.name;
    CAPTURE(name);
    for (auto const& missing : f.needed) {
      CAPTURE(missing);
      for (std::string const& instead : {std::string(), missing + "=", "!" + missing, swap_case(missing),
                                         escaped(missing), missing + "2", "2" + missing}) {
        CAPTURE(instead);
        std::vector<std::string> members;
        for (auto const& m : f.members)
          if (m != missing) members.push_back(m);
        if (!instead.empty()) members.push_back(instead);
        std::set<key> keys = {key_of(link_of(members)), key_of(link_of(f.members))};
        CHECK(keys.size() == 2);
        std::size_t variants = 2;
        for (std::size_t i = 0; i < members.size(); ++i) {
          if (members[i].find('=') != std::string::npos || members[i].front() == '!') continue;
          auto other = members;
          other[i] += "=other";
          keys.insert(key_of(link_of(other)));
          ++variants;
        }
        CHECK(keys.size() == variants);
      }
    }
  }
}

TEST_CASE("what a signature does not own counts wherever it stands") {
  for (auto const& f : families) {
    std::string const name = f.name;
    CAPTURE(name);
    std::vector<std::string> extras = {
        "versionId=1", "versionId=2", "versionid=1", "snapshot=1", "generation=1", "partNumber=1",  "!a",
        "a=",          "a=1",         "a=%31",       "A=1",        "!=1",          "x-men-expire=1"};
    for (auto const& m : f.members) {
      extras.push_back(swap_case(m) + "=1");
      extras.push_back(escaped(m) + "=1");
    }
    std::set<key> keys = {key_of(link_of(f.members))};
    for (auto const& extra : extras) {
      CAPTURE(extra);
      std::set<key> places;
      for (std::size_t at = 0; at <= f.members.size(); ++at) {
        auto members = f.members;
        members.insert(members.begin() + static_cast<std::ptrdiff_t>(at), extra);
        places.insert(key_of(link_of(members)));
      }
      CHECK(places.size() == 1);
      keys.insert(places.begin(), places.end());
    }
    CHECK(keys.size() == extras.size() + 1);
  }
}

}  // namespace mgw::cache::key_shapes_test
