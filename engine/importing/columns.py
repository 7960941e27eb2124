"""The tables of an import: their columns, and how a file's header is matched with them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NoReturn

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.options import EpochUnit, MerchantIds
from arrival_engine.engine.importing import times, values
from arrival_engine.engine.importing.files import SourceFile
from arrival_engine.engine.importing.quoting import listed, shell_word
from arrival_engine.engine.importing.source import Source
from arrival_engine.engine.importing.wide import wide
from arrival_engine.engine.importing.zone_texts import ZoneReader

Kind = Literal["uint64", "int64", "float64", "text"]

# Other common names of these columns that a comparison of spellings would not find.
_OTHER_NAMES = {
    "merchant_id": ("merchant", "id", "shop", "shop_id", "store", "store_id", "mid"),
    "tz": ("timezone", "time_zone", "tzid", "zone", "zone_representation", "tz_group_id", "tzid_operational"),
    "bucket_start": ("bucket_start_utc", "time", "timestamp", "ts", "hour", "start", "datetime", "date", "bucket"),
    "bucket_end": ("bucket_end_utc", "end"),
    "bucket_index": ("index", "hour_index"),
    "count": ("n", "count_n", "arrivals", "number", "transactions", "events", "value"),
    "channel": ("channel_group",),
    "weight": ("p_weight", "edge_weight", "p_group", "share", "w"),
    "country": ("legal_country_iso", "country_iso", "country_code", "iso2"),
    "site_order": ("order", "site", "site_id", "site_number"),
    "edge_order": ("order", "edge", "edge_id", "edge_seq_index"),
    "mode": ("virtual_mode", "kind", "type"),
    "settlement_tz": ("tzid_settlement", "settlement", "settlement_timezone"),
}


@dataclass(frozen=True)
class Column:
    """A column: its name, its storage type, the conversion of its cells, and whether it is optional.

    number: whether the cells are numbers, so that texts may have a decimal sign or grouped thousands.
    """

    name: str
    kind: Kind
    convert: Callable[[values.Cell], Any]
    optional: bool = False
    number: bool = False


@dataclass(frozen=True)
class Layout:
    """A table: its name, the code of faults of the whole table, and its columns."""

    name: str
    code: Code
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """The column of that name, which must exist."""
        return next(column for column in self.columns if column.name == name)


_MERCHANTS: Mapping[MerchantIds, Column] = {
    "number": Column("merchant_id", "uint64", values.merchant_id, number=True),
    "text": Column("merchant_id", "text", values.merchant_text),
}
_WEIGHT = Column("weight", "float64", values.weight, number=True)
_COUNTRY = Column("country", "text", values.country)


def _order(name: str) -> Column:
    return Column(name, "int64", values.order, optional=True, number=True)


@dataclass(frozen=True)
class Reading:
    """How cells are read: times without a zone as UTC, numbers as times of a unit since 1970, counts as of days."""

    assume_utc: bool = False
    epoch: EpochUnit | None = None
    local_days: bool = False
    merchant_ids: MerchantIds = "number"
    zones: ZoneReader = field(default_factory=ZoneReader)


def layouts(reading: Reading) -> Mapping[str, Layout]:
    """Every table by name."""
    assume_utc, epoch = reading.assume_utc, reading.epoch
    merchant, zone = _MERCHANTS[reading.merchant_ids], Column("tz", "text", reading.zones.tzid)
    time = partial(times.instant, assume_utc=assume_utc, epoch=epoch)
    day = partial(times.day_start, epoch=epoch)
    counted_from = day if reading.local_days else partial(times.bucket_start, assume_utc=assume_utc, epoch=epoch)
    start = Column("bucket_start", "int64", time)
    index = Column("bucket_index", "int64", values.bucket_index, optional=True, number=True)
    tables = (
        Layout(
            "counts",
            Code.S1_OR_S3_OUTPUT_MISSING,
            (
                merchant,
                zone,
                Column("bucket_start", "int64", counted_from, optional=True),
                index,
                Column("count", "int64", values.count, number=True),
                Column("channel", "text", values.channel, optional=True),
            ),
        ),
        Layout(
            "sites",
            Code.SITE_RESOLUTION_FAILED,
            (
                merchant,
                zone,
                _WEIGHT,
                _COUNTRY,
                Column("site_order", "int64", values.order, optional=True, number=True),
            ),
        ),
        Layout(
            "virtual merchants",
            Code.ROUTING_POLICY_INVALID,
            (
                merchant,
                Column("mode", "text", values.mode),
                Column("settlement_tz", "text", reading.zones.optional_tzid, optional=True),
            ),
        ),
        Layout(
            "edges",
            Code.EDGE_RESOLUTION_FAILED,
            (
                merchant,
                zone,
                _WEIGHT,
                _COUNTRY,
                Column("edge_order", "int64", values.order, optional=True, number=True),
            ),
        ),
        Layout("group weights", Code.SITE_RESOLUTION_FAILED, (merchant, zone, _WEIGHT)),
        Layout("grid", Code.TIME_GRID_MISMATCH, (index, start, Column("bucket_end", "int64", time))),
    )
    return {layout.name: layout for layout in tables}


@dataclass(frozen=True)
class Naming:
    """The user's column names: `rename` maps theirs to ours, for tables that have ours; `ignore` lists theirs."""

    rename: Mapping[str, tuple[str, ...]]
    ignore: frozenset[str]


