#include <mgw/mender/request_fields.hpp>

#include <doctest/doctest.h>

#include <string_view>

namespace mgw::mender::request_fields_test {

TEST_CASE("fields that speak for front ends are dropped") {
  for (std::string_view const name : {"X-MEN-RBAC-Inventory-Groups",
                                      "x-men-rbac-deployments-groups",
                                      "X-MEN-RBAC-Releases-Tags",
                                      "X_MEN_RBAC_X",
                                      "X-Forwarded-Client-Cert",
                                      "X-Forwarded-For",
                                      "x-forwarded-host",
                                      "X-Forwarded-Proto",
                                      "X-Forwarded-Uri",
                                      "X_Forwarded_For",
                                      "Forwarded",
                                      "FORWARDED",
                                      "X-SSL-Client-Cert",
                                      "x-ssl-anything",
                                      "X-Real-IP",
                                      "X-Host",
                                      "X-Original-URL",
                                      "X-Original-Host",
                                      "X-Rewrite-URL",
                                      "Client-Cert",
                                      "Client-Cert-Chain",
                                      "ssl-client-verify",
                                      "X-Client-Cert",
                                      "X-HTTP-Method-Override",
                                      "X-Method-Override",
                                      "True-Client-IP",
                                      "X-Remote-User"}) {
    CAPTURE(name);
    CHECK(is_dropped_request_field(name));
  }
}

TEST_CASE("fields that clients need are kept") {
  for (std::string_view const name :
       {"",           "X-MEN-Signature", "X-Men-Signature",   "X-MEN-RequestID", "Authorization",
        "Host",       "Content-Type",    "Accept-Encoding",   "User-Agent",      "Range",
        "If-Range",   "Upgrade",         "Sec-WebSocket-Key", "X-Request-ID",    "X-MEN-RBAC",
        "X-SSL",      "X-Hosting",       "X-Real-IPs",        "Forwarded-X",     "Via",
        "traceparent"}) {
    CAPTURE(name);
    CHECK_FALSE(is_dropped_request_field(name));
  }
}

}  // namespace mgw::mender::request_fields_test
