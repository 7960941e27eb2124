"""The check of event records: where a run kept them, each family has one for every count row, in order and exact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts import ArrivalError, Code, compact_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.recomputing.streams import MODULE
from arrival_engine.engine.rundir.arrow_files import open_parquet
from arrival_engine.engine.rundir.json_lines import raw_lines
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.database import text
from arrival_engine.engine.validation.findings import EXAMPLES_MAX, Example
from arrival_engine.engine.validation.judge_rng import TOUCHED, Account, words_drawn
from arrival_engine.engine.validation.record_tables import judge_form, stands
from arrival_engine.engine.validation.records import Record
from arrival_engine.engine.validation.strangers import names_a_zone

_BATCH_ROWS = 1 << 16
_FORMATS = ("parquet", "jsonl")
# Of a line that is not the law's; those of the law are shorter.
_SHOWN_BYTES = 1000
# The fields that differ between records, in the order of the query.
_FIELDS = (
    "merchant_id",
    "zone_representation",
    "channel_group",
    "bucket_index",
    "rng_counter_before_hi",
    "draws",
    "blocks",
    "rng_counter_after_lo",
    "rng_counter_after_hi",
)


class _Faults:
    """Faults of all families: their number, and the first of them."""

    def __init__(self) -> None:
        self.number = 0
        self.examples: list[Example] = []

    def add(self, label: str, number: int = 1, **example: Any) -> None:
        """Count faults of a family, of which one is shown."""
        self.number += number
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append({"family": label, **example})


def judge_events(
    case: Case, accounts: Mapping[str, Account], trace: Mapping[tuple[str, str], Record], index: int, sealed_utc: str
) -> None:
    """Enter rng_events: the records that the run report says were kept, or that stand, are those of the law.

    index: the scenario's place among the sealed ones, the number of its parts. sealed_utc: the moment that every record
    names. Needs the table `stream` of `claims`.
    """
    rules = case.policy.block("rng_accounting_checks")
    parts = {label: case.receipt.part(f"rng_event_{label}", index) for label in accounts}
    with _reading_events():
        standing = {label: _standing(part) for label, part in parts.items()}
        found = set[str]().union(*standing.values())
        kept = case.told.events or next((form for form in _FORMATS if form in found), "")
        if not kept:
            case.book.inapplicable("rng_events", "the run kept no event records", severity=rules.severity)
            return
        faults = _Faults()
        rows = 0
        for label, part in parts.items():
            path = part.with_suffix(f".{kept}")
            if not stands(path, f"rng_event_{label}"):
                faults.add(
                    label, fault=f"{path.name} is missing; `arrivals run RUN_ROOT --rng-events {kept}` writes it"
                )
                continue
            for other in sorted(standing[label] - {kept}):
                faults.add(label, fault=f"{part.with_suffix(f'.{other}').name} stands beside {path.name}")
            constants = _constants(case, label, sealed_utc)
            rows += accounts[label].events
            if kept == "parquet":
                _judge_table(case, label, path, constants, faults)
            else:
                _judge_lines(case, label, path, constants, faults)
    # Both are constants of the policy's schema: counters are compared as they are, and so are the totals.
    demanded = [
        *rules.block("streams").demanded({"require_after_minus_before_equals_blocks": ""}),
        *rules.block("trace").demanded({"require_totals_match_events": ""}),
    ]
    if demanded:
        _judge_totals(case, accounts, trace, faults)
    cure = f"`arrivals run RUN_ROOT --rng-events {kept}` writes the records again" if faults.number else ""
    case.book.judge("rng_events", rows, faults.number, severity=rules.severity, examples=faults.examples, message=cure)


@contextmanager
def _reading_events() -> Iterator[None]:
    try:
        yield
    except ArrivalError as error:
        if error.code not in (Code.IO_READ_FAILED, Code.S5_IO_READ_FAILED):
            raise
        hint = "restore the file, or make it again with `arrivals run RUN_ROOT --rng-events` and its format"
        raise ArrivalError(Code.S5_IO_READ_FAILED, error.message, hint=hint, **error.context) from error


def _standing(part: InsidePath) -> set[str]:
    """The formats in which a family has records of this engine, whatever the run report says."""
    lines = part.with_suffix(".jsonl")
    what = "event records"
    found = {"parquet"} if stands(part.with_suffix(".parquet"), what) else set()
    return found | ({"jsonl"} if stands(lines, what) and names_a_zone(lines) else set())


def _constants(case: Case, label: str, sealed_utc: str) -> dict[str, str | int]:
    return {
        "ts_utc": sealed_utc,
        **case.receipt.identity.document(),
        "module": MODULE,
        "substream_label": label,
        "scenario_id": case.scenario_id,
        "rng_counter_before_lo": 0,
    }


def _expected(case: Case, label: str) -> Iterator[pa.RecordBatch]:
    """The records of a family by LAW section 6, in the dataset's order: `_FIELDS`, a null channel as none."""
    budgets = case.policy.block("rng_accounting_checks").block("budgets")
    yield from case.cursor.batches(
        f"""
        SELECT merchant_id, zone AS zone_representation, nullif(channel, '') AS channel_group,
               bucket_index::BIGINT AS bucket_index, word AS rng_counter_before_hi, n::UBIGINT AS rng_counter_after_lo,
               word AS rng_counter_after_hi, ({words_drawn(budgets)[label]})::VARCHAR AS draws, n::UBIGINT AS blocks
        FROM (SELECT expected.merchant_id AS merchant_id, stream.zone AS zone, stream.channel AS channel,
                     expected.bucket_index AS bucket_index, n, v, mode,
                     ((hi0::HUGEINT + expected.bucket_index) % {1 << 64})::UBIGINT AS word
              FROM recount AS expected JOIN merchant USING (merchant_id)
              JOIN stream ON stream.label = {text(label)} AND stream.merchant_id = expected.merchant_id
                   AND stream.zone = expected.zone::VARCHAR AND stream.channel = expected.channel::VARCHAR
              WHERE {TOUCHED[label]})
        ORDER BY merchant_id, bucket_index, zone, channel"""
    )


