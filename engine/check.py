"""A second look at published arrivals: read the files again and recompute what they must satisfy.

Shares no code with expansion: digests by NumPy over the stored texts, counts by grouping the stored rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contracts import ArrivalError, Code, dataset
from engine.receipt import Receipt, read_receipt
from engine.world.tables_io import read_table

_KEY = ("merchant_id", "zone_representation", "channel_group", "bucket_index")


class Check(NamedTuple):
    """One named property and whether it holds."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class CheckResult:
    """Rows read, their digest recomputed from the stored values, and what was checked."""

    rows: int
    digest: str
    checks: tuple[Check, ...]


@dataclass
class _Sums:
    rows: int = 0
    a: int = 0
    b: int = 0
    disorder: int = 0
    ambiguous: int = 0
    last: tuple[int, int, int] = (0, 0, 0)


def check_published(run_root: Path | str, scenario_id: str) -> CheckResult:
    """Read a scenario's published arrivals and check counts, order, sequence, routing flags and digest.

    Raises IO_READ_FAILED where there is nothing to read.
    """
    receipt = read_receipt(Path(run_root))
    sums = _Sums()
    counts: list[pa.Table] = []
    for table in _published(receipt, scenario_id):
        _add_digest(sums, table)
        _check_order(sums, table)
        exclusive = pc.xor(pc.is_valid(table["site_id"]), pc.is_valid(table["edge_id"]))
        agrees = pc.equal(pc.is_valid(table["edge_id"]), table["is_virtual"])
        sums.ambiguous += table.num_rows - pc.sum(pc.and_(exclusive, agrees)).as_py()
        counts.append(_texts(table.select(list(_KEY))).group_by(list(_KEY)).aggregate([([], "count_all")]))
    wrong = _count_differences(receipt, scenario_id, counts)
    return CheckResult(
        sums.rows,
        f"{sums.rows}-{sums.a:016x}{sums.b:016x}",
        (
            Check("counts", wrong == 0, f"{wrong} of the count rows differ from the arrivals found for them"),
            Check(
                "order",
                sums.disorder == 0,
                f"{sums.disorder} arrivals out of (merchant, time) order or sequence",
            ),
            Check("routing", sums.ambiguous == 0, f"{sums.ambiguous} arrivals without exactly one site or edge"),
        ),
    )


def _published(receipt: Receipt, scenario_id: str) -> Iterator[pa.Table]:
    entry = dataset("arrival_events_5B")
    directory = entry.locate(receipt.run_root, receipt.identity.tokens(scenario_id=scenario_id))
    parts = sorted(directory.glob("part-*"))
    if not parts:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"no arrivals at {directory}",
            hint="run `arrivals run` first",
            path=str(directory),
        )
    for path in parts:
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)
        else:
            with pa.OSFile(str(path)) as source:
                reader = pa.ipc.open_file(source)
                for index in range(reader.num_record_batches):
                    yield pa.Table.from_batches([reader.get_batch(index)])


def _count_differences(receipt: Receipt, scenario_id: str, pieces: list[pa.Table]) -> int:
    stated = read_table(receipt, "s3_bucket_counts_5B", (*_KEY, "count_N"), scenario_id=scenario_id)
    stated = _texts(stated.filter(pc.greater(stated["count_N"], 0)))
    expected = stated.group_by(list(_KEY)).aggregate([("count_N", "sum")])
    # A scenario without arrivals has no pieces, but still a count of none for every key.
    nothing = stated.select(list(_KEY)).slice(0, 0).append_column("count_all", pa.array([], pa.int64()))
    found = pa.concat_tables([nothing, *pieces]).group_by(list(_KEY)).aggregate([("count_all", "sum")])
    both = expected.join(found, keys=list(_KEY), join_type="full outer")
    same = pc.equal(both["count_N_sum"], both["count_all_sum"])
    return int(both.num_rows - (pc.sum(pc.fill_null(same, False)).as_py() or 0))


