"""`pytest -m gpu`: it needs pytest and what the product needs, and a skip can be made a failure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

from tests.support.gpu import without_device
from tests.support.hidden import without
from tests.support.paths import ON_DEVICE, ROOT

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def normal(name):
    return re.sub(r"[-_.]+", "_", name).lower()


def needed(*names):
    """Distributions that these need, and they themselves, without extras."""
    found, left = set(), list(names)
    while left:
        name = normal(left.pop())
        if name not in found:
            found.add(name)
            try:
                requirements = metadata.requires(name) or ()
            except metadata.PackageNotFoundError:
                continue
            left += [_NAME.match(text)[0] for text in requirements if "extra ==" not in text]
    return found


def collected(environment):
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_device_tests_are_collected_with_what_the_product_needs(tmp_path):
    kept = needed("arrival-engine", "numba-cuda", "pytest")
    others = [dist.name for dist in metadata.distributions() if normal(dist.name) not in kept]
    modules = [
        module for module, dists in metadata.packages_distributions().items() if kept.isdisjoint(map(normal, dists))
    ]
    hidden = {normal(name) for name in (*others, *modules)}
    assert {"polars", "pandas", "randomgen", "scipy", "hypothesis", "pytest_benchmark", "xdist"} <= hidden
    found = collected({**os.environ})
    assert {line.partition("::")[0] for line in found} == {
        str(path.relative_to(ROOT)) for path in ON_DEVICE.glob("test_*.py")
    }
    assert collected(without(tmp_path, *hidden)) == [line for line in found if "test_device_drawn" not in line]


def test_device_tests_are_where_they_are_collected():
    for path in (ROOT / "tests").rglob("test_*.py"):
        marks = re.search(r"^ *@(gpu|cudf|pytest\.mark\.(gpu|cudf))$", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert bool(marks) == (path.parent == ON_DEVICE), path


@without_device
@pytest.mark.parametrize("required", [False, True])
def test_a_skip_is_a_failure_where_a_device_is_required(required):
    environment = {**os.environ, "ARRIVALS_REQUIRE_GPU": "1" if required else "0"}
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-k", "small_world", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if required else 0), done.stdout
    assert "no CUDA driver: libcuda.so.1 is not on this machine" in done.stdout
    assert ("ARRIVALS_REQUIRE_GPU is set, and the test was skipped" in done.stdout) == required
