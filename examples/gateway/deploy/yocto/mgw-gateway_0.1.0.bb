# For Yocto 5.0 (scarthgap), with meta-oe for asio, cli11 and spdlog. In a layer of yours: recipes-mender/mgw-gateway/.
SUMMARY = "Open Mender gateway that keeps artifacts for a fleet"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"
SECTION = "net"

# Where you keep the source.
MGW_SOURCE ?= "git://git.example.com/mgw.git;protocol=https;branch=main"
SRC_URI = "${MGW_SOURCE}"
SRCREV ?= "${AUTOREV}"
S = "${WORKDIR}/git"

DEPENDS = "asio boost cli11 fmt libarchive libseccomp openssl spdlog systemd xz zlib zstd"

inherit cmake pkgconfig systemd useradd features_check
REQUIRED_DISTRO_FEATURES = "systemd"

EXTRA_OECMAKE = "-DMGW_BUILD_TESTS=OFF -DMGW_INSTALL=OFF -DMGW_UNIT_DIRECTORY=${systemd_system_unitdir}"
OECMAKE_TARGET_COMPILE = "mgw-gateway"

USERADD_PACKAGES = "${PN}"
USERADD_PARAM:${PN} = "--system --user-group --no-create-home --home-dir ${localstatedir}/lib/mender-gateway --shell /sbin/nologin mender-gateway"
SYSTEMD_SERVICE:${PN} = "mender-gateway.service"

do_install() {
    DESTDIR='${D}' cmake --install ${B} --component gateway --prefix /
    chown root:mender-gateway ${D}${sysconfdir}/mender/mender-gateway.conf ${D}${sysconfdir}/default/mender-gateway
}

FILES:${PN} += "${systemd_system_unitdir} ${nonarch_libdir}/sysusers.d ${nonarch_libdir}/tmpfiles.d ${datadir}/mender"
CONFFILES:${PN} = "${sysconfdir}/mender/mender-gateway.conf ${sysconfdir}/default/mender-gateway"
RDEPENDS:${PN} = "ca-certificates"
RPROVIDES:${PN} = "mender-gateway"
RCONFLICTS:${PN} = "mender-gateway"