def _judge_table(case: Case, label: str, path: InsidePath, constants: Mapping[str, str | int], faults: _Faults) -> None:
    dataset_id = f"rng_event_{label}"
    of_form, sound = judge_form(path, dataset_id, constants)
    for example in of_form:
        faults.add(label, **example)
    if not sound:
        return
    with reading(dataset_id, path, also=(pa.ArrowException,)), open_parquet(path) as file:
        stored = file.iter_batches(batch_size=_BATCH_ROWS, columns=list(_FIELDS))
        at = 0
        for kept, wanted in _aligned(stored, _expected(case, label)):
            if kept is None or wanted is None:
                for rest, fault in ((kept, "is of no count row"), (wanted, "is missing")):
                    if rest is not None:
                        faults.add(label, rest.num_rows, record=at, fault=fault, **_row(rest, 0))
                        at += rest.num_rows
                continue
            differ = _differing(kept, wanted)
            if differ:
                first = differ[0]
                stated, expected = _row(kept, first), _row(wanted, first)
                wrong = {name: stated[name] for name in _FIELDS if stated[name] != expected[name]}
                right = {name: expected[name] for name in wrong}
                faults.add(label, len(differ), record=at + first, stated=wrong, expected=right)
            at += kept.num_rows


def _aligned(
    stored: Iterator[pa.RecordBatch], expected: Iterator[pa.RecordBatch]
) -> Iterator[tuple[pa.RecordBatch | None, pa.RecordBatch | None]]:
    """Both as batches of equal length, in pairs; what one of them has more, beside None."""
    left = right = None
    while True:
        left = left if left is not None and left.num_rows else next(stored, None)
        right = right if right is not None and right.num_rows else next(expected, None)
        if left is None and right is None:
            return
        if left is None or right is None:
            yield left, right
            left = right = None
            continue
        rows = min(left.num_rows, right.num_rows)
        if rows:
            yield left.slice(0, rows), right.slice(0, rows)
        left, right = left.slice(rows), right.slice(rows)


