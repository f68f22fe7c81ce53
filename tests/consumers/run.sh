#!/usr/bin/env bash
# Builds and runs projects that use mgw, as others would: once installed, once as a folder of theirs, with both compilers.
#   tests/consumers/run.sh BUILD_DIRECTORY      a configured build tree of mgw, to install from
# Prints `PASS what` or `FAIL what` for each.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=$(realpath "${1:?which build directory}")
scratch=$(mktemp -d -t mgw-consumers-XXXXXX)
trap 'rm -rf "$scratch"' EXIT
failed=0

report() {  # NAME STATUS LOG
  if [ "$2" = 0 ]; then
    echo "PASS $1"
  else
    echo "FAIL $1"
    tail -n 40 "$3"
    failed=1
  fi
}

cmake --install "$build" --prefix "$scratch/prefix" >"$scratch/install.log" 2>&1
report install $? "$scratch/install.log"

for how in find_package add_subdirectory; do
  for compiler in clang++-19 g++-12; do
    {
      cmake -G Ninja -S "$here/$how" -B "$scratch/$how-$compiler" -DCMAKE_CXX_COMPILER="$compiler" \
        -DCMAKE_PREFIX_PATH="$scratch/prefix" &&
        cmake --build "$scratch/$how-$compiler" && timeout 30 "$scratch/$how-$compiler/consumer"
    } >"$scratch/log" 2>&1
    report "$how-$compiler" $? "$scratch/log"
  done
done
exit $failed
