"""A world whose alias index is larger than a document may be is made, sealed, run and validated."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.strict_json import SIZE_LIMIT

MERCHANTS = 80_000
ZONES = np.array([("Europe/Berlin", "DE"), ("America/New_York", "US"), ("Asia/Kolkata", "IN")])


@pytest.mark.slow
def test_eighty_thousand_merchants_go_all_the_way(tmp_path):
    merchant = np.arange(1, MERCHANTS + 1, dtype=np.uint64)
    zone, country = ZONES[merchant % 3].T
    counts = {"tz": zone, "bucket_start": np.full(MERCHANTS, "2026-03-29T00:00:00Z"), "count": merchant % 5}
    sites = {"tz": zone, "country": country, "weight": np.ones(MERCHANTS)}
    for name, columns in (("counts", counts), ("sites", sites)):
        pq.write_table(pa.table({"merchant_id": merchant, **columns}), tmp_path / f"{name}.parquet")
    world = tmp_path / "world"

    def did(*words: object) -> dict[str, Any]:
        command = [sys.executable, "-m", "arrival_engine", *map(str, words), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    tables = ("--counts", tmp_path / "counts.parquet", "--sites", tmp_path / "sites.parquet")
    did("import", world, *tables, "--bucket", "1h")
    receipt = read_receipt(world)
    (index,) = receipt.files("s2_alias_index")
    assert index.stat().st_size > SIZE_LIMIT
    did("seal", world)
    (planned,) = did("plan", world, "--backend", "cpu")["scenarios"]
    (made,) = did("run", world, "--backend", "cpu")["scenarios"]
    assert made["arrivals"] == planned["arrivals"] == int((merchant % 5).sum())
    assert made["peak_rss_bytes"] <= planned["run_memory_bytes"]
    assert did("validate", world)["passed"] is True
    parts = list(receipt.files("arrival_events_5B", scenario_id="baseline_v1"))
    assert sum(pq.read_metadata(part.outside).num_rows for part in parts) == planned["arrivals"]
