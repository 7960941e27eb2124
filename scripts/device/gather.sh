#!/usr/bin/env bash
# Gathers in .dev/ what a machine with a device may lack. check.sh unpacks it there, and fetches nothing.
#   scripts/device/gather.sh
# PYTHON: an interpreter with pip. TARGET_PYTHON: the version over there. NVVM_VERSION: that of nvJitLink over there, or
# an older one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python=${PYTHON:-python3}
target=${TARGET_PYTHON:-3.12}
nvvm=${NVVM_VERSION:-13.0.88}
# The machine and its CUDA packages bring numba, numba-cuda, llvmlite, CuPy, pyarrow and their CUDA libraries. DuckDB is
# needed by none of the steps.
packages=(
    numpy pyyaml click psutil tzdata
    rich pygments markdown-it-py mdurl
    jsonschema jsonschema-specifications referencing rpds-py attrs typing-extensions
    pytest pluggy iniconfig packaging hypothesis sortedcontainers
)

download() { # FOLDER REQUIREMENT...
    local folder=$1 platforms=() tag
    shift
    for tag in 2_28 2_27 2_17 2_12 2_5; do
        platforms+=(--platform "manylinux_${tag}_x86_64")
    done
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --python-version "$target" --implementation cp "${platforms[@]}" \
        --platform manylinux2014_x86_64 --platform manylinux2010_x86_64 --platform manylinux1_x86_64 \
        --dest "$folder" "$@"
}

pinned() { # NAME: the requirement as constraints.txt pins it
    grep -i "^${1//-/[-_.]}==" constraints.txt || {
        echo "constraints.txt does not pin $1" >&2
        return 1
    }
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
requirements=()
for name in "${packages[@]}"; do
    requirements+=("$(pinned "$name")")
done
download "$work/wheels" "${requirements[@]}"

# The compiler alone, packed harder than in the wheel, which has its program too.
download "$work/nvvm" "nvidia-nvvm==$nvvm"
"$python" -m zipfile -e "$work"/nvvm/*.whl "$work/tree"
tar -C "$work/tree" --exclude=./nvidia/cu13/nvvm/bin -cJf "$work/nvvm.tar.xz" .

rm -rf .dev
mkdir .dev
mv "$work/wheels" "$work/nvvm.tar.xz" .dev/
echo "$target" >.dev/python
kept=$(du -sk --apparent-size .dev | cut -f1)
tree=$(git ls-files -z | du -ck --apparent-size --files0-from=- | tail -n 1 | cut -f1)
echo "gathered in .dev: $((kept / 1024)) MiB, and the tree has $((tree / 1024)) MiB"
if [ $((kept + tree)) -ge $((64 * 1024)) ]; then
    echo "together they are more than 64 MiB" >&2
    exit 1
fi
