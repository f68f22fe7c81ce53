#!/usr/bin/env bash
# Installs what is missing (Debian 12, apt), builds, and runs the tests.
#
#   tests/run.sh               everything a change must pass; about 35 minutes from nothing on two cores
#   tests/run.sh --all         also the tests under sanitizers three times, the end-to-end tests under AddressSanitizer,
#                              clients that wait for minutes, 20 kills of tests/crash_loop.sh, programs under
#                              g++, 300 s of each fuzzer, signed links to storage servers from npm, and the deployments of
#                              examples/gateway/deploy
#   tests/run.sh --only STEP   one step: checks asan gcc tsan e2e demo consumers fuzz storage deploy instructions (several
#                              times if wanted)
#
# The whole output of each part is in build/logs; what failed is said where it happens and once more at the end. The last
# line says `N passed, N failed` (test cases and checks), and the exit status is 1 if any failed.
set -u
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C.UTF-8 MGW_CI=1
unset GIT_DIR MAKEFLAGS MGW_BIN 2>/dev/null

all='' only=()
while [ $# -gt 0 ]; do
  case $1 in
    --all) all=1 ;;
    --only)
      [[ " checks asan gcc tsan e2e demo consumers fuzz storage deploy instructions " == *" ${2:-none} "* ]] || { echo "run.sh: no such step: ${2:-}" >&2; exit 2; }
      only+=("$2")
      shift
      ;;
    -h | --help)
      sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0"
      exit 0
      ;;
    *)
      echo "run.sh: what is $1? (--help)" >&2
      exit 2
      ;;
  esac
  shift
done

logs=$PWD/build/logs
jobs=$(nproc)
passed=0 failed=0
mkdir -p "$logs"
# A first build leaves something for the next one where ccache is there; it is not needed.
if command -v ccache >/dev/null; then export CMAKE_CXX_COMPILER_LAUNCHER=ccache; fi

