#pragma once

#include <functional>
#include <string_view>

namespace mgw {

enum class log_level { debug, info, warn, error };

/// Where the toolkit's log lines go; the product puts a logger here. Default: nowhere.
///
/// Precondition of a sink: callable from any thread, does not throw, does not block for long.
/// Rule: never a secret, a token or a presigned URL in `text`.
using log_sink = std::function<void(log_level, std::string_view text)>;

}  // namespace mgw
