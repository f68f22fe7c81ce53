#!/usr/bin/env bash
# Builds mgw-gateway and runs it.
#
#   examples/gateway/run.sh             a demo: a small Mender server, the gateway, and 20 devices that update through it
#   examples/gateway/run.sh --once      the same, and ends after the update; exit status 0 if all went well
#   examples/gateway/run.sh --flaky     the server breaks every transfer after 5 percent of the artifact
#   UPSTREAM_SERVER_URL=… run.sh …      the gateway itself, in front of that server; all arguments are the gateway's
#
# Environment of the demo: MGW_DEMO_SIZE (64MiB), MGW_DEMO_DEVICES (20), GATEWAY_PORT (8443; 0: any).
# MGW_BIN: a directory with the built programs; nothing is installed or built then.
set -eu
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

once= flaky= real=${UPSTREAM_SERVER_URL:-}
for argument in "$@"; do
  case $argument in
    --once) once=1 ;;
    --flaky) flaky=1 ;;
    -h | --help)
      sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *) real=1 ;;
  esac
done

die() {
  printf 'run.sh: %s\n' "$*" >&2
  exit 1
}

# ---- packages and programs -------------------------------------------------------------------------------------------
install_missing() {
  command -v dpkg-query > /dev/null || return 0  # another distribution: CMake will say what it misses
  local package missing=() as_root=()
  for package in clang-19 cmake ninja-build libasio-dev libssl-dev libcli11-dev libspdlog-dev libboost1.81-dev \
    libboost-json1.81-dev zlib1g-dev libarchive-dev liblzma-dev libzstd-dev libseccomp-dev libsystemd-dev \
    doctest-dev openssl ca-certificates; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -ne 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2> /dev/null || [ -t 0 ] || die "these packages are missing: ${missing[*]}"
    as_root=(sudo)
  fi
  echo "Installing: ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  local install=("${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}")
  "${install[@]}" > /dev/null 2>&1 && return 0
  "${as_root[@]}" apt-get update -qq && "${install[@]}" > /dev/null || die "cannot install: ${missing[*]}"
}

build() {
  local log=$root/build/run.log
  mkdir -p "$root/build"
  (cd "$root" && cmake --preset release) > "$log" 2>&1 || { cat "$log" >&2; die "cannot configure the build"; }
  echo "Building (some minutes the first time)"
  (cd "$root" && cmake --build --preset release --target mgw-gateway mgw-mini-mender mgw-fleet) > "$log" 2>&1 ||
    { cat "$log" >&2; die "cannot build"; }
}

if [ -n "${MGW_BIN:-}" ]; then
  bin=$MGW_BIN
else
  bin=$root/build/release/bin
  install_missing
  build
fi
[ -z "$real" ] || exec "$bin/mgw-gateway" "$@"

# ---- the demo --------------------------------------------------------------------------------------------------------
work=$(mktemp -d "${TMPDIR:-/tmp}/mgw-demo.XXXXXX")
server_pid= gateway_pid=

