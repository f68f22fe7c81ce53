// Asio's implementation, compiled once for this project's own programs and tests (ASIO_SEPARATE_COMPILATION).
#include <asio/impl/src.hpp>
