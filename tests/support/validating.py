"""A proven run to be damaged: a world with enough of everything, its arrivals, and hands to change them in place."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine import RunOptions, run
from arrival_engine.contracts.dictionary import dataset
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.sealing import seal
from tests.support import worlds
from tests.support.damage import tokens_of
from tests.support.model import CountRow, World
from tests.support.world_disk import columns
from tests.support.worlds import pinned_zone, small_world, write_world

SCENARIO = "baseline_v1"
EVENTS = "arrival_events_5B"
_TIMES = ("ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
HOUR_US = 3_600_000_000

# Enough draws for every test of realism that a small world can feed, around four clock changes.
_MORE = (
    CountRow(worlds.TWO_ZONES, worlds.NEW_YORK, "card_present", worlds.NEW_YORK_GAP, 3000),
    CountRow(worlds.BIG_ID, worlds.CASABLANCA, "mixed", worlds.CASABLANCA_FOLD, 600),
    CountRow(worlds.VIRTUAL, worlds.PARIS, "card_not_present", worlds.BERLIN_GAP, 3000),
    CountRow(worlds.HALF, worlds.PARIS, "mixed", worlds.BERLIN_GAP, 3000),
)

GROUPING = columns(
    "text manifest_fingerprint parameter_hash scenario_id",
    "u64 merchant_id",
    "text zone_representation channel_group group_id",
)
INTENSITY = columns(
    "text manifest_fingerprint parameter_hash",
    "u64 seed",
    "text scenario_id",
    "u64 merchant_id",
    "text zone_representation channel_group",
    "i64 bucket_index",
    "f64 lambda_baseline lambda_realised",
    "text s2_spec_version",
)
ALLOCATION = columns(
    "u64 seed",
    "text manifest_fingerprint",
    "u64 merchant_id",
    "text legal_country_iso tzid",
    "i64 zone_site_count zone_site_count_sum site_count",
    "text prior_pack_id prior_pack_version floor_policy_id floor_policy_version mixture_policy_id",
    "text mixture_policy_version day_effect_policy_id day_effect_policy_version routing_universe_hash",
    "f64 alpha_sum_country",
    "text notes",
)


def proof_world() -> World:
    """The small world, some of its count rows larger."""
    world = small_world()
    edges = {
        merchant: replace(
            table,
            edges=tuple(replace(edge, country=("DE", "FR", "US")[rank % 3]) for rank, edge in enumerate(table.edges)),
        )
        for merchant, table in world.edges.items()
    }
    return replace(world, counts=(*world.counts, *_MORE), edges=edges)


def write_proof_world(run_root: Path, world: World | None = None, **form: Any) -> World:
    """The world with its optional tables, sealed."""
    world = world or proof_world()
    write_world(world, run_root, **form)
    _optional_tables(run_root, world)
    seal(run_root)
    return world


def proven_run(run_root: Path, world: World | None = None, **options: Any) -> World:
    """The world and its arrivals, in several parts and with random-number events."""
    world = write_proof_world(run_root, world)
    run(run_root, RunOptions(**{"backend": "cpu", "batch_arrivals": 2500, "rng_events": "parquet", **options}))
    return world


def _optional_tables(run_root: Path, world: World) -> None:
    hashes = {"manifest_fingerprint": world.manifest_fingerprint, "parameter_hash": world.parameter_hash}
    entities = {(row.merchant_id, row.zone, row.channel) for row in world.counts}
    grouping = [
        {
            **hashes,
            "scenario_id": SCENARIO,
            "merchant_id": m,
            "zone_representation": z,
            "channel_group": c,
            "group_id": "g",
        }
        for m, z, c in sorted(entities, key=str)
    ]
    intensity = [
        {
            **hashes,
            "seed": world.seed,
            "scenario_id": SCENARIO,
            "merchant_id": row.merchant_id,
            "zone_representation": row.zone,
            "channel_group": row.channel,
            "bucket_index": row.bucket,
            "lambda_baseline": 2.0 * row.n,
            "lambda_realised": 2.0 * row.n,
            "s2_spec_version": "1.0.0",
        }
        for row in world.counts
    ]
    texts = {name: "x" for name, kind in ALLOCATION.items() if kind == pa.string()}
    shares = [("DE", worlds.BERLIN, 3), ("US", worlds.NEW_YORK, 2), ("US", "America/Chicago", 0)]
    allocation = [
        {
            **texts,
            "seed": world.seed,
            "manifest_fingerprint": world.manifest_fingerprint,
            "merchant_id": worlds.TWO_ZONES,
            "legal_country_iso": country,
            "tzid": tzid,
            "zone_site_count": count,
            "zone_site_count_sum": 6,
            "site_count": 6,
            "routing_universe_hash": "d" * 64,
        }
        for country, tzid, count in shares
    ]
    for dataset_id, shape, rows in (
        ("s1_grouping_5B", GROUPING, grouping),
        ("s2_realised_intensity_5B", INTENSITY, intensity),
        ("zone_alloc", ALLOCATION, allocation),
    ):
        path = dataset(dataset_id).locate(run_root, tokens_of(run_root))
        path = path / "part-00000.parquet" if dataset(dataset_id).kind == "directory" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, pa.schema(list(shape.items()))), path)


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


# --- Arrivals as rows ------------------------------------------------------------------------------

Row = dict[str, Any]


class Arrivals:
    """All rows of a scenario, times as µs; what is changed goes back to the files by `written`."""

    def __init__(self, run_root: Path) -> None:
        folder = dataset(EVENTS).locate(run_root, tokens_of(run_root, SCENARIO))
        self.paths = sorted(folder.glob("part-*.parquet"))
        self.tables = [pq.read_table(path, partitioning=None) for path in self.paths]
        self.rows = [_rows(table) for table in self.tables]
        self._before = [[dict(row) for row in rows] for rows in self.rows]

    def __iter__(self) -> Iterator[Row]:
        for rows in self.rows:
            yield from rows

    def first(self, matching: Callable[[Row], bool], skip: int = 0) -> Row:
        """The row that matches, after as many as are to be passed over."""
        found = [row for row in self if matching(row)]
        return found[skip]

    def part_of(self, row: Row) -> list[Row]:
        """The rows of the part that holds this very row."""
        return next(rows for rows in self.rows if any(other is row for other in rows))

    def write(self) -> None:
        """Rewrite the parts that have changed."""
        for path, table, rows, before in zip(self.paths, self.tables, self.rows, self._before, strict=True):
            if rows == before:
                continue
            arrays = [_column(table.schema.field(name), [row[name] for row in rows]) for name in table.column_names]
            pq.write_table(pa.table(arrays, schema=table.schema), path)


def _rows(table: pa.Table) -> list[Row]:
    values = [
        (table[name].cast(pa.int64()) if name in _TIMES else table[name]).to_pylist() for name in table.column_names
    ]
    return [dict(zip(table.column_names, row, strict=True)) for row in zip(*values, strict=True)]


def _column(field: pa.Field, values: list[Any]) -> pa.Array:
    if field.name in _TIMES:
        return pa.array(values, pa.int64()).cast(field.type)
    if pa.types.is_dictionary(field.type):
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, field.type)


@contextmanager
def arrivals_of(run_root: Path) -> Iterator[Arrivals]:
    """The rows, written back when the block ends."""
    arrivals = Arrivals(run_root)
    yield arrivals
    arrivals.write()


def bounds_of(row: Row) -> tuple[int, int]:
    """Start and end of the row's bucket in µs."""
    return _grid()[row["bucket_index"]]


