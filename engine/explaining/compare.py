"""Comparison of the derived row with the kernel and with the stored row."""

from __future__ import annotations

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.arrivals.reading import find_rows, json_rows, part_files
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import Expander
from arrival_engine.engine.explaining.derive import Chosen, View
from arrival_engine.engine.explaining.facts import Comparison, Difference, RowValues
from arrival_engine.engine.explaining.search import expand_segment


def against_kernel(view: View, chosen: Chosen, row: RowValues, expander: Expander) -> Comparison:
    """The segment expanded by the CPU kernel and assembled as a run does it."""
    try:
        result = expand_segment(view, expander, chosen.segment)
    except ArrivalError as refusal:
        return Comparison("kernel", "refused", str(refusal))
    arrivals = Assembler(view.world).whole(result)
    (found,) = json_rows(arrivals.slice(chosen.place - 1, 1))
    return _compared(row, found, "kernel", "the CPU kernel over the arrival's segment")


def against_output(view: View, row: RowValues) -> Comparison:
    """The published row with the same key, if anything is published."""
    directory = view.world.receipt.path("arrival_events_5B", scenario_id=view.world.scenario_id)
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
