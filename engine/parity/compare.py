"""Bitwise comparison of two sides' results of the same batch, array by array."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.expand.planning import Batch
from arrival_engine.engine.parity.records import ColumnVerdict, Difference, Group, Value
from arrival_engine.engine.parity.sides import Outcome

_NOTHING = "(nothing)"
_Arrays = dict[tuple[Group, str], NDArray[Any]]
_GROUPS: tuple[Group, ...] = ("columns", "row_totals", "sums")


@dataclass
class _Count:
    dtype: str
    compared: int = 0
    differing: int = 0
    batches: int = 0


@dataclass
class Tally:
    """Counts of differences over the batches so far, and the first one."""

    counts: dict[tuple[Group, str], _Count] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    first: Difference | None = None

    def add(self, batch: Batch, left: Outcome, right: Outcome) -> None:
        """Compare one batch; batches come in plan order."""
        if left.result is None or right.result is None:
            self._refusals(batch, left, right)
            return
        self._results(batch, arrays_of(left.result), arrays_of(right.result))

    def verdicts(self) -> tuple[ColumnVerdict, ...]:
        """One a compared array, in the order of the arrays."""
        return tuple(
            ColumnVerdict(group, name, count.dtype, count.compared, count.differing, count.batches)
            for (group, name), count in self.counts.items()
        )

    def _results(self, batch: Batch, left: _Arrays, right: _Arrays) -> None:
        marks: dict[tuple[Group, str], NDArray[np.bool_]] = {}
        for key, one in left.items():
            mark = differing(one, right[key])
            count = self.counts.setdefault(key, _Count(str(one.dtype)))
            count.compared += mark.size
            count.differing += int(np.count_nonzero(mark))
            if mark.any():
                count.batches += 1
                marks[key] = mark
        if marks and self.first is None:
            self.first = _first(batch, marks, left, right)

    def _refusals(self, batch: Batch, left: Outcome, right: Outcome) -> None:
        self.refused.append(batch.index)
        same = left.refusal == right.refusal
        count = self.counts.setdefault(("refusal", "refusal"), _Count("text"))
        count.compared += 1
        count.differing += not same
        count.batches += not same
        if not same and self.first is None:
            value = Value("refusal", _refusal_text(left), _refusal_text(right))
            self.first = Difference(batch.index, "refusal", None, (value,))


def arrays_of(result: BatchResult) -> _Arrays:
    """Everything a backend makes of a batch: columns, row totals, and digest lanes and counters as arrays of one."""
    found: _Arrays = {("columns", name): array for name, array in result.columns._asdict().items()}
    found |= {("row_totals", name): array for name, array in result.row_totals._asdict().items()}
    sums = {
        "digest_rows": result.digest.rows,
        "digest_a": result.digest.a,
        "digest_b": result.digest.b,
        "at_start": result.at_start,
        "at_end": result.at_end,
    }
    return found | {("sums", name): np.array([value], np.uint64) for name, value in sums.items()}


def differing(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values are apart; all of them where the types are, and those that only the longer array has."""
    longest = max(left.size, right.size)
    mark = np.ones(longest, np.bool_)
    if left.dtype == right.dtype:
        common = min(left.size, right.size)
        np.not_equal(left[:common], right[:common], out=mark[:common])
    return mark


def _first(
    batch: Batch, marks: dict[tuple[Group, str], NDArray[np.bool_]], left: _Arrays, right: _Arrays
) -> Difference:
    group = next(group for group in _GROUPS if any(key[0] == group for key in marks))
    own = {key: mark for key, mark in marks.items() if key[0] == group}
    row = min(int(np.argmax(mark)) for mark in own.values())
    values = tuple(
        Value(key[1], text_at(left[key], row), text_at(right[key], row))
        for key, mark in own.items()
        if row < mark.size and mark[row]
    )
    return Difference(batch.index, group, None if group == "sums" else row, values)


def text_at(array: NDArray[Any], row: int) -> str:
    """A value as exact text; 64-bit numbers do not survive every JSON reader as numbers."""
    return value_text(array[row].item()) if row < array.size else _NOTHING


def value_text(value: bool | int) -> str:
    """true, false, or the number in decimal."""
    return str(value).lower()


def _refusal_text(outcome: Outcome) -> str:
    return "expanded" if outcome.refusal is None else f"{outcome.refusal['code']}: {outcome.refusal['message']}"
