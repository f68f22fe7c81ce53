# mgw_profile(TARGET): what is compiled for it is laid out by what a gateway does most, as bench/make_profile.py has counted it.
#
# Code that has changed since is compiled as without. Only by clang from 19 on, which is what the file is for.
include_guard(GLOBAL)
set(MGW_PROFILE OFF CACHE STRING "Use the gateway's profile: ON or OFF; COUNT: make a program that writes one (bench/make_profile.py)")
set_property(CACHE MGW_PROFILE PROPERTY STRINGS ON OFF COUNT)

function(mgw_profile target)
  if(NOT MGW_PROFILE OR NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang" OR CMAKE_CXX_COMPILER_VERSION VERSION_LESS 19)
    return()
  endif()
  # Functions of one file are told apart by its name, not by where it is.
  target_compile_options(${target} PRIVATE "SHELL:-mllvm -static-func-full-module-prefix=false")
  if(MGW_PROFILE STREQUAL "COUNT")
    target_compile_options(${target} PRIVATE -fprofile-generate)
    target_link_options(${target} PUBLIC -fprofile-generate)
    return()
  endif()
  set(archive ${PROJECT_SOURCE_DIR}/examples/gateway/profile.tar.xz)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${archive})
  file(SHA256 ${archive} hash)
  set(folder ${PROJECT_BINARY_DIR}/profile/${hash}) # so that another one is another command
  if(NOT EXISTS ${folder}/gateway.profdata)
    file(ARCHIVE_EXTRACT INPUT ${archive} DESTINATION ${folder})
  endif()
  target_compile_options(${target} PRIVATE -fprofile-use=${folder}/gateway.profdata -Wno-backend-plugin)
endfunction()
