"""Inputs that change while a cluster reads them."""

from __future__ import annotations

from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest

from arrival_engine import DaskMaker, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from tests.support.cluster import OPTIONS
from tests.support.damage import COUNTS


class AfterSealCheck(Reporter):
    """Does something between the check and the work."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    @contextmanager
    def phase(self, name):
        with super().phase(name):
            yield
        if name == "seal check":
            self.action()


def test_workers_never_use_counts_that_changed_after_the_check(client, run_root):
    def change():
        for found in read_receipt(run_root).files(COUNTS, scenario_id="second"):
            table = pq.read_table(found.outside, partitioning=None)
            at = table.schema.get_field_index("count_N")
            doubled = [2 * count for count in table["count_N"].to_pylist()]
            pq.write_table(table.set_column(at, table.schema.field(at), [doubled]), found.outside)

    with pytest.raises(ArrivalError, match="changed while it was being read") as caught:
        run(run_root, OPTIONS, AfterSealCheck(change), maker=DaskMaker(client))
    assert caught.value.code is Code.S0_GATE_MISSING_OR_INVALID
    assert "second" not in read_receipt(run_root).partitions("arrival_events_5B")
