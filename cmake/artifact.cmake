# mgw-artifact: what examples/gateway/artifact/ needs. libarchive reads tar; the decompressors are those it uses itself.
include_guard(GLOBAL)
find_package(Boost 1.75 REQUIRED COMPONENTS json)
find_package(LibArchive REQUIRED)
find_package(LibLZMA REQUIRED)
find_package(ZLIB REQUIRED)
find_package(zstd CONFIG REQUIRED)
add_library(mgw-artifact INTERFACE)
target_include_directories(mgw-artifact INTERFACE ${PROJECT_SOURCE_DIR}/examples/gateway)
target_link_libraries(mgw-artifact INTERFACE mgw-own Boost::json LibArchive::LibArchive LibLZMA::LibLZMA
  ZLIB::ZLIB zstd::libzstd_shared)
