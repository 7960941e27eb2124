"""A process of a notebook: the first rows of a million arrivals from DataFrames; `bench.notebook` takes its figures.

It prints JSON: wall and processor seconds of each step.
"""

from __future__ import annotations

import json
import time

MERCHANTS, HOURS = 100, 240
# 1,008,000 arrivals in all.
EACH = 42


def main() -> None:
    """Import, make the tables, and expand them twice: only the first call finds nothing loaded."""
    steps: dict[str, dict[str, float]] = {}

    def took(name: str, wall: float, cpu: float) -> None:
        steps[name] = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}

    wall, cpu = time.perf_counter(), time.process_time()
    import arrival_engine as ae

    took("import", wall, cpu)
    import numpy as np
    import pandas as pd

    hours = pd.date_range("2026-03-20", periods=HOURS, freq="h", tz="UTC")
    merchants = np.arange(1, MERCHANTS + 1)
    counts = pd.DataFrame(
        {
            "merchant_id": np.repeat(merchants, HOURS),
            "tz": "Europe/Berlin",
            "bucket_start": np.tile(hours, MERCHANTS),
            "count": EACH,
        }
    )
    sites = pd.DataFrame({"merchant_id": merchants, "tz": "Europe/Berlin", "country": "DE", "weight": 1.0})
    for name in ("first", "second"):
        wall, cpu = time.perf_counter(), time.process_time()
        arrivals = ae.expand_counts(counts, sites, seed=7)
        rows = next(arrivals.batches())
        took(name, wall, cpu)
        assert rows.num_rows
    wall, cpu = time.perf_counter(), time.process_time()
    frame = arrivals.to_pandas()
    took("to_pandas", wall, cpu)
    assert len(frame) == MERCHANTS * HOURS * EACH
    print(json.dumps(steps))


if __name__ == "__main__":
    main()
