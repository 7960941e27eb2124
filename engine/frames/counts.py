"""Arrivals of counts that are in memory: no run directory, no files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, get_args

import numpy as np

from arrival_engine.contracts.options import (
    BackendName,
    ColumnSet,
    DecimalMark,
    EpochUnit,
    IdType,
    MerchantIds,
    ThousandsMark,
    ZoneSource,
)
from arrival_engine.cpu_fallback import alias
from arrival_engine.engine.expand.backend import require_backend
from arrival_engine.engine.frames.arrivals import Arrivals
from arrival_engine.engine.frames.world import facts_of, world_of
from arrival_engine.engine.importing.prepare import prepare
from arrival_engine.engine.importing.request import TableRequest, Tables
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.readable.shapes import Shape
from arrival_engine.engine.readable.worlds import WorldSource

__all__ = ["expand_counts"]


def expand_counts(  # noqa: PLR0913 - every option of an import by its name, for tools that complete names
    counts: Tables,
    sites: Tables,
    *,
    virtual_merchants: Tables | None = None,
    edges: Tables | None = None,
    group_weights: Tables | None = None,
    grid: Tables | None = None,
    start: str | datetime | None = None,
    end: str | datetime | None = None,
    bucket: str | None = None,
    zones: ZoneSource = "counts",
    seed: int | np.integer[Any] = 42,
    scenario_id: str = "baseline_v1",
    rename: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    ignore: str | Sequence[str] = (),
    assume_utc: bool = False,
    thousands: ThousandsMark | None = None,
    decimal: DecimalMark | None = None,
    merchant_ids: MerchantIds = "number",
    epoch: EpochUnit | None = None,
    accept_links: bool = False,
    backend: BackendName = "auto",
    threads: int | None = None,
    columns: ColumnSet = "readable",
    ids: IdType = "uint64",
    reporter: Reporter | None = None,
) -> Arrivals:
    """The arrivals of counts at sites, as an Arrow stream that can be read any number of times.

    Tables and options are those of `ImportRequest`: DataFrames, Arrow tables, everything with `__arrow_c_stream__`, or
    paths. `rename` may also map their names to ours, and `start` and `end` may be datetimes with a zone. The tables are
    read and checked by this call, and the arrivals are computed whenever they are asked for, on `threads` threads
    (default: the cores) or on devices (`backend`). `columns`: `readable` or the contract's (`contract`); `ids`: uint64,
    int64 (the same 64 bits), text or decimal.

    The arrivals, the identity and the digest are those of importing, sealing and running the same tables. Nothing is
    written, except to the cache of compiled kernels. Without a `reporter`, notices are warnings.

    Raises ArrivalError with the codes of `import_world` and of `plan`, ValueError for a word that an option does not
    have and for `threads` below 1.
    """
    shape = Shape(columns, ids)
    require_backend(backend)
    _check_word("zones", zones, get_args(ZoneSource))
    _check_word("merchant_ids", merchant_ids, get_args(MerchantIds))
    _check_word("thousands", thousands, (None, *get_args(ThousandsMark)))
    _check_word("decimal", decimal, (None, *get_args(DecimalMark)))
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    request = TableRequest(
        counts=counts,
        sites=sites,
        virtual_merchants=virtual_merchants,
        edges=edges,
        group_weights=group_weights,
        grid=grid,
        start=_text(start),
        end=_text(end),
        bucket=bucket,
        zones=zones,
        seed=int(seed) if isinstance(seed, np.integer) else seed,
        scenario_id=scenario_id,
        rename=tuple(rename.items() if isinstance(rename, Mapping) else rename),
        ignore=(ignore,) if isinstance(ignore, str) else tuple(ignore),
        assume_utc=assume_utc,
        thousands=thousands,
        decimal=decimal,
        merchant_ids=merchant_ids,
        epoch=epoch,
        accept_links=accept_links,
    )
    telling = reporter or Reporter()
    with ThreadPoolExecutor(1, thread_name_prefix="aside") as aside:
        # numba takes as long to load the kernels of a process as small tables take to be read.
        loading = aside.submit(alias.load_kernel)
        prepared = prepare(request, telling)
        with telling.phase("world"):
            world = world_of(prepared)
            loading.result()
    if reporter is None:
        for notice in telling.notices:
            warnings.warn(notice.message, UserWarning, stacklevel=2)
    source = WorldSource(world, facts_of(prepared.contents), threads=threads, backend=backend)
    return Arrivals(source, shape, prepared.notices)


def _check_word(name: str, given: str | None, known: Sequence[str | None]) -> None:
    if given not in known:
        raise ValueError(f"{name} must be one of {', '.join(repr(word) for word in known)}, not {given!r}")


def _text(moment: str | datetime | None) -> str | None:
    return moment.isoformat() if isinstance(moment, datetime) else moment
