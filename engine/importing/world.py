"""Import tables into a published world."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from arrival_engine.contracts import Identity, Notice
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import ZoneSource
from arrival_engine.engine.importing.division import LocalDays
from arrival_engine.engine.importing.prepare import prepare
from arrival_engine.engine.importing.request import ImportRequest
from arrival_engine.engine.importing.routes import PhysicalRoutes, physical_routes
from arrival_engine.engine.importing.write import write_world
from arrival_engine.engine.process.progress import Reporter
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
    run_root = Path(request.run_root)
    prepared = prepare(request, reporter)
    contents, policies, built = prepared.contents, prepared.policies, prepared.built
    days, statistics = prepared.local_days, prepared.statistics
    described = statistics if days is None else {**statistics, "local_days": asdict(days)}
    target = Target(InsidePath(run_root), "import", "an imported world", prepared.identity, policies.by_id)

    def write(stage: InsidePath) -> WorldReport:
        shelf = Shelf(stage, prepared.identity, request.scenario_id)
        return write_world(shelf, contents, policies, target, described, reporter)

    report, reused = place_world(target, write, reporter)
    if reused:
        reporter.message(f"{run_root} holds exactly this world already; nothing was written")
    return ImportResult(
        run_root=run_root,
        identity=prepared.identity,
        physical=physical_routes(contents, prepared.zones, float(policies.hybrid_probability)),
        input_rows=built.input_rows,
        zero_rows=built.zero_rows,
        merged_rows=built.merged_rows,
        bytes=report.bytes,
        seconds=reporter.elapsed_s - began,
        reused=reused,
        notices=prepared.notices,
        local_days=days,
        **statistics,
    )