headline() { printf '\n== %s (%d:%02d)\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }
pass() {
  passed=$((passed + ${2:-1}))
  echo "  ok    $1"
}
# fail WHAT COUNT [LOG]
failures=$logs/failures.txt
: >"$failures"
fail() {
  failed=$((failed + $2))
  {
    echo "  FAIL  $1"
    if [ -n "${3:-}" ]; then why "$3" | sed 's/^/        /'; fi
  } | tee -a "$failures"
}
# why LOG: each line that begins with FAIL and what is indented below it, or else the end of the log.
why() {
  if grep -aq '^FAIL ' "$1"; then
    awk '/^[^ ]/ { shown = /^FAIL / ? 40 : 0 } shown-- > 0' "$1" | head -n 200
  else
    tail -n 60 "$1"
  fi
}
# bounded NAME SECONDS COMMAND...: runs it with its output in the log of that name, for so long at most.
bounded() {
  local name=$1 seconds=$2
  shift 2
  timeout -k 20 "$seconds" "$@" >"$logs/$name.log" 2>&1 </dev/null
}
# one NAME SECONDS COMMAND...: that is one check.
one() {
  if bounded "$@"; then pass "$1"; else fail "$1" 1 "$logs/$1.log"; fi
}

# ---- packages --------------------------------------------------------------------------------------------------------
# (Not libboost-dev: Debian's is 1.74, and it conflicts with 1.81.)
packages=(clang-19 clang-tools-19 libclang-rt-19-dev g++-12 cmake ninja-build libasio-dev libssl-dev doctest-dev
  libcli11-dev libspdlog-dev libboost1.81-dev libboost-json1.81-dev libboost-url1.81-dev zlib1g-dev libarchive-dev
  liblzma-dev libzstd-dev libseccomp-dev libsystemd-dev openssl
  ca-certificates python3 mender-client mender-artifact mender-connect dbus-daemon haproxy squid
  libbenchmark-dev chromium-headless-shell)

install_missing() {
  command -v dpkg-query >/dev/null || return 0 # another distribution: CMake will say what it misses
  local package missing=()
  for package in "${packages[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -ne 0 ] || return 0
  headline "packages: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  if bounded packages 900 sh -c 'apt-get update && apt-get install -y --no-install-recommends "$@"' sh "${missing[@]}"; then
    echo "  installed"
  else
    fail "packages" 1 "$logs/packages.log"
  fi
}

# promtool alone, of Debian's prometheus: the package as a whole would start a server on this machine.
fetch_promtool() {
  ! command -v promtool >/dev/null && [ -z "${MGW_PROMTOOL:-}" ] || return 0
  local into=$PWD/build/promtool
  if [ ! -x "$into/usr/bin/promtool" ]; then
    mkdir -p "$into"
    bounded promtool 300 sh -c 'cd "$1" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb . && rm -f prometheus_*.deb' sh "$into"
  fi
  export MGW_PROMTOOL=$into/usr/bin/promtool
}

# ---- building and running tests --------------------------------------------------------------------------------------
# build PRESET SECONDS [TARGET...], configured with ${options[@]}
options=()
build() {
  local preset=$1 seconds=$2 target targets=()
  shift 2
  for target; do targets+=(--target "$target"); done
  if ! bounded "$preset-configure" 300 cmake --preset "$preset" -DMGW_TESTS_TOGETHER=ON ${options[@]+"${options[@]}"}; then
    fail "configure $preset" 1 "$logs/$preset-configure.log"
    return 1
  fi
  if ! bounded "$preset-build" "$seconds" cmake --build --preset "$preset" -j "$jobs" ${targets[@]+"${targets[@]}"}; then
    fail "build $preset" 1 "$logs/$preset-build.log"
    return 1
  fi
  pass "build $preset"
}

# run_tests PRESET [FOLDER...]: the test programs (all, or those of these folders), each counted by what doctest says; with
# sanitizers in any order, and three times of --all.
seed=${MGW_TEST_SEED:-$(date +%s)}
run_tests() {
  local preset=$1
  shift
  run_tests_once "$preset" "$@"
  [ -n "$all" ] && [ "$preset" != gcc ] || return 0
  for _ in 1 2; do
    seed=$((seed + 1))
    run_tests_once "$preset" "$@"
  done
}
run_tests_once() {
  local preset=$1 program folder found='' order=()
  shift
  if [ "$preset" != gcc ]; then
    order=(--order-by=rand "--rand-seed=$seed")
    echo "  in any order, MGW_TEST_SEED=$seed"
  fi
  for program in build/"$preset"/bin/mgw-test-*; do
    folder=${program##*/mgw-test-}
    [ -x "$program" ] || continue
    [ $# -eq 0 ] || [[ " $* " == *" $folder "* ]] || continue
    found=1
    run_program "$preset $folder" "$program" ${order[@]+"${order[@]}"}
  done
  [ -n "$found" ] || fail "$preset: no test programs" 1
}

# run_program NAME PROGRAM [OPTION...]: its tests in as many parts as there are cores, all at once.
run_program() {
  local name=$1 program=$2 count each first pids=()
  shift 2
  count=$("$program" --count | sed -n 's/.*filters: *//p')
  [ "${count:-0}" != 0 ] || { fail "$name: no tests" 1 && return; }
  each=$((count < 20 ? count : (count + jobs - 1) / jobs))
  for ((first = 1; first <= count; first += each)); do
    bounded "${name/ /-}-$first" 900 "$program" "$@" "--first=$first" "--last=$((first + each - 1))" &
    pids+=($!)
  done
  for ((first = 1; first <= count; first += each)); do
    wait "${pids[(first - 1) / each]}"
    judge_part "$name" $? $((count - first + 1 < each ? count - first + 1 : each)) "$logs/${name/ /-}-$first.log"
  done
}

# judge_part NAME STATUS COUNT LOG: of so many tests. (Of those it leaves out doctest says that they passed.)
judge_part() {
  local name=$1 status=$2 count=$3 log=$4 bad
  bad=$(sed -nE 's/^\[doctest\] test cases:.*\| *([0-9]+) failed.*/\1/p' "$log" | tail -n 1)
  if [ -z "$bad" ]; then
    fail "$name: no summary, exit status $status" 1 "$log"
  elif [ "$status" = 0 ] && [ "$bad" = 0 ]; then
    pass "$name: $count test cases" "$count"
  else
    # A sanitizer or a crash on the way out says nothing there.
    passed=$((passed + count - bad))
    fail "$name: $((count - bad)) passed, $bad failed, exit status $status" $((bad > 0 ? bad : 1)) "$log"
  fi
}

# run_other_tests PRESET: what ctest knows beside the test programs (seeds of the fuzzers, for one).
run_other_tests() {
  local preset=$1 known=none program log=$logs/$1-ctest.log
  for program in build/"$preset"/bin/mgw-test-*; do known+="|${program##*/mgw-test-}"; done
  bounded "$preset-ctest" 900 ctest --test-dir "build/$preset" -j "$jobs" --output-on-failure --timeout 300 -E "^($known)\$"
  count_lines "$preset" "$log" '^ *[0-9]+/[0-9]+ Test .* Passed ' '^ *[0-9]+/[0-9]+ Test .*(\*\*\*|Not Run)' may_be_none
}

# count_lines WHAT LOG GOOD BAD [may_be_none]: counts lines of a log.
count_lines() {
  local good bad
  good=$(grep -aEc "$3" "$2")
  bad=$(grep -aEc "$4" "$2")
  if [ "$bad" != 0 ]; then
    passed=$((passed + good))
    fail "$1: $good passed, $bad failed" "$bad" "$2"
  elif [ "$good" != 0 ]; then
    pass "$1: $good passed" "$good"
  elif [ -z "${5:-}" ]; then
    fail "$1: nothing ran" 1 "$2"
  fi
}

# ---- steps -----------------------------------------------------------------------------------------------------------
step_checks() {
  headline "checks: direction of includes, forms of co_await, documentation, status page"
  one includes-self-test 60 python3 -B tests/checks/arrows.py --self-test
  one includes 60 python3 -B tests/checks/arrows.py
  one awaits-self-test 300 python3 -B tests/checks/awaits.py --self-test
  one awaits 900 python3 -B tests/checks/awaits.py
  one docs 60 python3 -B tests/checks/docs_test.py
  one runbook-self-test 60 python3 -B tests/checks/runbook.py --self-test
  one runbook 60 python3 -B tests/checks/runbook.py
  one conformance 60 python3 -B tests/checks/conformance.py
  one status-page-self-test 60 python3 -B tests/checks/status_page.py --self-test
  one status-page 60 python3 -B tests/checks/status_page.py
  # Lock files name no registry: each machine has its own.
  one lock-file 10 sh -c 'for f; do grep -q \"integrity\" "$f" && ! grep -n \"resolved\" "$f" || exit 1; done' sh \
    tests/storage/package-lock.json tests/deploy/powershell/package-lock.json
}

step_asan() {
  headline "asan: all tests under AddressSanitizer and UBSan (clang 19)"
  # The programs run under it with --all.
  options=(-DMGW_BUILD_PROGRAMS=OFF)
  [ -z "$all" ] || options=(-DMGW_BUILD_PROGRAMS=ON)
  build asan 1800
  local status=$?
  options=()
  [ $status = 0 ] || return
  run_tests asan
  run_other_tests asan
}

step_gcc() {
  headline "gcc: all tests with g++ 12, every header alone"
  # The programs are built with clang; with --all also with g++.
  options=(-DMGW_BUILD_PROGRAMS=OFF)
  [ -z "$all" ] || options=(-DMGW_BUILD_PROGRAMS=ON)
  build gcc 1800 all all_verify_interface_header_sets
  local status=$?
  options=()
  [ $status = 0 ] || return
  run_tests gcc
  run_other_tests gcc
}

step_tsan() {
  headline "tsan: tests of what threads share, under ThreadSanitizer"
  local folder folders=(net cache upstream proxy ${all:+mender gateway}) targets=()
  for folder in "${folders[@]}"; do
    compgen -G "tests/$folder/*_test.cpp" >/dev/null && targets+=("mgw-test-$folder")
  done
  build tsan 1800 "${targets[@]}" || return
  run_tests tsan "${folders[@]}"
}

release_built=
build_release() {
  [ -z "$release_built" ] || return "$release_built"
  options=(-DMGW_BUILD_BENCH=ON) # nobody else would notice that it does not build any more
  build release 1800 examples/all bench/all
  release_built=$?
  options=()
  return "$release_built"
}

# end_to_end NAME PRESET [TEST...]
end_to_end() {
  local name=$1 preset=$2
  shift 2
  bounded "$name" 900 env MGW_BIN="$PWD/build/$preset/bin" python3 -B tests/e2e/run.py "$@"
  local status=$?
  count_lines "$name" "$logs/$name.log" '^PASS ' '^FAIL '
  # Ended by the clock, or by itself without a word about why.
  [ "$status" -le 1 ] || fail "$name: exit status $status" 1
}

step_e2e() {
  headline "e2e: Mender's own client and black-box tests against the optimized gateway"
  build_release || return
  fetch_promtool
  end_to_end e2e release
  if [ -n "$all" ]; then
    headline "e2e with clients that wait for minutes"
    end_to_end e2e-long release long_clients
    headline "crash loop: the gateway killed 20 times under load"
    one crash-loop 600 env MGW_BIN="$PWD/build/release/bin" tests/crash_loop.sh 20
    headline "e2e under AddressSanitizer"
    build asan 1800 && MGW_E2E_SANITIZER=1 end_to_end e2e-asan asan
  fi
}

step_demo() {
  [ -x examples/gateway/run.sh ] || return
  headline "demo: examples/gateway/run.sh --once, and over a link that breaks again and again"
  build_release || return
  local demo=(env MGW_BIN="$PWD/build/release/bin" GATEWAY_PORT=0 MGW_DEMO_SIZE=16MiB examples/gateway/run.sh --once)
  one demo 300 "${demo[@]}"
  one demo-flaky 300 "${demo[@]}" --flaky
}

step_consumers() {
  headline "consumers: find_package and add_subdirectory, clang 19 and g++ 12"
  build_release || return
  bounded consumers 900 tests/consumers/run.sh build/release
  count_lines consumers "$logs/consumers.log" '^PASS ' '^FAIL '
}

step_fuzz() {
  [ -x fuzz/run.sh ] || return
  local seconds=10
  [ -z "$all" ] || seconds=300
  headline "fuzz: $seconds s of each harness"
  bounded fuzz $((1200 + seconds * 30)) fuzz/run.sh "$seconds"
  local status=$?
  count_lines fuzz "$logs/fuzz.log" '^[^ ]+: ok, ' '^[^ ]+: FAILED' may_be_none
  [ "$status" = 0 ] || grep -q ': FAILED' "$logs/fuzz.log" || fail "fuzz: exit status $status" 1 "$logs/fuzz.log"
}

step_storage() {
  headline "storage: signed links to s3rver and Azurite"
  local tools=()
  command -v node >/dev/null || tools+=(nodejs)
  command -v npm >/dev/null || tools+=(npm)
  if [ ${#tools[@]} -ne 0 ] && ! bounded storage-packages 900 env DEBIAN_FRONTEND=noninteractive sh -c \
    'apt-get update && apt-get install -y --no-install-recommends "$@"' sh "${tools[@]}"; then
    fail "storage: ${tools[*]} cannot be installed" 1 "$logs/storage-packages.log"
    return
  fi
  mkdir -p build/storage
  cp tests/storage/package.json tests/storage/package-lock.json build/storage/
  if ! bounded storage-npm 600 npm ci --prefix build/storage --ignore-scripts --no-audit --no-fund --fetch-retries 1 \
    --fetch-timeout 30000; then
    fail "storage: the servers cannot be had from npm's registry" 1 "$logs/storage-npm.log"
    return
  fi
  build_release || return
  end_to_end storage release storage
}

step_deploy() {
  headline "deploy: service, package, image and manifests, carried out where this machine can"
  # What cannot be installed, or used, is skipped with a line that says so.
  local tools=()
  command -v node >/dev/null || tools+=(nodejs)
  command -v npm >/dev/null || tools+=(npm)
  bounded deploy-packages 900 env DEBIAN_FRONTEND=noninteractive sh -c \
    'apt-get update && apt-get install -y --no-install-recommends "$@"' sh systemd mmdebstrap lintian man-db dpkg-dev \
    file buildah podman runc netavark iproute2 iptables python3-yaml python3-kubernetes ${tools[@]+"${tools[@]}"}
  build_release || return
  bounded deploy 2400 env MGW_BIN="$PWD/build/release/bin" python3 -B tests/deploy/run.py
  local status=$?
  grep -a '^SKIP ' "$logs/deploy.log" | sed 's/^/  /'
  count_lines deploy "$logs/deploy.log" '^PASS ' '^FAIL '
  [ "$status" -le 1 ] || fail "deploy: exit status $status" 1
}

step_instructions() {
  headline "instructions: what requests cost, beside bench/instructions.json"
  if ! command -v valgrind >/dev/null && ! bounded instructions-packages 900 env DEBIAN_FRONTEND=noninteractive sh -c \
    'apt-get update && apt-get install -y --no-install-recommends valgrind'; then
    fail "instructions: valgrind cannot be installed" 1 "$logs/instructions-packages.log"
    return
  fi
  build_release || return
  one instructions 300 python3 -B bench/instructions.py
  grep -a '^not compared' "$logs/instructions.log" | sed 's/^/  /'
}

install_missing
[ ${#only[@]} -ne 0 ] || only=(checks e2e demo consumers instructions asan gcc tsan fuzz ${all:+storage deploy})
for step in "${only[@]}"; do "step_$step"; done

if [ -s "$failures" ]; then
  headline "what failed, once more"
  cut -c 1-300 "$failures" | head -n 120
fi

echo
echo "took $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
