"""A user's tables for `arrivals import`, in memory and in any form on disk, and what the reference makes of them."""

from __future__ import annotations

import csv
import io
import random
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from arrival_engine.engine.importing import ImportRequest, ImportResult, import_world
from tests.support.blobs import slots
from tests.support.law import MICROS, edge_id
from tests.support.model import NON_VIRTUAL, CountRow, Edge, EdgeTable, Policy, Site, World
from tests.support.worlds import grid_of, instant_us, zones_for


class Count(NamedTuple):
    merchant_id: int
    tz: str
    channel: str
    bucket: int
    count: int  # type: ignore[assignment]


class Member(NamedTuple):
    """A site or an edge."""

    merchant_id: int
    tz: str
    country: str
    order: int
    weight: float


class Virtual(NamedTuple):
    merchant_id: int
    mode: str
    settlement_tz: str


@dataclass(frozen=True)
class Tables:
    """What a user has, on hourly buckets from `start`."""

    start: str
    buckets: int
    counts: tuple[Count, ...]
    sites: tuple[Member, ...]
    virtual: tuple[Virtual, ...] = ()
    edges: tuple[Member, ...] = ()
    seed: int = 42


class Form(NamedTuple):
    """How tables lie on disk: CSV or Parquet, rows shuffled by a seed (0: not), in one file or several."""

    kind: str = "csv"
    shuffle: int = 0
    files: int = 1
    by_index: bool = False


PLAIN = Form()


def bucket_text(start: str, bucket: int) -> str:
    seconds = instant_us(start) // MICROS + 3600 * bucket
    return pa.scalar(seconds, pa.timestamp("s", "UTC")).as_py().strftime("%Y-%m-%dT%H:%M:%SZ")


def _write(folder: Path, name: str, header: tuple[str, ...], rows: list[tuple], form: Form) -> list[Path]:
    if form.shuffle:
        random.Random(form.shuffle).shuffle(rows)
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-len(rows) // form.files)
    paths = []
    for number in range(form.files):
        piece = rows[number * size : (number + 1) * size]
        path = folder / f"{name}-{number}.{form.kind}"
        if form.kind == "csv":
            text = io.StringIO(newline="")
            csv.writer(text).writerows([header, *piece])
            path.write_bytes(text.getvalue().encode())
        else:
            columns = zip(*piece, strict=True) if piece else ((),) * len(header)
            arrays = {key: _typed(key, list(values)) for key, values in zip(header, columns, strict=True)}
            pq.write_table(pa.table(arrays), path)
        paths.append(path)
    return paths


def _typed(name: str, values: list) -> pa.Array:
    if name == "merchant_id":
        return pa.array(values) if any(isinstance(value, str) for value in values) else pa.array(values, pa.uint64())
    if name == "bucket_start":
        return pa.array([instant_us(text) for text in values], pa.int64()).cast(pa.timestamp("us", "UTC"))
    kinds = {"count": pa.int32(), "weight": pa.float64(), "bucket_index": pa.int16()}
    return pa.array(values, kinds.get(name, pa.int64() if name.endswith("order") else pa.string()))


def write_tables(tables: Tables, folder: Path, form: Form = PLAIN) -> dict[str, Any]:
    """The tables as files, by the request's names of them."""
    when = "bucket_index" if form.by_index else "bucket_start"
    counts = [
        (
            row.merchant_id,
            row.tz,
            row.channel,
            row.bucket if form.by_index else bucket_text(tables.start, row.bucket),
            row.count,
        )
        for row in tables.counts
    ]
    written = {
        "counts": _write(folder, "counts", ("merchant_id", "tz", "channel", when, "count"), counts, form),
        "sites": _write(
            folder, "sites", ("merchant_id", "tz", "country", "site_order", "weight"), list(tables.sites), form
        ),
    }
    single = form._replace(files=1)
    if tables.virtual:
        of_modes = ("merchant_id", "mode", "settlement_tz")
        written["virtual_merchants"] = _write(folder, "virtual", of_modes, list(tables.virtual), single)
    if tables.edges:
        header = ("merchant_id", "tz", "country", "edge_order", "weight")
        written["edges"] = _write(folder, "edges", header, list(tables.edges), single)
    return written


def imported(tables: Tables, run_root: Path, form: Form = PLAIN, **options: Any) -> ImportResult:
    """Write the tables beside the run root and import them."""
    return import_world(requested(tables, run_root, form, **options))


def requested(tables: Tables, run_root: Path, form: Form = PLAIN, **options: Any) -> ImportRequest:
    """Write the tables beside the run root; gives the request that imports them."""
    files = write_tables(tables, run_root.parent / f"{run_root.name}-tables", form)
    end = bucket_text(tables.start, tables.buckets)
    return ImportRequest(run_root, **files, start=tables.start, end=end, bucket="1h", seed=tables.seed, **options)


# --- The same for the reference ----------------------------------------------------------------------


