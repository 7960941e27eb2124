"""A proven run and its report, shared by the tests of the report."""

from __future__ import annotations

import pytest

from arrival_engine import ReportOptions, report
from tests.support.product import published_table
from tests.support.reported import measured, plain_rows
from tests.support.validating import proof_world, proven_run


@pytest.fixture(scope="session")
def proven(tmp_path_factory):
    """A world with virtual merchants, several parts and fallbacks, run."""
    root = tmp_path_factory.mktemp("report") / "run"
    proven_run(root)
    return root


@pytest.fixture(scope="session")
def reported(proven, tmp_path_factory):
    """Its report, with figures."""
    folder = tmp_path_factory.mktemp("reported")
    return report(proven, ReportOptions(out=folder / "page.html", figures=folder / "figures"))


@pytest.fixture(scope="session")
def rows(proven):
    """Its arrivals, read plainly: one mapping a row, times as µs."""
    return plain_rows(published_table(proven, proof_world()))


@pytest.fixture(scope="session")
def found(proven):
    return measured(proven)
