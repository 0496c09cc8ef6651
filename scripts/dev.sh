#!/usr/bin/env bash
# Both proxies on this machine: the gateway and the egress, each an Envoy, one gatepost with the sample policy, and echo
# services behind them, that of the egress behind TLS.
#
#   scripts/dev.sh            Ctrl-C stops everything. Logs are in run/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() { echo "dev.sh: $*" >&2; exit 1; }
# Whether something accepts connections on a port of this machine.
open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
# http_status PORT PATH [HEADER] -> the status code; fails when nobody answers. Needs no curl.
http_status() (
  exec 2>/dev/null 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
  printf 'GET %s HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n%b\r\n' "$2" "${3:+$3\\r\\n}" >&3
  read -r -t 2 _ code _ <&3 && echo "$code"
)

for port in 8080:gateway 9901:gateway-admin 8443:egress 9902:egress-admin 9191:gatepost 8181:gatepost-admin \
  9500:upstream-gRPC 8090:upstream-HTTP 8453:upstream-TLS; do
  ! open_port "${port%:*}" || die "port ${port%:*} (${port#*:}) is taken. 'ss -ltnp' shows by whom."
done

# rustup may be installed without this shell knowing of it.
[[ -f ${CARGO_HOME:-$HOME/.cargo}/env ]] && . "${CARGO_HOME:-$HOME/.cargo}/env"
command -v cargo >/dev/null || die "no cargo here. Install rustup (https://rustup.rs); it reads the version from rust-toolchain.toml."
# need COMMAND PACKAGE...: installs the packages where the command is missing.
need() {
  command -v "$1" >/dev/null && return
  [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null || die "no $1 here: install $2"
  echo "dev.sh: installing $2"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${@:2}"; } >/dev/null
}
need cc gcc libc6-dev
need openssl openssl
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

# ready NAME PORT PATH STATUS [HEADER]: asks until the answer is the wanted one.
ready() {
  local tries=0
  until [[ $(http_status "$2" "$3" "${5:-}") == "$4" ]]; do
    fail_if_one_died
    ((tries++ < 300)) || die "$1 is not ready after 30 s: no $4 from http://127.0.0.1:$2$3. See run/."
    sleep 0.1
  done
}

# An authority for this run, and a certificate of it for the service behind the egress. The authority's key is gone before
# anything starts.
demo_certificate() (
  umask 077
  exec 2>run/openssl.log
  cat >run/openssl.cnf <<'CNF'
[req]
distinguished_name = name
prompt = no
[name]
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, DNS:demo.gatepost.test, IP:127.0.0.1
CNF
  new_key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -config run/openssl.cnf)
  # Joined: "set -e" does not reach into a function whose failure is looked at.
  openssl req -x509 "${new_key[@]}" -subj '/CN=gatepost demo CA' -extensions authority -days 30 \
    -keyout run/demo-ca.key -out run/demo-ca.crt &&
    openssl req -new "${new_key[@]}" -subj '/CN=demo.gatepost.test' -keyout run/demo.key -out run/demo.csr &&
    openssl x509 -req -in run/demo.csr -CA run/demo-ca.crt -CAkey run/demo-ca.key -set_serial "$(date +%s)" -days 30 \
      -extfile run/openssl.cnf -extensions server -out run/demo.crt &&
    rm -f run/demo-ca.key run/demo.csr run/openssl.cnf
)
demo_certificate || die "openssl could not make a certificate. The end of run/openssl.log: $(tail -n 3 run/openssl.log)"

# for_this_machine FILE EXPRESSION...: the shipped file with replacements for sed, each of which must find its place.
for_this_machine() {
  local text edited
  text=$(cat "$1")
  for expression in "${@:2}"; do
    edited=$(sed "$expression" <<<"$text")
    [[ $edited != "$text" ]] || die "$1 has no place for '$expression'"
    text=$edited
  done
  printf '%s\n' "$text"
}

# The shipped files, but for this machine alone: the keys and tokens of the sample policy are public.
for_this_machine envoy/gateway.yaml \
  's/address: 0\.0\.0\.0, port_value: 8080/address: 127.0.0.1, port_value: 8080/' >run/gateway.yaml
# The egress trusts the authorities of this machine, if it has any, and the one of the demo.
cat run/demo-ca.crt >run/upstream-ca.crt
if [[ -r /etc/ssl/certs/ca-certificates.crt ]]; then
  cat /etc/ssl/certs/ca-certificates.crt >>run/upstream-ca.crt
