# Makes status_page_files.hpp, in which the files of the status page are texts. `cmake -D OUT=DIRECTORY -P embed.cmake`,
# or included with OUT set.
set(text "#pragma once\n\n// Made by embed.cmake from examples/gateway/status/page/.\n\n#include <string_view>\n\n")
string(APPEND text "namespace gateway::status_page {\n\n")
foreach(file page.html status.css status.js)
  file(READ ${CMAKE_CURRENT_LIST_DIR}/${file} content)
  string(LENGTH "${content}" length)
  # A compiler need not take a longer literal.
  if(length EQUAL 0 OR length GREATER 60000)
    message(FATAL_ERROR "${file} has ${length} bytes: 1 to 60000 can be embedded")
  endif()
  string(REPLACE "." "_" name ${file})
  string(APPEND text "inline constexpr std::string_view ${name} = R\"#file#(${content})#file#\";\n\n")
endforeach()
string(APPEND text "}  // namespace gateway::status_page\n")
file(MAKE_DIRECTORY ${OUT})
file(WRITE ${OUT}/status_page_files.hpp.new "${text}")
file(COPY_FILE ${OUT}/status_page_files.hpp.new ${OUT}/status_page_files.hpp ONLY_IF_DIFFERENT)
file(REMOVE ${OUT}/status_page_files.hpp.new)
