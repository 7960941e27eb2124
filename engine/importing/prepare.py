"""A user's tables, read, joined and identified: the step that worlds on disk and in memory share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from arrival_engine.contracts import ArrivalError, Code, Identity, Notice, check_token
from arrival_engine.contracts.options import EpochUnit, MerchantIds, ZoneSource
from arrival_engine.cpu_fallback.law import HYBRID, VIRTUAL_ONLY
from arrival_engine.engine.importing.build import Build, build
from arrival_engine.engine.importing.columns import Naming, Reading, layouts
from arrival_engine.engine.importing.contents import Contents
from arrival_engine.engine.importing.division import LocalDays
from arrival_engine.engine.importing.files import SourceFile
from arrival_engine.engine.importing.grid import told
from arrival_engine.engine.importing.guardrails import long_gap, needs_of
from arrival_engine.engine.importing.identity import world_identity
from arrival_engine.engine.importing.merchants import with_ids
from arrival_engine.engine.importing.numbers import marks_of
from arrival_engine.engine.importing.placing import asks_for_local_days, place
from arrival_engine.engine.importing.policies import Policies, load_policies
from arrival_engine.engine.importing.quoting import listed, shell_word
from arrival_engine.engine.importing.reading import Table, empty_table, read_table
from arrival_engine.engine.importing.request import TableRequest, Tables, is_given
from arrival_engine.engine.importing.routes import virtual_counts
from arrival_engine.engine.importing.values import MICROS
from arrival_engine.engine.importing.zone_texts import ZoneReader
from arrival_engine.engine.process.kernel_cache import tell_of_refusals
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.tz.pinned import check_release

_NEEDED = ("counts", "sites")


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that a world is made of.

    built: the contents, and facts of the count rows as read. local_days: as in `ImportResult`. statistics: the fields
    of `ImportResult` that do not depend on the form of the tables.
    """

    scenario_id: str
    zones: ZoneSource
    built: Build
    policies: Policies
    identity: Identity
    local_days: LocalDays | None
    notices: tuple[Notice, ...]
    statistics: Mapping[str, Any]

    @property
    def contents(self) -> Contents:
        """The user's tables, joined."""
        return self.built.contents


def prepare(request: TableRequest, reporter: Reporter) -> Prepared:
    """Read, check and join the tables, and report what is to be noticed. Raises what `import_world` does of them."""
    check_release()
    check_token("scenario_id", request.scenario_id)
    zones: ZoneSource = "weights" if is_given(request.group_weights) else request.zones
    reading = _reading(request)
    with reporter.phase("read tables"):
        tables, notices = _read(request, reading)
    with reporter.phase("join tables"):
        if request.merchant_ids == "text":
            tables, noticed = with_ids(tables)
            notices += noticed
        placement = place(request, tables["counts"], tables["grid"])
        built = build(tables, placement, zones)
        policies = load_policies(zones, needs_of(built.contents))
        identity = world_identity(built.contents, policies.identifying, request.seed, request.scenario_id)
    tell_of_refusals(reporter)
    notices += [
        *built.notices,
        *reading.zones.notices(built.contents.tzids),
        *policies.notices,
        *long_gap(built.contents),
    ]
    for notice in notices:
        reporter.notice(notice)
    return Prepared(
        scenario_id=request.scenario_id,
        zones=zones,
        built=built,
        policies=policies,
        identity=identity,
        local_days=placement.days,
        notices=tuple(notices),
        statistics={
            "scenario_id": request.scenario_id,
            "zones": zones,
            **_statistics(built.contents, policies),
        },
    )


def _reading(request: TableRequest) -> Reading:
    """How the request has cells read. Raises OPTION_INVALID."""
    if request.epoch not in (None, *get_args(EpochUnit)):
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"--epoch {request.epoch!r} is not a unit of time",
            hint=f"give one of {', '.join(get_args(EpochUnit))}",
        )
    if request.merchant_ids not in get_args(MerchantIds):
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"merchant ids cannot be {listed([request.merchant_ids])}",
            hint=f"give one of {', '.join(get_args(MerchantIds))}",
        )
    return Reading(
        assume_utc=request.assume_utc,
        epoch=request.epoch,
        local_days=asks_for_local_days(request),
        merchant_ids=request.merchant_ids,
        zones=ZoneReader(request.accept_links),
    )


def _naming(request: TableRequest) -> Naming:
    """Renamed and ignored columns. Raises OPTION_INVALID for a rename to a column that no table has."""
    known = {column.name for layout in layouts(Reading()).values() for column in layout.columns}
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


def _read(request: TableRequest, reading: Reading) -> tuple[dict[str, Table], list[Notice]]:
    given: Mapping[str, Tables | None] = {
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
    for name, layout in layouts(reading).items():
        tables[name] = empty_table(layout)
        if name in _NEEDED and not is_given(given[name]):
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"no {name} are given",
                hint="give at least counts and sites: paths of files, or tables in memory",
            )
        if is_given(given[name]):
            tables[name], noticed = read_table(layout, given[name], naming, marks)
            notices += noticed
    files = [file for table in tables.values() for file in table.files]
    noun = "file" if all(isinstance(file, SourceFile) for file in files) else "table"
    headers = {name for file in files for name in (*file.header, *file.keys, *file.around)}
    for name in (*naming.rename, *naming.ignore):
        if name not in headers:
            option = "--rename" if name in naming.rename else "--ignore"
            raise ArrivalError(
                Code.OPTION_INVALID,
                f"{option} {listed([name])}: no {noun} has a column of that name",
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