fi
for_this_machine envoy/egress.yaml \
  's/address: 0\.0\.0\.0, port_value: 8443/address: 127.0.0.1, port_value: 8443/' \
  's#/run/gatepost/egress\.sock#run/egress.sock#' \
  's#/etc/ssl/certs/ca-certificates\.crt#run/upstream-ca.crt#' >run/egress.yaml

start upstream-http "$gatepost" demo-upstream --listen 127.0.0.1:8090
start upstream-grpc "$gatepost" demo-upstream --listen 127.0.0.1:9500
start upstream-tls "$gatepost" demo-upstream --listen 127.0.0.1:8453 --tls-cert run/demo.crt --tls-key run/demo.key --events 20
# The sample policy holds public keys, which load only with this.
GATEPOST_ENV=development start gatepost "$gatepost" authz --policy policy/data \
  --gateway-listen 127.0.0.1:9191 --egress-listen "unix:$PWD/run/egress.sock" --admin 127.0.0.1:8181 --audit-log -
for proxy in gateway egress; do
  start "envoy-$proxy" "$envoy" -c "run/$proxy.yaml" --use-dynamic-base-id --log-level warning \
    --file-flush-interval-msec 200
done

token=gp_sbx_demo-token-change-in-production
ready "the HTTP upstream" 8090 / 200
ready "the gRPC upstream" 9500 / 200
ready gatepost 8181 /ready 200
ready "the gateway's Envoy" 9901 /ready 200
ready "the gateway as a whole" 8080 /api/v1/hello 401
ready "the egress's Envoy" 9902 /ready 200
ready "the egress as a whole" 8443 /demo/v1/hello 401
ready "the service behind the egress" 8443 /demo/v1/hello 200 "x-sandbox-token: $token"

cat <<TEXT

Ready.
  gateway          http://127.0.0.1:8080      what clients talk to; Envoy's admin http://127.0.0.1:9901
  egress           http://127.0.0.1:8443      what agents talk to; Envoy's admin http://127.0.0.1:9902
  gatepost         http://127.0.0.1:8181/status and /metrics, or: $gatepost status
  policy           policy/data/gateway_config.json and egress_config.json: edit them, they hold within a second
  logs             run/gatepost.out.log (decisions), run/envoy-*.out.log (access), run/*.log (diagnostics)

Four requests to the gateway:
  allowed          curl -i http://127.0.0.1:8080/api/v1/hello -H 'X-API-Key: dev-api-key-change-in-production'
  no key           curl -i http://127.0.0.1:8080/api/v1/hello
  wrong path       curl -i http://127.0.0.1:8080/nowhere -H 'X-API-Key: dev-api-key-change-in-production'
  over the limit   for i in 1 2 3 4; do curl -i http://127.0.0.1:8080/api/v1/hello -H 'X-API-Key: demo-3-per-minute'; done

And as an agent to the egress; what comes back is what the service was sent: its own credential, and no token.
  TOKEN=$token
  allowed          curl -i http://127.0.0.1:8443/v1/hello -H 'Host: demo' -H "X-Sandbox-Token: \$TOKEN"
                   the answer shows  "authorization":["Bearer demo-secret-that-no-agent-sees"]
  as SDKs send it  curl -i http://127.0.0.1:8443/demo/v1/chat/completions -H "Authorization: Bearer \$TOKEN" -d '{}'
  streamed         curl -N http://127.0.0.1:8443/demo/events -H "X-Sandbox-Token: \$TOKEN"
  no token         curl -i http://127.0.0.1:8443/demo/v1/hello
  not its service  curl -i http://127.0.0.1:8443/slack/chat.postMessage -H "X-Sandbox-Token: \$TOKEN" -d '{}'
  wrong path       curl -i http://127.0.0.1:8443/demo/v1/admin/keys -H "X-Sandbox-Token: \$TOKEN"

A token of one's own, and its end (git checkout policy/data brings the sample back):
  OWN=\$($gatepost sandbox-token new --sandbox demo-agent --id own --policy policy/data); sleep 1
  allowed          curl -i http://127.0.0.1:8443/demo/v1/hello -H "X-Sandbox-Token: \$OWN"
  $gatepost sandbox-token revoke --sandbox demo-agent own --policy policy/data; sleep 1
  revoked          curl -i http://127.0.0.1:8443/demo/v1/hello -H "X-Sandbox-Token: \$OWN"

Ctrl-C stops everything.
TEXT

wait -n "${!name_of[@]}" || true
fail_if_one_died
