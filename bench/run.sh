#!/bin/sh
# Builds the gateway and the benchmark, and measures the gateway side by side with nginx, HAProxy, Varnish, Squid and Apache Traffic
# Server. bench/README.md says what and how.
#   bench/run.sh [--quick] [measure.py's options]
set -eu
cd "$(dirname "$0")/.."

packages=
need() { command -v "$1" >/dev/null 2>&1 || packages="$packages $2"; }
PATH=$PATH:/usr/sbin:/sbin
need clang++-19 clang-19
need cmake cmake
need ninja ninja-build
need nginx nginx-light
need haproxy haproxy
need wrk wrk
need openssl openssl
need python3 python3
[ -e /usr/include/asio.hpp ] || packages="$packages libasio-dev"
[ -e /usr/include/openssl/ssl.h ] || packages="$packages libssl-dev"
[ -e /usr/include/spdlog/spdlog.h ] || packages="$packages libspdlog-dev"
[ -e /usr/include/CLI/CLI.hpp ] || packages="$packages libcli11-dev"
[ -e /usr/include/zlib.h ] || packages="$packages zlib1g-dev"
[ -e /usr/include/archive.h ] || packages="$packages libarchive-dev"
[ -e /usr/include/lzma.h ] || packages="$packages liblzma-dev"
[ -e /usr/include/zstd.h ] || packages="$packages libzstd-dev"
[ -e /usr/include/seccomp.h ] || packages="$packages libseccomp-dev"
[ -e /usr/include/systemd/sd-daemon.h ] || packages="$packages libsystemd-dev"
[ -e /usr/include/boost/json.hpp ] || packages="$packages libboost1.81-dev libboost-json1.81-dev"
if [ -n "$packages" ] && [ "$(id -u)" != 0 ]; then
  echo "bench/run.sh: not installed:$packages" >&2
  exit 1
fi
# What is measured beside it where it is installed.
need varnishd varnish
need hitch hitch
need squid squid
need traffic_server trafficserver
[ -e /usr/include/benchmark/benchmark.h ] || packages="$packages libbenchmark-dev"
[ -e /usr/share/llhttp/llhttp.c ] || packages="$packages node-llhttp"
ldconfig -p | grep -q libh2o.so.0.13 || packages="$packages libh2o0.13"
if [ -n "$packages" ] && [ "$(id -u)" = 0 ]; then
  apt-get update -q
  # A server that starts by itself would take a port and a core; invoke-rc.d(8) asks this file before it starts one.
  policy=/usr/sbin/policy-rc.d
  if [ -e "$policy" ]; then policy=/dev/null; else printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; fi
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends $packages || failed=$?
  [ "$policy" = /dev/null ] || rm -f "$policy"
  [ -z "${failed:-}" ] || exit "$failed"
fi

tests=
[ -e /usr/include/doctest/doctest.h ] || tests=-DMGW_BUILD_TESTS=OFF  # what only they need is not installed here
cmake --preset release -DMGW_BUILD_BENCH=ON $tests >/dev/null
cmake --build --preset release --target mgw-gateway mgw-bench-origin mgw-bench-load mgw-count-allocations
if [ -e /usr/include/benchmark/benchmark.h ]; then cmake --build --preset release --target mgw-bench-micro; fi
exec python3 bench/measure.py --programs build/release/bin "$@"
