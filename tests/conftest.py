"""Settings for every test module."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

import pytest

from tests.support.paths import HOME, ON_DEVICE, ROOT, SRC

# Processes that tests start import what this one does: this checkout, wherever the environment's own installation
# points, or an installed wheel, which they find without a path.
_paths = [str(SRC)] if HOME == SRC else []
os.environ["PYTHONPATH"] = os.pathsep.join([*_paths, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])

# Compiled sources are kept: otherwise every worker rewrites every test, and every process compiles the package, anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A shell ignores SIGINT for jobs in the background, and what they start would ignore it too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A machine with a device may lack it.
with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # The first example of a property may compile kernels, and a world takes many draws.
    settings.register_profile("arrivals", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("arrivals")


def pytest_addoption(parser, pluginmanager):
    """pyproject.toml gives this option to every run, and a machine with a device may lack pytest-benchmark."""
    if not pluginmanager.hasplugin("benchmark"):
        parser.addoption("--benchmark-disable", action="store_true", help="without effect: no pytest-benchmark here")


def pytest_ignore_collect(collection_path, config):
    """With `-m gpu`, import the device tests alone: others need packages that a machine with a device may lack."""
    if config.option.markexpr.split()[:1] != ["gpu"]:
        return None
    related = collection_path == ON_DEVICE or ON_DEVICE in collection_path.parents
    return None if related or collection_path in ON_DEVICE.parents else True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Under ARRIVALS_REQUIRE_GPU=1, a device test that was skipped has failed."""
    report = yield
    if report.skipped and item.get_closest_marker("gpu") and os.environ.get("ARRIVALS_REQUIRE_GPU", "0") != "0":
        _, _, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"ARRIVALS_REQUIRE_GPU is set, and the test was skipped. {reason}"
    return report


@pytest.fixture(scope="session")
def named_run(tmp_path_factory):
    """A world whose merchant ids are texts, sealed and run; not to be written to."""
    from arrival_engine import RunOptions, run, seal
    from tests.support.importing import imported
    from tests.support.named import text_tables

    root = tmp_path_factory.mktemp("named") / "world"
    imported(text_tables(), root, merchant_ids="text")
    seal(root)
    run(root, RunOptions(backend="cpu", threads=2))
    return root
