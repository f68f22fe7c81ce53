# mgw-verifier: what examples/gateway/verifier/ needs, beside what it reads artifacts with.
include_guard(GLOBAL)
include(artifact)
find_path(Seccomp_INCLUDE_DIR seccomp.h REQUIRED)
find_library(Seccomp_LIBRARY seccomp REQUIRED)
mark_as_advanced(Seccomp_INCLUDE_DIR Seccomp_LIBRARY)
add_library(mgw-verifier INTERFACE)
target_include_directories(mgw-verifier SYSTEM INTERFACE ${Seccomp_INCLUDE_DIR})
target_link_libraries(mgw-verifier INTERFACE mgw-artifact ${Seccomp_LIBRARY})
