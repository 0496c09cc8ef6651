#!/usr/bin/env bash
# The whole gateway on this machine: Envoy, gatepost with the sample policy, and an echo service behind them.
#
#   scripts/dev.sh            Ctrl-C stops everything. Logs are in run/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "dev.sh: $*" >&2; exit 1; }
# Whether something accepts connections on a port of this machine.
open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# http_status PORT PATH -> the status code; fails when nobody answers. Needs no curl.
http_status() (
  exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  printf 'GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' "$2" >&3
  read -r -t 2 _ code _ <&3 && echo "$code"
)

for port in 8080:gateway 9901:Envoy-admin 9191:gatepost 8181:gatepost-admin 9500:upstream-gRPC 8090:upstream-HTTP; do
  ! open_port "${port%:*}" || die "port ${port%:*} (${port#*:}) is taken. 'ss -ltnp' shows by whom."
done

# rustup may be installed without this shell knowing of it.
[[ -f ${CARGO_HOME:-$HOME/.cargo}/env ]] && . "${CARGO_HOME:-$HOME/.cargo}/env"
command -v cargo >/dev/null || die "no cargo here. Install rustup (https://rustup.rs); it reads the version from rust-toolchain.toml."
if ! command -v cc >/dev/null; then
  [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null || die "no C compiler (cc): install gcc"
  echo "dev.sh: installing gcc"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev; } >/dev/null
fi
envoy=$(scripts/envoy.sh)
cargo build --locked --release
gatepost=${CARGO_TARGET_DIR:-target}/release/gatepost
mkdir -p run

declare -A name_of=()      # process id -> name; its log is run/NAME.log
stop() {
  trap - EXIT
  trap '' INT TERM
  local ids=("${!name_of[@]}") waited=0
  [[ ${#ids[@]} -eq 0 ]] && return
  kill "${ids[@]}" 2>/dev/null || true
  # gatepost finishes the requests it has; what is not gone by then is ended.
  while kill -0 "${ids[@]}" 2>/dev/null && ((waited++ < 100)); do sleep 0.1; done
  kill -KILL "${ids[@]}" 2>/dev/null || true
  wait 2>/dev/null || true
}
trap stop EXIT
trap 'echo; echo "dev.sh: stopping"; exit 130' INT TERM

# start NAME COMMAND...: its diagnostics go to run/NAME.log, its stdout to run/NAME.out.log.
start() {
  local name=$1
  shift
  # In a process group of its own: Ctrl-C reaches this script alone, which then stops each of them, once.
  setsid "$@" >"run/$name.out.log" 2>"run/$name.log" </dev/null &
  name_of[$!]=$name
}

fail_if_one_died() {
  local id
  for id in "${!name_of[@]}"; do
    kill -0 "$id" 2>/dev/null && continue
    local name=${name_of[$id]} code=0
    wait "$id" || code=$?
    unset "name_of[$id]"
    echo "dev.sh: $name ended with exit code $code. The end of run/$name.log:" >&2
    tail -n 15 "run/$name.log" >&2
    exit 1
  done
}

# ready NAME PORT PATH STATUS: asks until the answer is the wanted one.
ready() {
  local tries=0
  until [[ $(http_status "$2" "$3") == "$4" ]]; do
    fail_if_one_died
    ((tries++ < 300)) || die "$1 is not ready after 30 s: no $4 from http://127.0.0.1:$2$3. See run/."
    sleep 0.1
  done
}

start upstream-http "$gatepost" demo-upstream --listen 127.0.0.1:8090
start upstream-grpc "$gatepost" demo-upstream --listen 127.0.0.1:9500
# The sample policy holds public keys, which load only with this.
GATEPOST_ENV=development start gatepost "$gatepost" authz --policy policy/data \
  --gateway-listen 127.0.0.1:9191 --admin 127.0.0.1:8181 --audit-log -
# The shipped file, but for this machine alone: the keys of the sample policy are public.
sed 's/address: 0\.0\.0\.0, port_value: 8080/address: 127.0.0.1, port_value: 8080/' envoy/gateway.yaml >run/gateway.yaml
start envoy "$envoy" -c run/gateway.yaml --use-dynamic-base-id --log-level warning \
  --file-flush-interval-msec 200

ready "the HTTP upstream" 8090 / 200
ready "the gRPC upstream" 9500 / 200
ready gatepost 8181 /ready 200
ready Envoy 9901 /ready 200
ready "the gateway as a whole" 8080 /api/v1/hello 401

cat <<'TEXT'

Ready.
  gateway          http://127.0.0.1:8080      what clients talk to
  Envoy's admin    http://127.0.0.1:9901
  gatepost         127.0.0.1:9191 (gRPC), http://127.0.0.1:8181/status and /metrics
  policy           policy/data/gateway_config.json: edit it, it holds within a second
  logs             run/gatepost.out.log (decisions), run/envoy.out.log (access), run/*.log (diagnostics)

Four requests to try:
  allowed          curl -i http://127.0.0.1:8080/api/v1/hello -H 'X-API-Key: dev-api-key-change-in-production'
  no key           curl -i http://127.0.0.1:8080/api/v1/hello
  wrong path       curl -i http://127.0.0.1:8080/nowhere -H 'X-API-Key: dev-api-key-change-in-production'
  over the limit   for i in 1 2 3 4; do curl -i http://127.0.0.1:8080/api/v1/hello -H 'X-API-Key: demo-3-per-minute'; done

Ctrl-C stops everything.
TEXT

wait -n "${!name_of[@]}" || true
fail_if_one_died
