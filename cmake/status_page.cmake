# mgw-status-page: the directory of status_page_files.hpp, which has the gateway's status page as texts. It is made when
# the build is configured, and again when a file of the page has changed.
include_guard(GLOBAL)
cmake_path(SET page NORMALIZE ${CMAKE_CURRENT_LIST_DIR}/../examples/gateway/status/page)
set(OUT ${CMAKE_BINARY_DIR}/status-page)
include(${page}/embed.cmake)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
  ${page}/page.html ${page}/status.css ${page}/status.js)
add_library(mgw-status-page INTERFACE)
target_include_directories(mgw-status-page INTERFACE ${OUT})
unset(OUT)
unset(page)
