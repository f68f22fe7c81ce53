#!/usr/bin/env bash
# Line coverage of include/mgw/ by the fuzz harnesses: fuzz/coverage.sh [NAME...]. Replays seeds, regressions and what
# fuzz/run.sh has collected in build/fuzz/corpus; prints a line per header and the sum. Details of a header:
#   llvm-cov-19 show -instr-profile=build/coverage/raw/NAME.profile build/coverage/bin/fuzz-replay-NAME -sources HEADER
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

# Each program is evaluated with its own profile, then the lines are added up: llvm-cov takes the counters of an inline
# function from one program only if several are given.
rm -f $build/raw/*
for name in "${names[@]}"; do
  inputs=()
  for folder in "fuzz/seeds/$name" "fuzz/regressions/$name" "build/fuzz/corpus/$name"; do
    [ -d "$folder" ] && inputs+=("$folder")
  done
  program=$build/bin/fuzz-replay-$name raw=$build/raw/$name
  LLVM_PROFILE_FILE=$raw.profraw "$program" "${inputs[@]}" >"$raw.log" 2>&1 ||
    { tail -n 3 "$raw.log" >&2; echo "coverage.sh: $name failed" >&2; exit 1; }
  llvm-profdata-19 merge -sparse "$raw.profraw" -o "$raw.profile"
  llvm-cov-19 export -format=lcov -instr-profile="$raw.profile" "$program" -sources include/mgw >"$raw.lcov" 2>>"$raw.log"
done
python3 - $build/raw/*.lcov <<'EOF'
import os, sys

here = os.getcwd() + "/"
files = {}  # header -> line -> hits
for path in sys.argv[1:]:
    for line in open(path):
        if line.startswith("SF:"):
            header = files.setdefault(line[3:].strip().removeprefix(here), {})
        elif line.startswith("DA:"):
            number, hits = line[3:].split(",")[:2]
            header[number] = header.get(number, 0) + int(hits)
row = "{:48} {:>6} {:>6} {:>6}"
print(row.format("header", "lines", "hit", "%"))
total = hit = 0
for name, lines in sorted(files.items()):
    covered = sum(1 for hits in lines.values() if hits)
    total += len(lines)
    hit += covered
    print(row.format(name, len(lines), covered, f"{100 * covered / max(len(lines), 1):.1f}"))
print(row.format("all that the harnesses include", total, hit, f"{100 * hit / max(total, 1):.1f}"))
EOF
