"""Import tables into a published world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arrival_engine.contracts import ArrivalError, Code, Identity, Notice, check_token
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import ZoneSource
from arrival_engine.cpu_fallback.law import HYBRID, VIRTUAL_ONLY
from arrival_engine.engine.importing.build import build
from arrival_engine.engine.importing.columns import Naming, layouts
from arrival_engine.engine.importing.contents import Contents
from arrival_engine.engine.importing.division import LocalDays
from arrival_engine.engine.importing.grid import told
from arrival_engine.engine.importing.identity import world_identity
from arrival_engine.engine.importing.numbers import marks_of
from arrival_engine.engine.importing.placing import asks_for_local_days, place
from arrival_engine.engine.importing.policies import Policies, load_policies
from arrival_engine.engine.importing.quoting import listed, shell_word
from arrival_engine.engine.importing.reading import Table, empty_table, read_table
from arrival_engine.engine.importing.request import ImportRequest
from arrival_engine.engine.importing.routes import PhysicalRoutes, physical_routes, virtual_counts
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.importing.write import write_world
from arrival_engine.engine.process.kernel_cache import tell_of_refusals
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.tz.pinned import check_release
from arrival_engine.engine.world_files.publish import Target, WorldReport, place_world
from arrival_engine.engine.world_files.shelf import Shelf


@dataclass(frozen=True)
class ImportResult:
    """A world made of a user's tables; `reused` if the directory already held it.

    merchants: with counts, of which some are hybrid or virtual-only. sites, edges, tzids: totals. bucket_seconds: None
    if buckets differ in length. input_rows, zero_rows, merged_rows: count rows read, with zero counts, and merged into
    a row of the same key. arrivals: exact. physical: what decides the sites of physical arrivals. virtual_share:
    expected share of arrivals, coin included. zones: the source of a physical arrival's zone. local_days: what was read
    as local days; None for counts of buckets.
    """

    run_root: Path
    identity: Identity
    scenario_id: str
    zones: ZoneSource
    merchants: int
    hybrid_merchants: int
    virtual_merchants: int
    sites: int
    edges: int
    tzids: int
    start_utc: str
    end_utc: str
    buckets: int
    bucket_seconds: int | None
    count_rows: int
    arrivals: int
    physical: PhysicalRoutes
    virtual_share: float
    input_rows: int
    zero_rows: int
    merged_rows: int
    bytes: int
    seconds: float
    reused: bool
    notices: tuple[Notice, ...]
    local_days: LocalDays | None


def make_world(request: ImportRequest, reporter: Reporter | None) -> ImportResult:
    """See `engine.importing.import_world`."""
    reporter = reporter or Reporter()
    began = reporter.elapsed_s
    check_release()
    run_root = Path(request.run_root)
    check_token("scenario_id", request.scenario_id)
    zones: ZoneSource = "weights" if request.group_weights else request.zones
    policies = load_policies(zones)
    with reporter.phase("read tables"):
        tables, notices = _read(request)
    with reporter.phase("join tables"):
        placement = place(request, tables["counts"], tables["grid"], policies.limits)
        built = build(tables, placement, policies.limits, zones)
        identity = world_identity(built.contents, policies.by_id, request.seed, request.scenario_id)
    tell_of_refusals(reporter)
    notices += built.notices
    for notice in notices:
        reporter.notice(notice)
    statistics = {"scenario_id": request.scenario_id, "zones": zones, **_statistics(built.contents, policies)}
    described = statistics if placement.days is None else {**statistics, "local_days": asdict(placement.days)}
    target = Target(InsidePath(run_root), "import", "an imported world", identity, policies.by_id)

    def write(stage: InsidePath) -> WorldReport:
        shelf = Shelf(stage, identity, request.scenario_id)
        return write_world(shelf, built.contents, policies, target, described, reporter)

    report, reused = place_world(target, write, reporter)
    if reused:
        reporter.message(f"{run_root} holds exactly this world already; nothing was written")
    return ImportResult(
        run_root=run_root,
        identity=identity,
        physical=physical_routes(built.contents, zones, float(policies.hybrid_probability)),
        input_rows=built.input_rows,
        zero_rows=built.zero_rows,
        merged_rows=built.merged_rows,
        bytes=report.bytes,
        seconds=reporter.elapsed_s - began,
        reused=reused,
        notices=tuple(notices),
        local_days=placement.days,
        **statistics,
    )


def _naming(request: ImportRequest) -> Naming:
    """Renamed and ignored columns. Raises OPTION_INVALID for a rename to a column that no table has."""
    known = {column.name for layout in layouts(request.assume_utc).values() for column in layout.columns}
    rename: dict[str, tuple[str, ...]] = {}
    for theirs, ours in request.rename:
        if ours not in known:
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"--rename {shell_word(f'{theirs}={ours}')}: no table has a column {listed([ours])}",
                hint=f"write THEIRS=OURS, where OURS is one of {', '.join(sorted(known))}",
            )
        rename[theirs] = (*rename.get(theirs, ()), ours)
    return Naming(rename, frozenset(request.ignore))


def _read(request: ImportRequest) -> tuple[dict[str, Table], list[Notice]]:
    given: Mapping[str, Sequence[Path]] = {
        "counts": request.counts,
        "sites": request.sites,
        "virtual merchants": request.virtual_merchants,
        "edges": request.edges,
        "group weights": request.group_weights,
        "grid": request.grid,
    }
    naming, marks = _naming(request), marks_of(request.decimal, request.thousands)
    tables: dict[str, Table] = {}
    notices: list[Notice] = []
    for name, layout in layouts(request.assume_utc, asks_for_local_days(request)).items():
        tables[name] = empty_table(layout)
        if given[name]:
            tables[name], noticed = read_table(layout, [Path(path) for path in given[name]], naming, marks)
            notices += noticed
    files = [file for table in tables.values() for file in table.files]
    headers = {name for file in files for name in (*file.header, *file.keys, *file.around)}
    for name in (*naming.rename, *naming.ignore):
        if name not in headers:
            option = "--rename" if name in naming.rename else "--ignore"
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"{option} {listed([name])}: no file has a column of that name",
                hint=f"the columns are {listed(sorted(headers))}",
            )
    return tables, notices


def _statistics(contents: Contents, policies: Policies) -> dict[str, Any]:
    """Facts for the world's report and the result; none depends on the form of the tables."""
    counts, grid_us = contents.counts, contents.grid_us
    counted = np.isin(contents.merchants.merchant, counts.merchant)
    mode = contents.merchants.mode[counted]
    lengths = np.unique(np.diff(grid_us)) // MICROS
    arrivals = int(counts.arrivals.sum())
    only, hybrid = virtual_counts(contents)
    return {
        "merchants": int(counted.sum()),
        "hybrid_merchants": int((mode == HYBRID).sum()),
        "virtual_merchants": int((mode == VIRTUAL_ONLY).sum()),
        "sites": len(contents.sites.merchant),
        "edges": len(contents.edges.merchant),
        "tzids": len(contents.tzids),
        "start_utc": told(int(grid_us[0])),
        "end_utc": told(int(grid_us[-1])),
        "buckets": len(grid_us) - 1,
        "bucket_seconds": int(lengths[0]) if len(lengths) == 1 else None,
        "count_rows": len(counts.arrivals),
        "arrivals": arrivals,
        "virtual_share": (only + float(policies.hybrid_probability) * hybrid) / arrivals,
    }
