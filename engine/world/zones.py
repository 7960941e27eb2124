"""Civil time for a run: the sealed tz cache, checked, cut to the horizon and to the zones in use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.cpu_fallback.identifiers import text_word
from arrival_engine.cpu_fallback.tables import Grid, Rows, Tables, Zones
from arrival_engine.engine.process.version import TZDATA_RELEASE
from arrival_engine.engine.rundir.inputs import locate_files, read_bytes, read_document
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.settings import Settings
from arrival_engine.engine.tz.agreement import Disagreement, disagreements
from arrival_engine.engine.tz.pinned import INSTALL_RELEASE, release, unknown_tzids
from arrival_engine.engine.tz.tzc1 import decode
from arrival_engine.engine.tz.zones import ZoneTable
from arrival_engine.engine.world.clock_faults import ZoneFault, clock_faults

_US_PER_MINUTE = 60_000_000
_SHOWN = 5


def load_zone_table(receipt: Receipt) -> ZoneTable:
    """The run's TZC1 cache, its size and hash compared with its manifest. Raises DST_MAPPING_FAILED."""
    manifest = read_document(receipt, "tz_timetable_cache_manifest")
    (path,) = locate_files(receipt, "tz_timetable_cache_bin")
    data = read_bytes(receipt, path)
    found = hashlib.sha256(data).hexdigest()
    if (len(data), found) != (manifest["rle_cache_bytes"], manifest["tz_index_digest"]):
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"{path} has {len(data)} bytes and SHA-256 {found}; its manifest states {manifest['rle_cache_bytes']} and "
            f"{manifest['tz_index_digest']}",
            hint="restore the cache, or write a new one with `arrivals tz build RUN_ROOT`",
        )
    return decode(data, str(path))


class ZoneUse(NamedTuple):
    """The origin of tzids: merchant int64[K] index; tzids object[K], None for none."""

    dataset_id: str
    merchant: NDArray[np.int64]
    tzids: NDArray[np.object_]


def refuse_unknown_zones(cache: ZoneTable, uses: Iterable[ZoneUse], merchant_ids: NDArray[np.uint64]) -> None:
    """Raise DST_MAPPING_FAILED, naming dataset and merchant, for the first zone that the cache lacks."""
    for use in uses:
        unknown = {tzid for tzid in set(use.tzids.tolist()) if tzid is not None and cache.find(tzid) is None}
        if not unknown:
            continue
        row = next(at for at, tzid in enumerate(use.tzids.tolist()) if tzid in unknown)
        tzid, merchant = use.tzids[row], int(merchant_ids[use.merchant[row]])
        others = f" ({len(unknown) - 1} more are missing)" if len(unknown) > 1 else ""
        raise ArrivalError(
            Code.DST_MAPPING_FAILED,
            f"{use.dataset_id}: time zone {tzid!r} of merchant {merchant} is not in the tz cache{others}",
            hint=f"correct the name, which tzdata {release()} does not know either, and seal again"
            if unknown_tzids([tzid])
            else "write a cache that has it with `arrivals tz build RUN_ROOT --replace`, and seal again",
            dataset=use.dataset_id,
            tzid=tzid,
            merchant_id=merchant,
        )


def cut_zones(cache: ZoneTable, tzids: Sequence[str], grid: Grid) -> Zones:
    """The pairs of the given zones, all in the cache, that can apply within the grid; a zone's first is at -2^63."""
    first_second = int(grid.start_us[0]) // 1_000_000
    last_second = (int(grid.start_us[-1]) + int(grid.duration_us[-1]) - 1) // 1_000_000
    starts, instants, offsets = [0], [], []
    for tzid in tzids:
        instant, minutes = cache.steps(tzid)
        first = int(np.searchsorted(instant, first_second, side="right")) - 1
        last = int(np.searchsorted(instant, last_second, side="right"))
        kept = instant[first:last].copy()
        kept[0] = np.iinfo(np.int64).min
        instants.append(kept)
        offsets.append(minutes[first:last].astype(np.int64) * _US_PER_MINUTE)
        starts.append(starts[-1] + kept.size)
    return Zones(
        start=np.array(starts, np.int32),
        instant=np.concatenate([np.empty(0, np.int64), *instants]),
        offset_us=np.concatenate([np.empty(0, np.int64), *offsets]),
        text=np.array([text_word(tzid) for tzid in tzids], np.uint64),
    )