def _differing(kept: pa.RecordBatch, wanted: pa.RecordBatch) -> list[int]:
    """Places of rows that are not equal."""
    differ = pa.array([False]).take(pa.array([0] * kept.num_rows, pa.int64()))
    for name in _FIELDS:
        stated, expected = kept.column(name), wanted.column(name)
        if pa.types.is_dictionary(stated.type):
            stated = stated.dictionary_decode()
        if stated.equals(expected.cast(stated.type)):
            continue
        unequal = pc.fill_null(pc.not_equal(stated, expected.cast(stated.type)), False)
        one_null = pc.xor(stated.is_null(), expected.is_null())
        differ = pc.or_(differ, pc.or_(unequal, one_null))
    places: list[int] = pc.indices_nonzero(differ).to_pylist()
    return places


def _row(batch: pa.RecordBatch, at: int) -> dict[str, Any]:
    return {name: batch.column(name)[at].as_py() for name in _FIELDS}


def _judge_lines(case: Case, label: str, path: InsidePath, constants: Mapping[str, str | int], faults: _Faults) -> None:
    """Compare the lines with those of the law, as bytes; the records of other engines do not count."""
    wanted = _lines(_expected(case, label), constants)
    expected = next(wanted, None)
    number = 0
    for _, line in raw_lines(path):
        form = line if line == expected else _canonical(line)
        if form is None:
            continue
        if form != expected:
            right = expected.decode() if expected else "no further record"
            faults.add(label, record=number, stated=line[:_SHOWN_BYTES].decode("utf-8", "replace"), expected=right)
        expected = next(wanted, None)
        number += 1
    lacking = int(expected is not None) + sum(1 for _ in wanted)
    if lacking:
        faults.add(label, lacking, record=number, fault="is missing")


def _lines(expected: Iterator[pa.RecordBatch], constants: Mapping[str, str | int]) -> Iterator[bytes]:
    """The records as `compact_json` has them, without the ends of the lines."""
    names = sorted((*_FIELDS, *constants))
    fixed = {name: json.dumps(value).replace("%", "%%") for name, value in constants.items()}
    form = "{" + ",".join(f'"{name}":{fixed.get(name, "%s")}' for name in names) + "}"
    own = [name for name in names if name not in fixed]
    for batch in expected:
        columns = [_json(batch.column(name)) for name in own]
        for values in zip(*columns, strict=True):
            yield (form % values).encode("ascii")


def _json(column: pa.Array) -> Sequence[Any]:
    if pa.types.is_integer(column.type):
        return list(column.to_pylist())
    coded = column.dictionary_encode()
    texts = [*(json.dumps(value) for value in coded.dictionary.to_pylist()), "null"]
    return [texts[-1 if code is None else code] for code in coded.indices.to_pylist()]


def _canonical(line: bytes) -> bytes | None:
    """A line as this engine writes it, itself if it is not JSON; None for anything but one of its event records."""
    try:
        record = parse_json(line)
    except ValueError:
        return line
    return compact_json(record) if isinstance(record, dict) and "zone_representation" in record else None


def _judge_totals(
    case: Case, accounts: Mapping[str, Account], trace: Mapping[tuple[str, str], Record], faults: _Faults
) -> None:
    """The records add up to the trace: those of the law, to which the records were compared, do."""
    for label, account in accounts.items():
        step = trace.get((label, case.scenario_id), {})
        for name, value in {"events": account.events, "draws": account.words, "blocks": account.blocks}.items():
            if step.get(name) != value:
                faults.add(label, field=name, traced=step.get(name), found=value)
