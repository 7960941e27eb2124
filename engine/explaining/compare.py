"""Comparison of the derived row with the kernel and with the stored row."""

from __future__ import annotations

import numpy as np

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.arrivals.reading import find_rows, json_rows, part_files
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import choose_backend
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.explaining.facts import Comparison, Difference, RowValues
from arrival_engine.engine.explaining.view import View
from arrival_engine.engine.process.progress import Reporter


def against_kernel(planned: Plan, row: RowValues, reporter: Reporter, *, stops: bool) -> Comparison:
    """The row with the same arrival_seq by a run's own code: the CPU kernel over the plan of the merchant's world.

    stops: whether the policy forbids a fallback in the arrival's segment, so that the kernel must stop there.
    """
    where = "the CPU kernel over the arrival's segment"
    seq, segments = int(str(row["arrival_seq"])), planned.segments
    if seq > planned.arrivals:
        return Comparison("kernel", "missing", where)
    segment = int(np.searchsorted(segments.arrivals_before, seq, side="left")) - 1
    place = seq - int(segments.arrivals_before[segment])
    rows = int(segments.row_start[segment]), int(segments.row_start[segment + 1])
    arrivals = int(segments.arrival_start[segment + 1] - segments.arrival_start[segment])
    with choose_backend("cpu").open(planned, reporter) as expander:
        try:
            result = expander(Batch(0, (segment, segment + 1), rows, arrivals))
        except ArrivalError as refusal:
            if stops:
                return Comparison("kernel", "refused", str(refusal))
            return _differs_in_fallbacks("none that the policy forbids", str(refusal), where)
    if stops:
        return _differs_in_fallbacks("one that the policy forbids", "none that it forbids", where)
    (found,) = json_rows(Assembler(planned.world).whole(result).slice(place - 1, 1))
    return _compared(row, found, "kernel", where)


def _differs_in_fallbacks(derived: str, found: str, where: str) -> Comparison:
    difference = Difference("fallbacks of the segment", derived, found)
    return Comparison("kernel", "differs", where, differences=(difference,))


def against_output(view: View, row: RowValues) -> Comparison:
    """The published row with the same key, if anything is published."""
    directory = view.receipt.path("arrival_events_5B", scenario_id=view.scenario_id)
    parts = part_files(directory)
    if not parts:
        return Comparison("stored row", "absent", str(directory))
    found = find_rows(parts, view.merchant_id, int(str(row["arrival_seq"])))
    if not found:
        return Comparison("stored row", "missing", str(directory))
    if len(found) > 1:
        return Comparison("stored row", "repeated", ", ".join(str(path) for path, _ in found))
    path, stored = found[0]
    return _compared(row, stored, "stored row", str(path))


def _compared(derived: RowValues, found: RowValues, source: str, where: str) -> Comparison:
    columns = [*derived, *(name for name in found if name not in derived)]
    missing = "(no such column)"
    differences = tuple(
        Difference(name, derived.get(name, missing), found.get(name, missing))
        for name in columns
        if name not in derived or name not in found or derived[name] != found[name]
    )
    outcome = "differs" if differences else "agrees"
    return Comparison(source, outcome, where, found, differences)  # type: ignore[arg-type]
