#!/usr/bin/env bash
# Prints the path of a Python that has the official packages of the model providers, and makes one where there is none.
#
#   scripts/python.sh
#
# Looked for in this order: $SDK_PYTHON, .tools/python/ (a virtual environment, filled there from the Python package
# index). Only the path goes to stdout. Nothing of gatepost needs it: the tests run what agents run.
set -euo pipefail

packages=(openai==3.57.0 anthropic==2.14.0)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
home=$root/.tools/python

die() { echo "python.sh: $*" >&2; exit 1; }

# Whether a Python has these very versions.
complete() {
  "$1" - "${packages[@]}" 2>/dev/null <<'PYTHON'
import sys
from importlib.metadata import version
for package in sys.argv[1:]:
    name, wanted = package.split("==")
    if version(name) != wanted:
        sys.exit(1)
PYTHON
}

if [[ -n ${SDK_PYTHON:-} ]]; then
  complete "$SDK_PYTHON" || die "SDK_PYTHON=$SDK_PYTHON lacks ${packages[*]} (unset it to have them fetched)"
  echo "$SDK_PYTHON"
  exit
fi

if [[ -x $home/bin/python ]] && complete "$home/bin/python"; then
  echo "$home/bin/python"
  exit
fi

# A bare Debian has python3 without what makes virtual environments.
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
  [[ $(id -u) -eq 0 ]] && command -v apt-get >/dev/null \
    || die "the packages are fetched into a virtual environment, for which python3-venv is missing here: install it, or set SDK_PYTHON"
  echo "python.sh: installing python3-venv" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } >/dev/null \
    || die "apt-get could not install python3-venv"
fi

# All work happens in a directory of its own, and one rename makes the result visible: an interruption leaves nothing
# half done, and two of us at once do no harm. Only bin/python is used after it: it finds its packages by where it is.
mkdir -p "$root/.tools"
work=$(mktemp -d "$root/.tools/.python.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

echo "python.sh: fetching ${packages[*]}" >&2
python3 -m venv "$work/out" >&2
"$work/out/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "${packages[@]}" >&2 \
  || die "could not fetch ${packages[*]}"
complete "$work/out/bin/python" || die "what was fetched is not ${packages[*]}"

rm -rf "$home"
mv -T "$work/out" "$home" 2>/dev/null || complete "$home/bin/python" || die "could not write $home"
echo "$home/bin/python"
