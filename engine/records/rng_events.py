"""The three random-number event datasets: one event per count row and stream family.

docs/reference/layouts.md, "Random-number logs", says what they hold.

All scenarios of a run share the datasets' directories. Each has one part there, numbered by its place among the sealed
scenarios, so that a later run replaces its own events and no others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from arrival_engine.contracts import ArrivalError, Code, arrow_schema
from arrival_engine.contracts.arrow_columns import coded
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.options import EventFormat
from arrival_engine.contracts.oserrors import writing
from arrival_engine.cpu_fallback.tables import Rows
from arrival_engine.engine.arrivals.publish import Publication
from arrival_engine.engine.expand.ledger import FamilyAccount, FamilyUse, ScenarioLedger
from arrival_engine.engine.records.columns import laid_out
from arrival_engine.engine.records.groups import equal_groups
from arrival_engine.engine.records.rng_logs import MODULE
from arrival_engine.engine.rundir.arrow_files import ParquetWriter, new_parquet
from arrival_engine.engine.world.load import World, sealed

_FORMATS: tuple[EventFormat, ...] = ("parquet", "jsonl")
_GROUP_ROWS = 1 << 18


def write_rng_events(
    ledger: ScenarioLedger, accounts: Mapping[str, FamilyAccount], directory: InsidePath, file_format: EventFormat
) -> None:
    """Write one file per family to `directory`, which is recreated, with the totals of the trace log.

    The bytes depend on the sealed inputs alone: an event's ts_utc is the moment of the seal. Raises
    RNG_ACCOUNTING_MISMATCH, IO_WRITE_FAILED.
    """
    with writing("random-number events", directory):
        # A resumed run finds files of the killed run, complete or not.
        if directory.exists():
            directory.remove()
        directory.mkdir()
    for label in accounts:
        path = directory / f"{label}.{file_format}"
        schema = arrow_schema(_dataset_id(label))
        written = _Totals()
        chunks = (chunk for piece in ledger.pieces() for chunk in _touching(piece.uses()[label], piece.world.rows))
        with writing("random-number events", path), _sink(path, schema, file_format) as sink:
            for columns in equal_groups(chunks, _GROUP_ROWS):
                events = _events(ledger.world, label, _Touching(*columns), schema)
                written.add(events)
                sink.write(events)
        _check(label, written.account(), accounts[label])


def publish_rng_events(output: Publication, world: World, staged: InsidePath, file_format: EventFormat) -> None:
    """Replace the published events of a scenario, of either format, by the staged ones; "none" only removes them."""
    run = sealed(world)
    index = run.seal.scenario_set.index(run.scenario_id)
    for label in ("arrival_time_jitter", "arrival_site_pick", "arrival_edge_pick"):
        part = run.receipt.part(_dataset_id(label), index)
        for form in _FORMATS:
            if form == file_format:
                output.file(staged / f"{label}.{form}", part.with_suffix(f".{form}"))
            else:
                output.withdraw(part.with_suffix(f".{form}"), staged.with_name(f"{label}.{form}.withdrawn"))


def _dataset_id(label: str) -> str:
    return f"rng_event_{label}"


class _Touching(NamedTuple):
    """Count rows that touch a family: their entities and buckets, word 1 of the counter, arrivals, words drawn."""

    entity: NDArray[np.int32]
    bucket: NDArray[np.int32]
    word1: NDArray[np.uint64]
    arrivals: NDArray[np.int32]
    words: NDArray[np.int64]


def _touching(use: FamilyUse, rows: Rows) -> Iterator[_Touching]:
    touching = np.flatnonzero(use.touched)
    for first in range(0, touching.size, _GROUP_ROWS):
        row = touching[first : first + _GROUP_ROWS]
        entity, bucket = rows.entity[row], rows.bucket[row]
        word1 = use.hi0[entity] + bucket.astype(np.uint64)
        yield _Touching(entity, bucket, word1, rows.arrivals[row], use.words[row])


def _events(world: World, label: str, rows: _Touching, schema: pa.Schema) -> pa.Table:
    """The events of these count rows (LAW section 6), columns as the contract declares them."""
    entities = world.tables.entities
    word1 = pa.array(rows.word1)
    blocks = pa.array(rows.arrivals.astype(np.uint64))
    constants: dict[str, str | int] = {
        "ts_utc": sealed(world).seal.created_utc,
        **world.identity.document(),
        "module": MODULE,
        "substream_label": label,
        "scenario_id": world.scenario_id,
        "rng_counter_before_lo": 0,
    }
    columns = {
        "rng_counter_before_hi": word1,
        "rng_counter_after_lo": blocks,
        "rng_counter_after_hi": word1,
        "draws": pa.array(rows.words).cast(pa.string()),
        "blocks": blocks,
        "merchant_id": pa.array(world.tables.merchants.id[entities.merchant[rows.entity]]),
        "zone_representation": coded(entities.zone[rows.entity], world.tzids),
        "channel_group": coded(entities.channel[rows.entity], world.channels, empty_is_null=True),
        "bucket_index": pa.array(rows.bucket.astype(np.int64)),
    }
    return laid_out(schema, rows.entity.size, constants, columns)


class _Totals:
    """Sums over the events written, in the form in which the trace log has them."""

    def __init__(self) -> None:
        self._events = self._blocks = self._words = 0
        self._before: tuple[int, int] | None = None
        self._after = (0, 0)

    def add(self, events: pa.Table) -> None:
        """Take in the next events."""
        if events.num_rows == 0:
            return
        self._events += events.num_rows
        spans = pc.subtract(events["rng_counter_after_lo"], events["rng_counter_before_lo"])
        self._blocks += int(pc.sum(spans).as_py())
        self._words += int(pc.sum(events["draws"].cast(pa.uint64())).as_py())
        self._before = self._before or _counter(events, "before", 0)
        self._after = _counter(events, "after", events.num_rows - 1)

    def account(self) -> FamilyAccount:
        """The sums."""
        return FamilyAccount(self._events, self._blocks, self._words, self._before or (0, 0), self._after)


def _counter(events: pa.Table, when: str, row: int) -> tuple[int, int]:
    low, high = (events[f"rng_counter_{when}_{half}"][row].as_py() for half in ("lo", "hi"))
    return int(low), int(high)


def _check(label: str, written: FamilyAccount, expected: FamilyAccount) -> None:
    if written != expected:
        raise ArrivalError(
            Code.RNG_ACCOUNTING_MISMATCH,
            f"the events of {label} add up to {written}, the trace log has {expected}",
            hint="this is a defect of the engine; please report it with the run report",
            family=label,
        )


class _Sink(Protocol):
    def write(self, events: pa.Table) -> None:
        """Append events."""


@contextmanager
def _sink(path: InsidePath, schema: pa.Schema, file_format: EventFormat) -> Iterator[_Sink]:
    if file_format == "jsonl":
        with path.open("xb") as file:
            yield _LineSink(file)
    else:
        with new_parquet(path, schema, compression="ZSTD") as writer:
            yield _ParquetSink(writer)


class _ParquetSink:
    def __init__(self, writer: ParquetWriter) -> None:
        self._writer = writer

    def write(self, events: pa.Table) -> None:
        """One row group."""
        self._writer.write_table(events, row_group_size=_GROUP_ROWS)


class _LineSink:
    """JSON Lines, one `compact_json` per event, assembled column by column."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, events: pa.Table) -> None:
        """One line per event."""
        pieces: list[pa.Array | pa.Scalar] = []
        opening = "{"
        for name in sorted(events.column_names):
            pieces += [pa.scalar(f'{opening}"{name}":'), _json_texts(events[name].combine_chunks())]
            opening = ","
        lines = pc.binary_join_element_wise(*pieces, pa.scalar("}\n"), "")
        for chunk in lines.chunks if isinstance(lines, pa.ChunkedArray) else [lines]:
            _, offsets, data = chunk.buffers()
            bounds = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
            self._file.write(memoryview(data)[bounds[0] : bounds[-1]])


def _json_texts(column: pa.Array) -> pa.Array:
    """Each value as its JSON text."""
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    if pa.types.is_integer(column.type):
        return column.cast(pa.string())
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    texts = pa.array([json.dumps(text) for text in coded.dictionary.to_pylist()], pa.string())
    return pc.fill_null(texts.take(coded.indices), "null")