end() {  # pid
  [ -n "$1" ] || return 0
  kill "$1" 2> /dev/null || return 0
  for _ in $(seq 50); do
    kill -0 "$1" 2> /dev/null || return 0
    sleep 0.1
  done
  kill -9 "$1" 2> /dev/null || true
}
clean_up() {
  status=$?
  trap - EXIT
  trap '' INT TERM
  end "$gateway_pid"
  end "$server_pid"
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A CA and a certificate for localhost, valid since yesterday: a device's clock may be behind.
make_certificates() {
  local since until
  since=$(date -u -d yesterday +%Y%m%d%H%M%SZ)
  until=$(date -u -d '60 days' +%Y%m%d%H%M%SZ)
  mkdir "$work/ca"
  : > "$work/ca/index"
  cat > "$work/ca/conf" << CONF
[ca]
default_ca = demo
[demo]
database = $work/ca/index
new_certs_dir = $work/ca
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1
CONF
  local ca=(openssl ca -batch -notext -config "$work/ca/conf" -startdate "$since" -enddate "$until" -keyfile "$work/ca.key")
  local name
  for name in ca server; do
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config "$work/ca/conf" \
      -subj "/CN=${name/server/localhost}" -keyout "$work/$name.key" -out "$work/$name.csr"
  done
  "${ca[@]}" -selfsign -extensions authority -in "$work/ca.csr" -out "$work/ca.crt"
  "${ca[@]}" -cert "$work/ca.crt" -extensions server -in "$work/server.csr" -out "$work/server.crt"
}

# Waits until a program has printed where it listens; sets `url`.
wait_for() {  # name pid
  for _ in $(seq 300); do
    url=$(sed -n "s|^$1 listening on ||p" "$work/$1.out" | head -n 1)
    [ -z "$url" ] || return 0
    kill -0 "$2" 2> /dev/null || break
    sleep 0.1
  done
  tail -n 20 "$work/$1.log" >&2
  die "$1 did not start"
}

mib() { printf '%d.%d MiB' $(($1 / 1048576)) $(($1 % 1048576 * 10 / 1048576)); }

make_certificates > "$work/openssl.log" 2>&1 || { cat "$work/openssl.log" >&2; die "cannot make certificates"; }
"$bin/mgw-mini-mender" --make-artifact "$work/demo-2.mender" --size "${MGW_DEMO_SIZE:-64MiB}" --artifact-name demo-2
size=$(stat -c %s "$work/demo-2.mender")
sha256=$(sha256sum "$work/demo-2.mender")
sha256=${sha256%% *}

"$bin/mgw-mini-mender" --cert "$work/server.crt" --key "$work/server.key" --artifact "$work/demo-2.mender" \
  --artifact-name demo-2 ${flaky:+--cut-every 5} > "$work/mgw-mini-mender.out" 2> "$work/mgw-mini-mender.log" &
server_pid=$!
wait_for mgw-mini-mender "$server_pid"
server=$url

port=${GATEWAY_PORT:-8443}
if [ -z "${GATEWAY_PORT:-}" ] && (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; then port=0; fi  # somebody has it
page=${ADMIN_LISTEN:-127.0.0.1:9103}
if [ -z "${ADMIN_LISTEN:-}" ] && (: < /dev/tcp/127.0.0.1/9103) 2> /dev/null; then page=127.0.0.1:0; fi
ADMIN_LISTEN="$page" HTTPS_ENABLED=true HTTPS_LISTEN="127.0.0.1:$port" HTTPS_SERVER_CERTIFICATE="$work/server.crt" \
  HTTPS_SERVER_KEY="$work/server.key" UPSTREAM_SERVER_URL="$server" UPSTREAM_SERVER_CA_CERTIFICATE="$work/ca.crt" \
  ARTIFACTS_PROXY_ENABLED=true ARTIFACTS_PROXY_CACHE_PATH="$work/cache" STATE_DIRECTORY="$work/state" \
  "$bin/mgw-gateway" > "$work/mgw-gateway.out" 2> "$work/mgw-gateway.log" &
gateway_pid=$!
wait_for mgw-gateway "$gateway_pid"
gateway=$url
page=$(sed -n 's/^status page: //p' "$work/mgw-gateway.out")

cat << TEXT
Mender server  $server${flaky:+  (breaks every transfer after 5 % of the artifact)}
gateway        $gateway
status page    ${page:-none}
artifact       $(mib "$size")

TEXT
fleet_status=0
"$bin/mgw-fleet" --server "$gateway" --ca "$work/ca.crt" --devices "${MGW_DEMO_DEVICES:-20}" \
  --expect-sha256 "$sha256" --expect-size "$size" | tee "$work/fleet.out" || fleet_status=1
grep -q '^fleet: \([0-9]*\) of \1 updated' "$work/fleet.out" || fleet_status=1

stats=$("$bin/mgw-fleet" --ca "$work/ca.crt" --get "$server/demo/stats")
number() { [[ $stats =~ \"$1\":([0-9]+) ]] && echo "${BASH_REMATCH[1]}"; }
fetched=$(number artifact_bytes)
distinct=$(number artifact_distinct_bytes)
requests=$(number artifact_requests)
again=$((fetched - distinct))
delivered=$(sed -n 's/^fleet: .*, \([0-9]*\) bytes delivered$/\1/p' "$work/fleet.out")
saved=0.0
if [ "$delivered" -gt "$fetched" ]; then
  saved=$(((delivered - fetched) * 1000 / delivered))
  saved=$((saved / 10)).$((saved % 10))
fi
cat << TEXT

upstream       $fetched bytes ($(mib "$fetched")) in $requests request(s); fetched again: $again
delivered      $delivered bytes ($(mib "$delivered"))
saved          $saved %
TEXT

result=0
if [ "$fleet_status" -ne 0 ]; then
  echo "Not every device was updated; the gateway's last words:" >&2
  tail -n 5 "$work/mgw-gateway.log" >&2
  result=1
elif [ "$distinct" -ne "$size" ] || [ $((again * 100)) -gt "$size" ] || { [ -z "$flaky" ] && [ "$again" -ne 0 ]; }; then
  echo "The artifact did not cross upstream exactly once." >&2
  result=1
elif [ -n "$flaky" ] && [ "$requests" -lt 10 ]; then
  echo "The transfers did not break." >&2
  result=1
fi
[ -z "$once" ] || exit "$result"

cat << TEXT

The gateway keeps serving; Ctrl-C ends it. Another fleet:
  $bin/mgw-fleet --server $gateway --ca $work/ca.crt
What it does:
  ${page:-no status page: see $work/mgw-gateway.log}
TEXT
trap 'exit 0' INT
wait "$gateway_pid" || true
die "the gateway ended: $(tail -n 3 "$work/mgw-gateway.log")"
