#!/usr/bin/env bash
# What gatepost costs: CPU time for each check beside an empty authorization server, on both sides, memory, start, reload,
# and decide() alone. Prints figures beside the goals and judges none of them; fails if anything breaks or answers wrongly.
#
#   scripts/bench.sh                  the release build; takes some minutes. A quiet machine is best, a busy one will do:
#                                     the servers take turns, and ratios within a turn are what to compare.
#   scripts/bench.sh --log FILE       the decision log goes there (default: memory if it has room, else /dev/null)
#   scripts/bench.sh --quick          seconds, with the debug build: shows that the benches work, and nothing else
#   scripts/bench.sh [...] -- ARGS    ARGS go to the driver, for example --turns 9 (see benches/README.md)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

quick=false
log=
while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) quick=true ;;
    --log) log=${2:?--log needs a file}; shift ;;
    --) shift; break ;;
    -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;;
    *) echo "bench.sh: unknown argument $1 (--help says which there are)" >&2; exit 2 ;;
  esac
  shift
done

# rustup may be installed without this shell knowing of it.
[[ -f ${CARGO_HOME:-$HOME/.cargo}/env ]] && . "${CARGO_HOME:-$HOME/.cargo}/env"
target=${CARGO_TARGET_DIR:-target}

own_log=
trap '[[ -z $own_log ]] || rm -f "$own_log"' EXIT
if [[ -z $log ]]; then
  log=/dev/null
  # A turn of 200,000 checks writes about 120 MB, and the file is emptied after each.
  if [[ $quick == false && $(df --output=avail /dev/shm 2>/dev/null | tail -n 1) -gt 1000000 ]]; then
    own_log=$(mktemp /dev/shm/gatepost-bench.XXXXXX)
    log=$own_log
  fi
fi

run() {
  "$target/$1/examples/bench" --gatepost "$target/$1/gatepost" --examples "$target/$1/examples" \
    --sample policy/data --log "$log" "${@:2}"
}

if [[ $quick == true ]]; then
  cargo build --locked --quiet --bin gatepost --examples
  cargo test --locked --quiet --bench decide
  run debug --turns 2 --checks 1000 --keys 2000 --settle-ms 100 "$@"
  echo "The debug build: these figures mean nothing."
else
  # In two steps: the examples' dependencies ask for features that gatepost is not shipped with.
  cargo build --locked --release
  cargo build --locked --release --examples
  run release "$@"
  cargo bench --locked --bench decide
  echo "Goals (medians): decide/allow at most 2 us, load/100000_keys less than 150 ms,"
  echo "  decide/egress_allow alike for 10 and 10000 services, load/10000_services_10000_sandboxes less than 300 ms."
fi