def check_against_tzdata(
    cache: ZoneTable, tzids: Sequence[str], tables: Tables, rows: Rows, settings: Settings, *, accept: bool
) -> tuple[Notice, ...]:
    """Compare the cache with tzdata over the horizon; notices instead of an error if accepted.

    A tzdata release older than the engine's cannot confirm a cache. A newer one is compared as it is. A disagreement is
    weighed with the arrivals of the count rows.
    """
    notices = (*_too_old(), *_disagreement(cache, tzids, tables, rows, settings))
    for notice in notices[: 0 if accept else 1]:
        raise ArrivalError(Code.DST_MAPPING_FAILED, notice.message, hint=_HINTS[notice.code], **notice.context)
    return notices


_HINTS = {
    "TZDATA_TOO_OLD": f"{INSTALL_RELEASE}, or pass --accept-tz-cache to use the cache unconfirmed",
    "TZ_CACHE_DISAGREES": "write a correct cache with `arrivals tz build` and seal again, or pass --accept-tz-cache to "
    "use this one",
}


def _too_old() -> Iterator[Notice]:
    if release() < TZDATA_RELEASE:
        message = f"tzdata {release()} is installed, which is older than {TZDATA_RELEASE} and confirms no tz cache"
        yield Notice("TZDATA_TOO_OLD", message, {"installed": release(), "wanted": TZDATA_RELEASE})


def _disagreement(
    cache: ZoneTable, tzids: Sequence[str], tables: Tables, rows: Rows, settings: Settings
) -> Iterator[Notice]:
    grid = tables.grid
    foreign = unknown_tzids(tzids)
    compared = [tzid for tzid in tzids if tzid not in foreign]
    # The last second that an arrival can lie in: buckets end before their end.
    first, last = int(grid.start_us[0]), int(grid.start_us[-1]) + int(grid.duration_us[-1]) - 1
    bounds = (first // 1_000_000, last // 1_000_000)
    differences = disagreements(cache, compared, *bounds)
    if not foreign and not differences:
        return
    # tzdata says nothing about a foreign zone: its arrivals are those of a zone that is wrong all the time.
    unsaid = [Disagreement(tzid, bounds[0], bounds[1] + 1, 0, 0) for tzid in foreign]
    faults = clock_faults(differences, tzids, tables, rows, settings)
    unconfirmed = clock_faults(unsaid, tzids, tables, rows, settings)
    expected = sum(fault.expected for fault in faults.zones)
    total = int(rows.arrivals.sum(dtype=np.int64))
    parts = []
    if differences:
        parts.append(
            f"the tz cache disagrees with tzdata: {expected:,.1f} wrong local times are expected, in at most "
            f"{faults.at_most:,} of {total:,} arrivals (counted exactly)"
        )
    if foreign:
        zones = _listed(f"{fault.tzid} ({_arrivals(fault)})" for fault in unconfirmed.zones)
        parts.append(f"the tz cache has zones that tzdata {release()} does not have and cannot confirm: {zones}")
    if shown := [fault for fault in faults.zones if fault.shown]:
        zones = _listed(f"{_of_zone(fault)}, {_arrivals(fault)}" for fault in shown)
        parts.append(f"{_number(shown)} with arrivals: {zones}")
    if others := [fault for fault in faults.zones if not fault.shown]:
        parts.append(f"{_number(others)} without arrivals: {_listed(map(_of_zone, others))}")
    context = {
        "zones": len(unconfirmed.zones) + len(faults.zones),
        "zones_without_arrivals": len(others),
        "differences": len(foreign) + len(differences),
        "expected_wrong_local_times": round(expected, 1),
        "arrivals_at_most": faults.at_most,
    }
    yield Notice("TZ_CACHE_DISAGREES", ". ".join(parts), context)


def _of_zone(fault: ZoneFault) -> str:
    """The first wrong stretch of a zone, and how long all are."""
    return f"{fault.stretches[0]}{_further(fault)}; {_seconds(fault.seconds)} of the horizon"


def _arrivals(fault: ZoneFault) -> str:
    return f"{fault.expected:,.1f} arrivals expected, {fault.at_most:,} at most"


def _further(fault: ZoneFault) -> str:
    if len(fault.stretches) == 1:
        return ""
    errors = [stretch.cache_minutes - stretch.tzdata_minutes for stretch in fault.stretches]
    return f" (first of {len(fault.stretches)} stretches, off by {min(errors):+d} to {max(errors):+d} min)"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.6f}".rstrip("0").rstrip(".") + " s"


def _number(faults: Sequence[ZoneFault]) -> str:
    return f"{len(faults)} zone{'' if len(faults) == 1 else 's'}"


def _listed(texts: Iterable[str]) -> str:
    told = list(texts)
    more = f"; and {len(told) - _SHOWN} more" if len(told) > _SHOWN else ""
    return "; ".join(told[:_SHOWN]) + more