def match_header(layout: Layout, file: Source, naming: Naming) -> dict[str, str]:
    """The file's names of our columns, which may be partition keys of its directories.

    Raises SCHEMA_VIOLATION for missing, repeated and unknown columns and keys.
    """
    header = [name for name in file.header if name not in naming.ignore]
    repeated = sorted(name for name, times in Counter(header).items() if times > 1)
    if repeated:
        _refuse(
            file.name,
            f"has several columns {repeated[0]!r}",
            f"keep one of them, or leave all out: --ignore {shell_word(repeated[0])}",
            column=repeated[0],
        )
    known = [column.name for column in layout.columns]

    def ours_of(theirs: str) -> str:
        return next((name for name in naming.rename.get(theirs, ()) if name in known), theirs)

    keys = [key for key in file.keys if key not in naming.ignore]
    # A directory above the one that was given is named for any reason, so only a column's name makes it a key.
    keys += [key for key in file.around if key not in naming.ignore and ours_of(key) in known]
    if layout.name == "counts" and "count" not in {ours_of(name) for name in header}:
        _refuse_wide(file, header)
    found: dict[str, str] = {}
    for theirs in dict.fromkeys([*header, *keys]):
        ours = ours_of(theirs)
        if ours not in known:
            _unknown(layout, theirs, sorted({*known}.difference(header, keys), key=known.index), file)
        if ours in found:
            what = f"has {found[ours]!r} and {theirs!r}, which both stand for {ours}"
            _refuse(file.name, what, f"leave one out: --ignore {shell_word(theirs)}", column=theirs)
        found[ours] = theirs
    missing = [column.name for column in layout.columns if not column.optional and column.name not in found]
    if missing:
        _refuse(
            file.name,
            f"has no column {missing[0]}, which {layout.name} need; it has {listed(file.header) or 'none'}",
            f"add it, or rename the column that holds it: --rename THEIRS={missing[0]}",
            column=missing[0],
        )
    return found


def _refuse_wide(file: Source, header: Sequence[str]) -> None:
    """Refuse counts with a column per time."""
    dates = [name for name in header if nearest_column(name, ["bucket_start"])]
    path = file.name if isinstance(file, SourceFile) else ""
    found = wide(header, dates[0] if dates else "", path)
    if found is not None:
        _refuse(file.name, found.what, found.hint)


def _unknown(layout: Layout, theirs: str, lacking: Sequence[str], file: Source) -> NoReturn:
    known = [column.name for column in layout.columns]
    near = nearest_column(theirs, lacking)
    guess = f"; did you mean {near}?" if near else f"; {layout.name} have {', '.join(known)}"
    rename = f"rename it: --rename {shell_word(f'{theirs}={near}')}, or " if near else ""
    noun = "column" if theirs in file.header else "partition key"
    _refuse(
        file.name,
        f"has a {noun} {theirs!r}, which {layout.name} do not have{guess}",
        f"{rename}leave it out: --ignore {shell_word(theirs)}",
        column=theirs,
        known=known,
    )


def nearest_column(name: str, known: Sequence[str]) -> str:
    """Our column that is closest to `name`; empty if none is close."""
    plain = name.strip().casefold().replace(" ", "_").replace("-", "_")
    if plain in known:
        return plain
    for ours in known:
        if plain in _OTHER_NAMES.get(ours, ()):
            return ours
    return next(iter(difflib.get_close_matches(plain, known, n=1, cutoff=0.7)), "")


def _refuse(file: str, what: str, hint: str, **context: object) -> NoReturn:
    raise ArrivalError(Code.SCHEMA_VIOLATION, f"{file} {what}", hint=hint, file=file, **context)
