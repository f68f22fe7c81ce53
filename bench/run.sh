#!/bin/sh
# Builds the gateway and the benchmark, and measures the gateway side by side with nginx and HAProxy. bench/README.md says what and how.
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
[ -e /usr/include/benchmark/benchmark.h ] || packages="$packages libbenchmark-dev"
# The parsers beside ours.
[ -e /usr/share/llhttp/llhttp.c ] || packages="$packages node-llhttp"
ldconfig -p | grep -q libh2o.so.0.13 || packages="$packages libh2o0.13"
if [ -n "$packages" ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "bench/run.sh: not installed:$packages" >&2
    exit 1
  fi
  apt-get update -q
  # A server that starts by itself would take a port and a core.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qy --no-install-recommends $packages
fi

cmake --preset release -DMGW_BUILD_BENCH=ON >/dev/null
cmake --build --preset release --target mgw-gateway mgw-bench-origin mgw-bench-load mgw-bench-micro mgw-count-allocations
exec python3 bench/measure.py --programs build/release/bin "$@"
