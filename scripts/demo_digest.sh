#!/usr/bin/env bash
# Runs `demo` by the given command, and fails if its arrivals do not have the digest in README.md.
#   scripts/demo_digest.sh arrivals
#   scripts/demo_digest.sh docker run --rm arrival-engine
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expected=$(grep -m 1 -oE '^  digest +[0-9]+-[0-9a-f]{32}$' "$root/README.md")
# The working folder is where the demo makes its world.
(cd "$work" && "$@" demo) | tee "$work/screen"
grep -qxF -- "$expected" "$work/screen" || {
    printf '\n  The demo has another digest than README.md: %s\n\n' "$expected" >&2
    exit 1
}
