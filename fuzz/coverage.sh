#!/usr/bin/env bash
# Line coverage of include/mgw/ by the fuzz harnesses: fuzz/coverage.sh [NAME...]. Replays seeds, regressions and what
# fuzz/run.sh has collected in build/fuzz/corpus; prints a line per header and the sum. Details of a header:
#   llvm-cov-19 show -instr-profile=build/coverage/profile build/coverage/bin/fuzz-replay-NAME -sources include/mgw/...
# Needs clang++-19, ninja, and llvm-profdata-19 and llvm-cov-19 (Debian: llvm-19).
set -eu
cd "$(dirname "$0")/.."
for tool in clang++-19 cmake ninja llvm-profdata-19 llvm-cov-19; do
  command -v $tool >/dev/null || { echo "coverage.sh: $tool is missing (Debian: clang-19, cmake, ninja-build, llvm-19)" >&2; exit 2; }
done
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
  for source in fuzz/*.cpp; do
    name=$(basename "$source" .cpp)
    [ "$name" = replay ] || names+=("$name")
  done
fi

build=build/coverage
mkdir -p $build/raw
cmake -S . -B $build -G Ninja -DCMAKE_CXX_COMPILER=clang++-19 -DMGW_BUILD_TESTS=ON -DMGW_BUILD_PROGRAMS=OFF \
  -DCMAKE_CXX_FLAGS="-O1 -g1 -fprofile-instr-generate -fcoverage-mapping" >$build/log 2>&1 ||
  { tail -n 40 $build/log >&2; exit 1; }
targets=("${names[@]/#/fuzz-replay-}")
cmake --build $build --target "${targets[@]}" >>$build/log 2>&1 || { tail -n 40 $build/log >&2; exit 1; }

profiles=()
objects=()
for name in "${names[@]}"; do
  inputs=()
  for folder in fuzz/seeds/$name fuzz/regressions/$name build/fuzz/corpus/$name; do
    [ -d "$folder" ] && inputs+=("$folder")
  done
  LLVM_PROFILE_FILE=$build/raw/$name.profraw "$build/bin/fuzz-replay-$name" "${inputs[@]}" >"$build/raw/$name.log" 2>&1 ||
    { tail -n 3 "$build/raw/$name.log" >&2; echo "coverage.sh: $name failed" >&2; exit 1; }
  profiles+=("$build/raw/$name.profraw")
  objects+=(-object "$build/bin/fuzz-replay-$name")
done
llvm-profdata-19 merge -sparse "${profiles[@]}" -o $build/profile
llvm-cov-19 export -summary-only -instr-profile=$build/profile "${objects[@]}" -sources include/mgw |
  python3 -c '
import json, os, sys
here = os.getcwd() + "/"
print(f"{"header":48} {"lines":>6} {"hit":>6} {"%":>6}")
files = json.load(sys.stdin)["data"][0]["files"]
total = hit = 0
for f in sorted(files, key=lambda f: f["filename"]):
    name, lines = f["filename"].removeprefix(here), f["summary"]["lines"]
    count, covered, percent = lines["count"], lines["covered"], lines["percent"]
    total += count
    hit += covered
    print(f"{name:48} {count:6} {covered:6} {percent:6.1f}")
print(f"{"all that the harnesses include":48} {total:6} {hit:6} {100 * hit / max(total, 1):6.1f}")
'
