"""Time and peak memory of a whole run against arrivals, rows, merchants and zero rows, each varied alone.

The worlds are synthetic, around a tenth of the preset asked for; runs are processes of their own.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from arrival_engine.engine.process import human
from bench.process import in_process
from bench.product import run_job
from bench.tabular import Table
from bench.timing import median
from bench.workplace import Workplace, world_facts

FACTORS = (1, 2, 5, 10)
# Zero rows added to the world's own, as multiples of those.
ZERO_FACTORS = (0, 1, 4, 9)
BASE = 0.1
_SIZES = {
    "arrivals": "n_arrivals_total",
    "rows": "count_rows_read",
    "merchants": "merchants",
    "zero rows": "count_rows_zero",
}


def measure(workplace: Workplace) -> dict[str, Any]:
    """Every point of every series: sizes and runs."""
    choice = workplace.choice
    base: dict[str, Any] = {"preset": choice.preset, "scale": choice.scale, "seed": choice.seed}
    series: dict[str, list[dict[str, Any]]] = {}
    for varied in _SIZES:
        series[varied] = []
        for factor in ZERO_FACTORS if varied == "zero rows" else FACTORS:
            root = workplace.scratch / f"{varied.replace(' ', '-')}-{factor}"
            workplace.say(f"scaling: {varied} x {factor}")
            in_process(make_world, run_root=str(root), varied=varied, factor=factor, **base)
            runs = [run_job(root, workplace.threads) for _ in range(workplace.repeats)]
            series[varied].append({"factor": factor, "world": world_facts(root), "runs": runs})
            shutil.rmtree(root)
    return {"series": series}


def make_world(run_root: str, varied: str, factor: int, preset: str, scale: float, seed: int) -> dict[str, Any]:
    """A sealed world with one size multiplied."""
    from arrival_engine.engine.sealing import seal
    from arrival_engine.engine.synth import synthesise
    from arrival_engine.engine.synth.presets import MERCHANTS_MIN, PRESETS

    own = PRESETS[preset]
    size = BASE * scale
    merchants = max(round(own.merchants * size), MERCHANTS_MIN)
    # Entities for the most merchants: each has at least one, most have several.
    room = 2 * max(FACTORS) if varied == "merchants" else 1
    base = replace(
        own,
        merchants=merchants,
        entities=max(round(own.entities * size), merchants * room),
        arrivals=round(own.arrivals * size),
    )
    multiplied = {"arrivals": "arrivals", "rows": "entities", "merchants": "merchants"}
    if varied in multiplied:
        field = multiplied[varied]
        base = replace(base, **{field: getattr(base, field) * factor})
    # A preset's name is part of a world's identity.
    base = replace(base, name=f"bench-{base.merchants}-{base.entities}-{base.arrivals}")
    PRESETS[base.name] = base
    synthesise(Path(run_root), preset=base.name, seed=seed)
    if varied == "zero rows":
        _multiply_zero_rows(Path(run_root), factor)
    seal(Path(run_root))
    return {}


def _multiply_zero_rows(run_root: Path, factor: int) -> None:
    """Add each count row with N = 0 another `factor` times."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from arrival_engine.engine.rundir.receipt import read_receipt
    from arrival_engine.engine.synth.presets import SCENARIO_ID

    (path,) = (found.outside for found in read_receipt(run_root).files("s3_bucket_counts_5B", scenario_id=SCENARIO_ID))
    with pq.ParquetFile(path) as file:
        groups = [file.read_row_group(group) for group in range(file.metadata.num_row_groups)]
    with pq.ParquetWriter(path, groups[0].schema, compression="zstd") as writer:
        for group in groups:
            zeros = group.filter(pc.equal(group["count_N"], 0))
            writer.write_table(pa.concat_tables([group, *[zeros] * factor]), row_group_size=group.num_rows)


def tables(measured: dict[str, Any]) -> list[Table]:
    """One table per series."""
    return [_table(varied, points) for varied, points in measured["series"].items()]


def _table(varied: str, points: list[dict[str, Any]]) -> Table:
    others = [size for size in _SIZES if size != varied]
    rows = []
    walls = [median(run["wall_s"] for run in point["runs"]) for point in points]
    peaks = [max(run["peak_rss_bytes"] for run in point["runs"]) for point in points]
    for point, wall, peak in zip(points, walls, peaks, strict=True):
        sizes = [human.count(point["world"][_SIZES[size]]) for size in (varied, *others)]
        figures = (f"{wall:.2f} s", f"{wall / walls[0]:.2f}", human.size(peak), f"{peak / peaks[0]:.2f}")
        rows.append((*sizes, *figures))
    return Table((f"{varied} varied", *others, "wall time", "of the first", "peak memory", "of the first"), rows)
