#!/usr/bin/env bash
# Kills the gateway (SIGKILL) N times while clients download through it, starts it again on the same cache directory each
# time, and compares every byte.
#
#   tests/crash_loop.sh [N [SEED]]     N: 20, SEED: the moments of the kills; printed, to repeat a run
#
# The programs are taken from build/release/bin, or from $MGW_BIN. The last line says `faults: N`, and the exit status is
# 1 if there were any. What counts as a fault stands in tests/e2e/crash_loop.py.
exec python3 -B "$(dirname "${BASH_SOURCE[0]}")/e2e/crash_loop.py" "$@"