def _texts(table: pa.Table) -> pa.Table:
    """Plain strings, a null channel as the empty text, so that keys of two tables can be joined."""
    for name in ("zone_representation", "channel_group"):
        values = pc.fill_null(table[name].cast(pa.string()), "")
        table = table.set_column(table.column_names.index(name), name, values)
    return table.set_column(3, "bucket_index", table["bucket_index"].cast(pa.int64()))


def _check_order(sums: _Sums, table: pa.Table) -> None:
    merchant, ts_us, seq = (
        _words(table, "merchant_id"),
        _instants(table, "ts_utc"),
        _words(table, "arrival_seq"),
    )
    before = sums.last
    merchants = np.append(np.uint64(before[0]), merchant)
    times, sequence = np.append(before[1], ts_us), np.append(np.uint64(before[2]), seq)
    same = merchants[1:] == merchants[:-1]
    follows = same & (times[1:] >= times[:-1]) & (sequence[1:] == sequence[:-1] + np.uint64(1))
    begins = (merchants[1:] > merchants[:-1]) & (sequence[1:] == 1)
    sums.disorder += int(np.count_nonzero(~(follows | begins)))
    sums.last = (int(merchants[-1]), int(times[-1]), int(sequence[-1]))


def _add_digest(sums: _Sums, table: pa.Table) -> None:
    """LAW section 7 over stored values."""
    virtual = table["is_virtual"].combine_chunks().to_numpy(zero_copy_only=False)
    place = pc.coalesce(table["edge_id"], table["site_id"]).to_numpy()
    settlement = np.where(virtual, _text_words(table, "tzid_settlement"), np.uint64(0))
    settled = np.where(virtual, _instants(table, "ts_local_settlement"), 0).view(np.uint64)
    words = (
        _words(table, "merchant_id"),
        _text_words(table, "zone_representation"),
        _text_words(table, "channel_group"),
        _words(table, "bucket_index"),
        _words(table, "arrival_seq"),
        _instants(table, "ts_utc").view(np.uint64),
        virtual.astype(np.uint64),
        place,
        _text_words(table, "tzid_primary"),
        _instants(table, "ts_local_primary").view(np.uint64),
        settlement,
        settled,
    )
    h = np.zeros(table.num_rows, np.uint64)
    for word, multiplier in zip(words, _multipliers(), strict=True):
        h += word * multiplier
    sums.rows += table.num_rows
    sums.a = (sums.a + int(_mix(h).sum(dtype=np.uint64))) % (1 << 64)
    sums.b = (sums.b + int(_mix(h ^ np.uint64(0xD6E8FEB86659FD93)).sum(dtype=np.uint64))) % (1 << 64)


def _multipliers() -> list[np.uint64]:
    states = (np.arange(1, 13, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    return [word | np.uint64(1) for word in _mix(states)]


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _words(table: pa.Table, name: str) -> NDArray[np.uint64]:
    words: NDArray[np.uint64] = table[name].to_numpy().astype(np.uint64)
    return words


def _instants(table: pa.Table, name: str) -> NDArray[np.int64]:
    column = table[name]
    if pa.types.is_string(column.type):
        column = pc.replace_substring_regex(column, "Z$", "").cast(pa.timestamp("us"))
    values: NDArray[np.int64] = pc.fill_null(column.cast(pa.int64()), 0).to_numpy()
    return values


def _text_words(table: pa.Table, name: str) -> NDArray[np.uint64]:
    column = pc.fill_null(table[name].cast(pa.string()), "").combine_chunks().dictionary_encode()
    words = [hashlib.sha256(text.encode()).digest()[:8] for text in column.dictionary.to_pylist()]
    coded: NDArray[np.uint64] = np.array([int.from_bytes(word, "little") for word in words], np.uint64)
    of_rows: NDArray[np.uint64] = coded[column.indices.to_numpy()]
    return of_rows
