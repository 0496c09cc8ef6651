#!/usr/bin/env bash
# Prints egress_secrets.json from the environment: OPENAI_API_KEY, ANTHROPIC_API_KEY, GITHUB_TOKEN, SLACK_BOT_TOKEN.
# What is not set becomes "", and its service answers 503.
#
#   scripts/generate-egress-secrets.sh > policy/data/egress_secrets.json
#
# It is 'gatepost secrets from-env --allow-missing', and takes the further arguments of that: --policy DIR writes the
# file itself, with the credentials that egress_config.json there names. $GATEPOST may name the binary.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# The shell that redirects makes the file readable by whoever its umask lets. Nothing stands in it yet.
if [[ -f /dev/stdout ]]; then
  chmod 600 /dev/stdout
fi

target=${CARGO_TARGET_DIR:-$root/target}
for binary in "${GATEPOST:-}" "$target/release/gatepost" "$target/debug/gatepost"; do
  if [[ -n $binary && -x $binary ]]; then
    exec "$binary" secrets from-env --allow-missing "$@"
  fi
done

# rustup may be installed without this shell knowing of it.
[[ -f ${CARGO_HOME:-$HOME/.cargo}/env ]] && . "${CARGO_HOME:-$HOME/.cargo}/env"
exec cargo run --quiet --locked --manifest-path "$root/Cargo.toml" -- secrets from-env --allow-missing "$@"
