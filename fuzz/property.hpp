#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace mgw::fuzz {

/// A property that must hold for every input; says which one did not.
inline void must(bool holds, char const* what) {
  if (holds) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

/// A copy of exactly the size of `bytes`, so that the address sanitizer finds a read past the end.
class exact_copy {
public:
  explicit exact_copy(std::string_view bytes) : data_(std::make_unique<char[]>(bytes.size())), size_(bytes.size()) {
    std::copy_n(bytes.data(), bytes.size(), data_.get());
  }
  std::string_view view() const noexcept { return {data_.get(), size_}; }

private:
  std::unique_ptr<char[]> data_;
  std::size_t size_;
};

/// The first byte of an input says how the rest is cut and which limits apply; 0 bytes: nothing to do.
struct plan {
  std::size_t piece = 1;  ///< 1 to 64 bytes at a time
  bool small = false;     ///< small limits, so that short inputs reach them
  bool option = false;    ///< a second switch
  std::string_view wire;

  plan(std::uint8_t const* data, std::size_t size) {
    if (size == 0) return;
    piece = 1 + (data[0] & 63u);
    small = (data[0] & 64u) != 0;
    option = (data[0] & 128u) != 0;
    wire = {reinterpret_cast<char const*>(data) + 1, size - 1};
  }
};

}  // namespace mgw::fuzz
