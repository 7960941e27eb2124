"""The first rows in a fresh environment, as a notebook makes them: two tables, one call. `bench.install` runs it there.

It prints one JSON object: seconds of each step, and the digest of the rows. It needs nothing but the product.
"""

from __future__ import annotations

import json
import time

CLOCK = time.perf_counter


def main() -> None:
    """Import, expand, and hold the first batch of arrivals."""
    began = CLOCK()
    import arrival_engine as ae

    imported = CLOCK()
    import pyarrow as pa

    hours = ["2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z"] * 2
    zones = ["Europe/Berlin", "Europe/Berlin", "America/New_York", "America/New_York"]
    counts = pa.table({"merchant_id": [7, 7, 8, 8], "tz": zones, "bucket_start": hours, "count": [40, 60, 25, 30]})
    sites = pa.table({"merchant_id": [7, 7, 8], "tz": zones[1:], "country": ["DE", "US", "US"], "weight": [3, 1, 1]})
    made = CLOCK()
    arrivals = ae.expand_counts(counts, sites, seed=7)
    checked = CLOCK()
    first = next(iter(arrivals.batches()))
    held = CLOCK()
    steps = {
        "import_s": imported - began,
        "tables_s": made - imported,
        "expand_counts_s": checked - made,
        "first_batch_s": held - checked,
    }
    print(json.dumps({**steps, "rows": first.num_rows, "digest": arrivals.digest}))


if __name__ == "__main__":
    main()