@cache
def _grid() -> tuple[tuple[int, int], ...]:
    return small_world().grid


def edit_parts(run_root: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace every part by what `change` makes of it."""
    for path in Arrivals(run_root).paths:
        pq.write_table(change(pq.read_table(path, partitioning=None)), path)


def local_us(ts_us: int, tzid: str) -> int:
    """The wall clock in a zone by the pinned tzdata, as µs of a clock without zone."""
    instant = _EPOCH + dt.timedelta(microseconds=ts_us)
    offset = instant.astimezone(pinned_zone(tzid)).utcoffset() or dt.timedelta()
    return ts_us + offset // dt.timedelta(microseconds=1)


def moved(row: Row, ts_us: int) -> None:
    """Give a row another instant, all of its clocks with it."""
    row["ts_utc"] = ts_us
    for clock in ("primary", "settlement", "operational"):
        tzid = row[f"tzid_{clock}"]
        row[f"ts_local_{clock}"] = None if tzid is None else local_us(ts_us, tzid)


def rezoned(row: Row, clock: str, tzid: str) -> None:
    """Give one clock of a row another zone, and the time there."""
    row[f"tzid_{clock}"] = tzid
    row[f"ts_local_{clock}"] = local_us(row["ts_utc"], tzid)


# --- Records ---------------------------------------------------------------------------------------


def log_path(run_root: Path, dataset_id: str) -> Path:
    return dataset(dataset_id).locate(run_root, tokens_of(run_root))


def report_path(run_root: Path) -> Path:
    (path,) = (run_root / "reports").rglob("segment_state_runs.jsonl")
    return path


def edit_lines(path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Replace the records of a JSON Lines file."""
    records = [json.loads(line) for line in path.read_text("ascii").splitlines()]
    path.write_text("".join(json.dumps(record, sort_keys=True) + "\n" for record in change(records)), "ascii")


def edit_run_line(run_root: Path, **changes: Any) -> None:
    """Change fields of the run report's lines of state S4."""

    def change(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**line, **changes} if line["state"] == "S4" else line for line in lines]

    edit_lines(report_path(run_root), change)


# --- Verdicts --------------------------------------------------------------------------------------


def command(capsys: Any, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON answer of one command line."""
    capsys.readouterr()
    code = main([*words, "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def validated(run_root: Path, capsys: Any) -> tuple[int, dict[str, Any], dict[str, dict[str, Any]]]:
    """Exit code, answer and findings by check of `arrivals validate`, for runs with one scenario."""
    code, answer = command(capsys, "validate", str(run_root), "--threads", "2")
    return code, answer, {finding["check"]: finding for finding in answer.get("findings", [])}


def broken(findings: dict[str, dict[str, Any]], *verdicts: str) -> set[str]:
    """The checks that ended so (default: failed)."""
    return {check for check, finding in findings.items() if finding["verdict"] in (verdicts or ("FAIL",))}
