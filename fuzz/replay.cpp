// A main() for a fuzz harness without libFuzzer: runs it once over each file named, and each file below each directory
// named. A broken property aborts. Exit 1 if there was nothing to run.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {
std::size_t ran = 0;

bool run(std::filesystem::path const& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) {
    std::fprintf(stderr, "cannot read %s\n", file.c_str());
    return false;
  }
  std::vector<char> const bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  std::vector<std::uint8_t> const copy(bytes.begin(), bytes.end());
  std::printf("%s\n", file.c_str());
  std::fflush(stdout);  // the last name printed is the one that aborted
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
  ++ran;
  return true;
}
}  // namespace

int main(int argc, char** argv) {
  bool good = true;
  for (int i = 1; i < argc; ++i) {
    std::filesystem::path const path(argv[i]);
    if (!std::filesystem::is_directory(path)) {
      good = run(path) && good;
      continue;
    }
    for (auto const& entry : std::filesystem::recursive_directory_iterator(path))
      if (entry.is_regular_file()) good = run(entry.path()) && good;
  }
  std::printf("%zu inputs\n", ran);
  return good && ran != 0 ? 0 : 1;
}
