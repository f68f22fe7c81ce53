# The gateway as it lies on a machine: component `gateway` of the installation, which a plain `cmake --install` leaves out,
# and the Debian package of it (CPack).
#
#   cmake --build --preset release --target mgw-gateway-package    build/release/mgw-gateway_VERSION_ARCHITECTURE.deb
#   DESTDIR=/somewhere cmake --install build/release --component gateway --prefix /
set(deploy ${CMAKE_CURRENT_SOURCE_DIR}/deploy)
set(made ${CMAKE_CURRENT_BINARY_DIR}/package)

# Manual page and completion are what the program says of itself; one built for another machine is asked by nobody.
set(CPACK_DEBIAN_PACKAGE_RELEASE 1 CACHE STRING "Debian revision of the package")
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "mgw maintainers <mgw@mgw.example>" CACHE STRING "Who answers for the package")
string(TIMESTAMP today "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file(${deploy}/debian/changelog.in ${made}/changelog @ONLY)
if(NOT CMAKE_CROSSCOMPILING)
  add_custom_command(OUTPUT ${made}/mgw-gateway.1.gz ${made}/mgw-gateway.bash ${made}/changelog.Debian.gz
    COMMAND mgw-gateway --manual-page > ${made}/mgw-gateway.1
    COMMAND gzip -9nf ${made}/mgw-gateway.1
    COMMAND mgw-gateway --bash-completion > ${made}/mgw-gateway.bash
    COMMAND gzip -9nc ${made}/changelog > ${made}/changelog.Debian.gz
    DEPENDS mgw-gateway ${deploy}/debian/changelog.in VERBATIM)
  add_custom_target(mgw-gateway-files DEPENDS ${made}/mgw-gateway.1.gz ${made}/mgw-gateway.bash)
endif()

macro(place)
  install(${ARGN} COMPONENT gateway EXCLUDE_FROM_ALL)
endmacro()
macro(place_link name target directory)
  file(MAKE_DIRECTORY ${made}/links)
  file(CREATE_LINK ${target} ${made}/links/${name} SYMBOLIC)
  place(FILES ${made}/links/${name} DESTINATION ${directory})
endmacro()
set(private OWNER_READ OWNER_WRITE GROUP_READ)
place(TARGETS mgw-gateway RUNTIME DESTINATION usr/bin)
place_link(mender-gateway mgw-gateway usr/bin)  # the original's name
set(MGW_UNIT_DIRECTORY lib/systemd/system CACHE STRING "Where systemd finds units")
string(REGEX REPLACE "^/" "" unit_directory "${MGW_UNIT_DIRECTORY}")
place(FILES ${deploy}/systemd/mender-gateway.service ${deploy}/systemd/mender-gateway.socket DESTINATION ${unit_directory})
place(FILES ${deploy}/systemd/mender-gateway.sysusers DESTINATION usr/lib/sysusers.d RENAME mender-gateway.conf)
place(FILES ${deploy}/systemd/mender-gateway.tmpfiles DESTINATION usr/lib/tmpfiles.d RENAME mender-gateway.conf)
place(FILES ${deploy}/systemd/mender-gateway.default DESTINATION etc/default RENAME mender-gateway PERMISSIONS ${private})
place(FILES ${deploy}/debian/mender-gateway.conf DESTINATION etc/mender PERMISSIONS ${private})
place(PROGRAMS support/mender-inventory-mender-gateway DESTINATION usr/share/mender/inventory)
place(FILES ${deploy}/debian/copyright DESTINATION usr/share/doc/mgw-gateway)
if(NOT CMAKE_CROSSCOMPILING)
  place(FILES ${made}/mgw-gateway.1.gz DESTINATION usr/share/man/man1)
  place_link(mender-gateway.1.gz mgw-gateway.1.gz usr/share/man/man1)
  place(FILES ${made}/mgw-gateway.bash DESTINATION usr/share/bash-completion/completions RENAME mgw-gateway)
  place(FILES ${made}/changelog.Debian.gz DESTINATION usr/share/doc/mgw-gateway)
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_COMPONENTS_ALL gateway)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_PACKAGING_INSTALL_PREFIX /)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_NAME mgw-gateway)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "open Mender gateway that keeps artifacts for a fleet")
set(CPACK_COMPONENT_GATEWAY_DESCRIPTION "Stands between devices with a Mender client and their server, as the only
exposed host of a segregated network: it passes the device API on, fetches
each artifact once and serves it to all devices, over links that are slow or
break. It reads the configuration of the commercial Mender Gateway.")
set(CPACK_DEBIAN_GATEWAY_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_DEPENDS
  "systemd | systemd-standalone-sysusers, systemd | systemd-standalone-tmpfiles")
set(CPACK_DEBIAN_GATEWAY_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_PROVIDES mender-gateway)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_CONFLICTS mender-gateway)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_REPLACES mender-gateway)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_GATEWAY_PACKAGE_CONTROL_EXTRA
  "${deploy}/debian/conffiles;${deploy}/debian/postinst;${deploy}/debian/prerm;${deploy}/debian/postrm")
include(CPack)
if(NOT CMAKE_CROSSCOMPILING)
  add_custom_target(mgw-gateway-package COMMAND ${CMAKE_CPACK_COMMAND} --config ${CMAKE_BINARY_DIR}/CPackConfig.cmake
    DEPENDS mgw-gateway-files WORKING_DIRECTORY ${CMAKE_BINARY_DIR} VERBATIM)
  add_dependencies(mgw-gateway-package mgw-gateway)
endif()
