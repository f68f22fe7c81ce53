# Finds standalone Asio (Debian's libasio-dev ships neither a CMake config nor a .pc file).
# Defines Asio::Asio with the definitions that every translation unit of a program must share:
#   ASIO_HAS_CO_AWAIT, ASIO_HAS_STD_COROUTINE   clang needs to be told; g++ finds out by itself
#   ASIO_HAS_STD_ALIGNED_ALLOC                  Asio guesses it from which header came first, and guesses apart
#   ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=32      coroutine frames are recycled instead of allocated
find_package(Threads REQUIRED)
find_path(Asio_INCLUDE_DIR asio.hpp)
if(Asio_INCLUDE_DIR)
  file(STRINGS ${Asio_INCLUDE_DIR}/asio/version.hpp _asio_line REGEX "define ASIO_VERSION ")
  string(REGEX MATCH "[0-9]+" _asio_number "${_asio_line}")
  if(_asio_number)
    math(EXPR _asio_major "${_asio_number} / 100000")
    math(EXPR _asio_minor "${_asio_number} / 100 % 1000")
    math(EXPR _asio_patch "${_asio_number} % 100")
    set(Asio_VERSION ${_asio_major}.${_asio_minor}.${_asio_patch})
  endif()
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Asio REQUIRED_VARS Asio_INCLUDE_DIR VERSION_VAR Asio_VERSION)
if(Asio_FOUND AND NOT TARGET Asio::Asio)
  add_library(Asio::Asio INTERFACE IMPORTED)
  target_include_directories(Asio::Asio SYSTEM INTERFACE ${Asio_INCLUDE_DIR})
  target_link_libraries(Asio::Asio INTERFACE Threads::Threads)
  target_compile_definitions(Asio::Asio INTERFACE ASIO_STANDALONE ASIO_NO_DEPRECATED ASIO_HAS_CO_AWAIT
    ASIO_HAS_STD_COROUTINE ASIO_HAS_STD_ALIGNED_ALLOC=1 ASIO_RECYCLING_ALLOCATOR_CACHE_SIZE=32)
endif()
mark_as_advanced(Asio_INCLUDE_DIR)
