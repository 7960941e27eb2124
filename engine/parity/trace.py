"""The first difference traced to its entity, bucket and draw, and derived again by the law on Python integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from arrival_engine.contracts import ArrivalError
from arrival_engine.cpu_fallback.tables import Tables
from arrival_engine.engine.expand.planning import Batch, Plan
from arrival_engine.engine.explaining import Explanation, History, Question, explain
from arrival_engine.engine.parity.compare import value_text
from arrival_engine.engine.parity.records import Derived, Difference, Trace, Value
from arrival_engine.engine.world.load import sealed

_US_PER_MINUTE = 60_000_000


def trace(plan: Plan, found: Difference) -> Trace | None:
    """Whose the difference is; None where it is a whole batch's, or beyond the batch's arrivals."""
    batch = plan.batches[found.batch]
    if found.row is None:
        return None
    if found.group == "row_totals":
        count_row = batch.rows[0] + found.row
        return _of_row(plan, count_row) if count_row < batch.rows[1] else None
    return _of_arrival(plan, batch, found) if found.row < batch.arrivals else None


def _of_row(plan: Plan, count_row: int) -> Trace:
    world = plan.world
    entities, entity = world.tables.entities, int(world.rows.entity[count_row])
    return Trace(
        merchant_id=int(world.tables.merchants.id[entities.merchant[entity]]),
        zone_representation=world.tzids[entities.zone[entity]],
        channel_group=world.channels[entities.channel[entity]] or None,
        bucket_index=int(world.rows.bucket[count_row]),
        arrival_seq=None,
        why_not="a count row's total belongs to no single arrival",
    )


def _of_arrival(plan: Plan, batch: Batch, found: Difference) -> Trace:
    # Place and merchant follow from the counts alone, so they hold for any arrival that either side computes.
    segments = plan.segments
    position = int(segments.arrival_start[batch.segments[0]]) + int(found.row or 0)
    segment = int(np.searchsorted(segments.arrival_start, position, side="right")) - 1
    seq = int(segments.arrivals_before[segment]) + position - int(segments.arrival_start[segment]) + 1
    first = _of_row(plan, int(segments.row_start[segment]))
    try:
        question = Question(first.merchant_id, seq=seq, scenario_id=plan.world.scenario_id)
        explanation = explain(sealed(plan.world).receipt.run_root.outside, question)
    except ArrivalError as error:
        why_not = f"the arrival cannot be derived: {error}"
        return Trace(first.merchant_id, "", None, first.bucket_index, seq, why_not=why_not)
    # Its notice says that the seal was not checked; here it was.
    explanation = replace(explanation, notices=())
    entity = explanation.history.entity
    return Trace(
        merchant_id=first.merchant_id,
        zone_representation=entity.zone_representation,
        channel_group=entity.channel_group,
        bucket_index=first.bucket_index,
        arrival_seq=seq,
        derived=_judged(plan, batch, segment, explanation, found.values),
        explanation=explanation,
    )


def _judged(
    plan: Plan, batch: Batch, segment: int, explanation: Explanation, values: tuple[Value, ...]
) -> tuple[Derived, ...]:
    derived = derived_columns(plan, batch, segment, explanation.history)
    return tuple(_derived(value, derived[value.name]) for value in values)


def _derived(value: Value, derived: str) -> Derived:
    if derived == value.left:
        return Derived(value.name, derived, "left")
    return Derived(value.name, derived, "right" if derived == value.right else "neither")


def derived_columns(plan: Plan, batch: Batch, segment: int, history: History) -> dict[str, str]:
    """A derived arrival in the form in which backends keep it: codes, microseconds and indices, as exact text."""
    zone_code = {tzid: code for code, tzid in enumerate(plan.world.tzids)}
    clocks = {role: clock for clock in history.clocks for role in clock.roles}
    ts_us = int(plan.world.tables.grid.start_us[history.bucket.index]) + history.offset.offset_us
    primary, settlement = clocks["primary"], clocks.get("settlement")
    virtual = history.mode.is_virtual
    found = {
        "row": _count_row(plan, segment, history) - batch.rows[0],
        "arrival_seq": history.sequence.arrival_seq,
        "ts_us": ts_us,
        "place": _place(plan.world.tables, _merchant(plan, segment), zone_code[primary.tzid], history),
        "primary": zone_code[primary.tzid],
        "local_us": ts_us + primary.offset_minutes * _US_PER_MINUTE,
        "settlement": zone_code[settlement.tzid] if settlement else -1,
        "settlement_local_us": ts_us + settlement.offset_minutes * _US_PER_MINUTE if settlement else 0,
        "is_virtual": virtual,
    }
    return {name: value_text(value) for name, value in found.items()}


def _merchant(plan: Plan, segment: int) -> int:
    entity = plan.world.rows.entity[plan.segments.row_start[segment]]
    return int(plan.world.tables.entities.merchant[entity])


def _place(tables: Tables, merchant: int, zone: int, history: History) -> int:
    """The derived place as an index into the tables of edges or sites."""
    if history.mode.is_virtual:
        first, last = tables.merchants.edge_start[merchant : merchant + 2].tolist()
        return int(first + np.flatnonzero(tables.edges.id[first:last] == _id(history.row["edge_id"]))[0])
    named = np.flatnonzero((tables.sites.id == _id(history.row["site_id"])) & (tables.sites.zone == zone))
    # A site is in the table of its zone, and in the one over all the merchant's sites.
    whole = int(tables.merchants.site_table[merchant])
    first, last = tables.sites.start[whole : whole + 2].tolist() if whole >= 0 else (0, 0)
    in_whole = (first <= named) & (named < last)
    fell_back = any(fallback.name == "no_site_in_zone" for fallback in history.fallbacks)
    return int(np.append(named[in_whole == fell_back], named)[0])


def _id(stated: object) -> np.uint64:
    return np.uint64(int(str(stated)))


def _count_row(plan: Plan, segment: int, history: History) -> int:
    """The segment's count row of the derived arrival's entity."""
    world, starts = plan.world, plan.segments.row_start
    entities = world.tables.entities
    wanted = (history.entity.zone_representation, history.entity.channel_group or "")
    for row in range(int(starts[segment]), int(starts[segment + 1])):
        entity = int(world.rows.entity[row])
        if (world.tzids[entities.zone[entity]], world.channels[entities.channel[entity]]) == wanted:
            return row
    raise ValueError(f"segment {segment} has no count row of {wanted}")
