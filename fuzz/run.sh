#!/usr/bin/env bash
# Runs every fuzz harness for so many seconds: fuzz/run.sh [SECONDS [NAME...]]. Builds them first (clang++-19, ninja).
# New finds collect in build/fuzz/corpus/NAME, crashes in build/fuzz/crashes. Exit 1 if any harness found one.
set -u
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift $(($# > 0))
case $seconds in '' | *[!0-9]* | 0) echo "usage: fuzz/run.sh [SECONDS [NAME...]]" >&2; exit 2 ;; esac

log=build/fuzz/log
mkdir -p "$log" build/fuzz/crashes
if ! { cmake --preset fuzz && cmake --build --preset fuzz; } >"$log/build" 2>&1; then
  tail -n 40 "$log/build" >&2
  exit 1
fi
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for source in fuzz/*.cpp; do
    name=$(basename "$source" .cpp)
    [ "$name" = replay ] || names+=("$name")
  done
fi

status=0
for name in "${names[@]}"; do
  corpus=build/fuzz/corpus/$name
  mkdir -p "$corpus"
  seeds=()
  [ -d "fuzz/seeds/$name" ] && seeds=("fuzz/seeds/$name")
  dict=fuzz/http.dict
  [ -f "fuzz/$name.dict" ] && dict=fuzz/$name.dict # its own, where HTTP's words are not its language
  if build/fuzz/bin/fuzz-"$name" -max_total_time="$seconds" -max_len=20000 -rss_limit_mb=2048 -malloc_limit_mb=512 \
    -timeout=10 -dict="$dict" -artifact_prefix="build/fuzz/crashes/$name-" -print_final_stats=1 -verbosity=1 \
    "$corpus" ${seeds[@]+"${seeds[@]}"} >"$log/$name" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log/$name")
    echo "$name: ok, $runs runs in $seconds s, $(find "$corpus" -type f | wc -l) inputs in $corpus"
  else
    status=1
    file=$(sed -n 's/.*Test unit written to //p' "$log/$name" | tail -n 1)
    echo "$name: FAILED: $(grep -m 1 -E 'broken property|ERROR:|SUMMARY:' "$log/$name"); input ${file:-unknown}; log $log/$name"
  fi
done
exit $status
