#!/usr/bin/env bash
# Creates the virtual environment VENV and installs this project into it, with the pinned versions.
#   scripts/venv.sh [--wheel] VENV [EXTRAS]      EXTRAS: comma-separated, e.g. test,lint
# The installation is editable. With --wheel it is that of the wheel WHEEL, or of one that is built for it.
# PYTHON chooses the interpreter; the default is the first supported one on the path.
set -euo pipefail

form=editable
if [ "$1" = --wheel ]; then
    form=wheel
    shift
fi
venv=$1
extras=${2:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    printf '\n  %s\n' "$@" >&2
    printf '\n' >&2
    exit 1
}

new_enough() {
    # numba 0.64 has no wheels beyond 3.14.
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' >/dev/null 2>&1
}

can_make_venv() {
    "$1" -c 'import ensurepip, venv' >/dev/null 2>&1
}

find_python() {
    local candidate without_venv="" candidates=${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}
    for candidate in $candidates; do
        new_enough "$candidate" || continue
        if can_make_venv "$candidate"; then
            echo "$candidate"
            return
        fi
        without_venv=$candidate
    done
    if [ -n "$without_venv" ]; then
        fail "$("$without_venv" --version) was found, but it cannot create virtual environments (no ensurepip)." \
            "On Debian or Ubuntu: apt install python3-venv"
    fi
    fail "Arrival Engine needs Python 3.11 to 3.14; looked for: $candidates" \
        "Install one, or name it: make PYTHON=/path/to/python3.12 <target>"
}

# Python compiles what it imports, a small part of what is installed. Where it may not keep that, pip compiles all.
options=(--quiet --disable-pip-version-check --constraint "$root/constraints.txt")
[ -n "${PYTHONDONTWRITEBYTECODE:-}" ] || options+=(--no-compile)

install() {
    if ! "$venv/bin/python" -m pip install "${options[@]}" "$@"; then
        fail "Installing into $venv failed; pip's message is above." \
            "Without a reachable package index, name one: PIP_INDEX_URL=... make <target>" \
            "To start again: make clean"
    fi
}

if ! { [ -x "$venv/bin/python" ] && new_enough "$venv/bin/python"; }; then
    python=$(find_python)
    echo "Creating $venv with $("$python" --version)" >&2
    "$python" -m venv --clear "$venv" || fail "$python could not create $venv."
fi
echo "Installing Arrival Engine${extras:+ with $extras} into $venv (the first time takes a minute)" >&2
# The pip of an old Python takes a third longer.
install pip
# Build backends come before the project, pinned like the rest: an isolated build would fetch the newest ones.
# setuptools is that of jsonpath-rw, which the tests need through mlcroissant and which has no wheel.
install hatchling editables setuptools
if [ $form = editable ]; then
    install --no-build-isolation --editable "$root${extras:+[$extras]}"
else
    wheel=${WHEEL:-}
    if [ -z "$wheel" ]; then
        built=$(mktemp -d)
        trap 'rm -rf "$built"' EXIT
        install build
        "$venv/bin/python" -m build --wheel --no-isolation --outdir "$built" "$root" >/dev/null
        wheel=$(echo "$built"/*.whl)
    fi
    install "$wheel${extras:+[$extras]}"
    # A wheel of the same version may be there already, with other contents.
    install --no-deps --force-reinstall "$wheel"
fi