def _normalised(members: tuple[Member, ...]) -> list[Member]:
    """Weights divided by the plain left-to-right sum of their merchant's, in the order of the law."""
    found = []
    ordered = sorted(members, key=lambda member: (member.merchant_id, member.country, member.order))
    for _, group in groupby(ordered, key=lambda member: member.merchant_id):
        own = list(group)
        total = 0.0
        for member in own:
            total += member.weight
        found += [member._replace(weight=member.weight / total) for member in own]
    return found


def _edge_tables(edges: tuple[Member, ...]) -> dict[int, EdgeTable]:
    tables = {}
    for merchant in {edge.merchant_id for edge in edges}:
        own = sorted(
            (edge for edge in edges if edge.merchant_id == merchant), key=lambda edge: edge_id(merchant, edge.order - 1)
        )
        filled = slots([edge.weight for edge in own])
        tables[merchant] = EdgeTable(
            32,
            tuple(
                Edge(f"{edge_id(merchant, edge.order - 1):016x}", edge.tz, prob_q, alias, edge.weight, edge.country)
                for edge, (prob_q, alias) in zip(own, filled, strict=True)
            ),
        )
    return tables


def reference_world(tables: Tables, result: ImportResult) -> World:
    """The tables as the reference expands them; only the identity is the import's."""
    grid = grid_of(instant_us(tables.start), [3600] * tables.buckets)
    virtual = {row.merchant_id: row for row in tables.virtual}
    merchants = {row.merchant_id for table in (tables.counts, tables.sites, tables.virtual) for row in table}
    zones = {row.tz for table in (tables.counts, tables.sites, tables.edges) for row in table}
    zones |= {row.settlement_tz for row in tables.virtual if row.settlement_tz}
    return World(
        manifest_fingerprint=result.identity.manifest_fingerprint,
        parameter_hash=result.identity.parameter_hash,
        seed=tables.seed,
        scenario_id=result.scenario_id,
        run_id=result.identity.run_id,
        grid=grid,
        counts=tuple(
            CountRow(row.merchant_id, row.tz, row.channel or None, row.bucket, row.count) for row in tables.counts
        ),
        sites=tuple(Site(s.merchant_id, s.country, s.order, s.tz, s.weight) for s in _normalised(tables.sites)),
        group_weights=(),
        modes={m: virtual[m].mode if m in virtual else NON_VIRTUAL for m in merchants},
        settlement={row.merchant_id: row.settlement_tz for row in tables.virtual if row.settlement_tz},
        edges=_edge_tables(tables.edges),
        zones=zones_for(sorted(zones), grid),
        policy=Policy(use_group_weights=False),
    )


def contents(root: Path) -> dict[str, bytes]:
    """Every file of a world by its path."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in paths
        if path.relative_to(root).parts[0] != "tmp"
    }


# --- Tables to start from -----------------------------------------------------------------------------

SHOPS, HYBRID_SHOP, ONLINE, BIG = 101, 202, 303, 2**64 - 1


def small_tables() -> Tables:
    """Every mode, two zones a merchant, a channel and none, over the European clock change of 2026."""
    start = "2026-03-28T22:00:00Z"
    rows = []
    for bucket in range(8):
        rows += [
            Count(SHOPS, "Europe/Berlin", "card", bucket, 7 + bucket),
            Count(SHOPS, "Europe/Berlin", "", bucket, 3),
            Count(SHOPS, "America/New_York", "card", bucket, bucket % 3),
            Count(HYBRID_SHOP, "Europe/London", "web", bucket, 12),
            Count(ONLINE, "Europe/Dublin", "", bucket, 9),
            Count(BIG, "Asia/Kathmandu", "", bucket, 2),
        ]
    return Tables(
        start=start,
        buckets=9,
        counts=tuple(rows),
        sites=(
            Member(SHOPS, "Europe/Berlin", "DE", 2, 3.0),
            Member(SHOPS, "Europe/Berlin", "AT", 1, 0.7),
            Member(SHOPS, "Europe/Berlin", "DE", 1, 1.1),
            Member(SHOPS, "America/New_York", "US", 1, 2.0),
            Member(HYBRID_SHOP, "Europe/London", "GB", 1, 1.0),
            Member(BIG, "Asia/Kathmandu", "NP", 5, 1e-3),
            Member(777, "Europe/Paris", "FR", 1, 1.0),
        ),
        virtual=(Virtual(HYBRID_SHOP, "HYBRID", "Europe/London"), Virtual(ONLINE, "VIRTUAL_ONLY", "")),
        edges=(
            Member(HYBRID_SHOP, "Europe/London", "GB", 1, 5.0),
            Member(HYBRID_SHOP, "Europe/Oslo", "NO", 2, 2.5),
            Member(ONLINE, "Europe/Dublin", "IE", 1, 1.0),
            Member(ONLINE, "Australia/Sydney", "AU", 2, 0.3),
            Member(ONLINE, "Europe/Madrid", "ES", 3, 0.0),
        ),
    )
