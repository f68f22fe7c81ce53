#!/bin/bash -eu
STATIC_OPENSSL=1 "$SRC/mgw/fuzz/build_oss_fuzz.sh"
