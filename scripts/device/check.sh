#!/usr/bin/env bash
# Checks and measures the CUDA backend on this machine, from a plain checkout, and fetches nothing.
#   scripts/device/check.sh --out FOLDER [--preset demo] [--limit SECONDS] ...      steps.py has all options
# PYTHON: the interpreter that has the CUDA packages. .dev/, which gather.sh fills, holds what it may lack.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A copy of the checkout may have lost its links.
for folder in contracts config cpu_fallback gpu_kernels engine; do
    [ -e "src/arrival_engine/$folder/__init__.py" ] || ln -sfn "../../$folder" "src/arrival_engine/$folder"
done

# An environment that finds first what was gathered, then what the machine has. Nothing is installed on the machine.
if [ -d .dev ] && [ "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" != "$(cat .dev/python)" ]; then
    echo ".dev was gathered for Python $(cat .dev/python), and $python is another: it is left aside" >&2
elif [ -d .dev ]; then
    purelib() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
    "$python" -m venv --without-pip --system-site-packages "$work/venv"
    machine=$(purelib "$python") site=$(purelib "$work/venv/bin/python")
    # What is below a virtual environment that python belongs to, and the folders in which NVIDIA's libraries are found.
    echo "import site; site.addsitedir('$machine')" >"$site/machine.pth"
    [ ! -d "$machine/nvidia" ] || cp -rs "$machine/nvidia" "$site/"
    for wheel in .dev/wheels/*.whl; do
        "$python" -m zipfile -e "$wheel" "$site"
    done
    if ! "$python" -c 'from importlib.metadata import version; version("nvidia-nvvm")' 2>/dev/null; then
        "$python" -W ignore -m tarfile -e .dev/nvvm.tar.xz "$site"
    fi
    python=$work/venv/bin/python
fi

export PYTHONPATH=$PWD/src:$PWD PYTHONUNBUFFERED=1
"$python" -P scripts/device/steps.py --work "$work" "$@"
