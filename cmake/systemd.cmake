# mgw-systemd: what examples/gateway/lifecycle/ tells the service manager with.
include_guard(GLOBAL)
find_path(Systemd_INCLUDE_DIR systemd/sd-daemon.h REQUIRED)
find_library(Systemd_LIBRARY systemd REQUIRED)
mark_as_advanced(Systemd_INCLUDE_DIR Systemd_LIBRARY)
add_library(mgw-systemd INTERFACE)
target_include_directories(mgw-systemd SYSTEM INTERFACE ${Systemd_INCLUDE_DIR})
target_link_libraries(mgw-systemd INTERFACE ${Systemd_LIBRARY})
