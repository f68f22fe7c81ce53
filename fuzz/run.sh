#!/usr/bin/env bash
# Runs every fuzz harness for so many seconds: fuzz/run.sh [-j JOBS] [SECONDS [NAME...]]. Builds them first (clang++-19,
# ninja), runs JOBS at a time (as many as there are cores). New finds collect in build/fuzz/corpus/NAME, crashes in
# build/fuzz/crashes. Exit 1 if any harness found one.
set -u
cd "$(dirname "$0")/.." || exit 2
usage() { echo "usage: fuzz/run.sh [-j JOBS] [SECONDS [NAME...]]" >&2; exit 2; }
is_number() { case $1 in '' | *[!0-9]* | 0*) return 1 ;; esac; }
jobs=$(nproc)
if [ "${1:-}" = -j ]; then
  jobs=${2:-}
  is_number "$jobs" || usage
  shift 2
fi
seconds=${1:-60}
shift $(($# > 0))
is_number "$seconds" || usage

names=()
for source in fuzz/*.cpp; do
  name=$(basename "$source" .cpp)
  [ "$name" = replay ] || names+=("$name")
done
for name in "$@"; do
  [ -f "fuzz/$name.cpp" ] || { echo "run.sh: no such harness: $name" >&2; exit 2; }
done
[ $# -eq 0 ] || names=("$@")

log=build/fuzz/log
mkdir -p "$log" build/fuzz/crashes
if ! { cmake --preset fuzz && cmake --build --preset fuzz; } >"$log/build" 2>&1; then
  tail -n 40 "$log/build" >&2
  exit 1
fi

# fuzz_one NAME: one line on stdout; 1 if it found something.
fuzz_one() {
  local name=$1 corpus=build/fuzz/corpus/$1 dict=fuzz/http.dict inputs=() folder file runs
  if [ ! -x "build/fuzz/bin/fuzz-$name" ]; then
    echo "$name: FAILED: not built, a library is missing; log $log/build"
    return 1
  fi
  mkdir -p "$corpus"
  for folder in "fuzz/seeds/$name" "fuzz/regressions/$name"; do
    [ -d "$folder" ] && inputs+=("$folder")
  done
  [ -f "fuzz/$name.dict" ] && dict=fuzz/$name.dict # its own, where HTTP's words are not its language
  if "build/fuzz/bin/fuzz-$name" -max_total_time="$seconds" -max_len=20000 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -timeout=10 -dict="$dict" -artifact_prefix="build/fuzz/crashes/$name-" -print_final_stats=1 -verbosity=1 \
    "$corpus" ${inputs[@]+"${inputs[@]}"} >"$log/$name" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log/$name")
    echo "$name: ok, $runs runs in $seconds s, $(find "$corpus" -type f | wc -l) inputs in $corpus"
  else
    file=$(sed -n 's/.*Test unit written to //p' "$log/$name" | tail -n 1)
    echo "$name: FAILED: $(grep -m 1 -E 'broken property|ERROR:|SUMMARY:' "$log/$name"); input ${file:-unknown}; log $log/$name"
    return 1
  fi
}

status=0
running=0
for name in "${names[@]}"; do
  if [ "$running" -ge "$jobs" ]; then
    wait -n || status=1
    running=$((running - 1))
  fi
  fuzz_one "$name" &
  running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
  wait -n || status=1
  running=$((running - 1))
done
exit $status
