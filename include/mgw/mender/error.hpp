#pragma once

#include <string>
#include <system_error>
#include <type_traits>

namespace mgw::mender {

/// What the parsers of this folder refuse.
enum class mender_error {
  malformed = 1,     ///< not the form of a token, or of a secret
  not_authentic,     ///< no secret of ours sealed this, or not for this key
  too_long,          ///< over the documented bound
  secret_too_short,  ///< a secret of fewer than 16 bytes
  not_json,          ///< not one JSON text (RFC 8259), well-formed Unicode included
  too_deep,          ///< JSON nested deeper than `json_scanner::max_depth`
  overloaded,        ///< the gateway has too much to do: the device is to come back later
  other_tenant,      ///< an auth request of a tenant that the gateway does not serve
  answer_too_large   ///< an answer of the management API
};
using link_error = mender_error;

/// The category of mender_error.
inline std::error_category const& mender_category() noexcept {
  struct category final : std::error_category {
    char const* name() const noexcept override { return "mgw.mender"; }
    std::string message(int value) const override {
      switch (static_cast<mender_error>(value)) {
        case mender_error::malformed: return "malformed";
        case mender_error::not_authentic: return "not authentic";
        case mender_error::too_long: return "too long";
        case mender_error::secret_too_short: return "a secret must have at least 16 bytes";
        case mender_error::not_json: return "not JSON";
        case mender_error::too_deep: return "JSON nested too deeply";
        case mender_error::overloaded: return "too much to do";
        case mender_error::other_tenant: return "not of a tenant that is served";
        case mender_error::answer_too_large: return "its answer has more than 1 MiB";
      }
      return "unknown error";
    }
  };
  static category const instance;
  return instance;
}

inline std::error_code make_error_code(mender_error e) noexcept {
  return {static_cast<int>(e), mender_category()};
}

}  // namespace mgw::mender

template <>
struct std::is_error_code_enum<mgw::mender::mender_error> : std::true_type {};
