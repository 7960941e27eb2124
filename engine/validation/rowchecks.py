"""Checks of single rows as SQL conditions.

Nearly all rows are physical and valid, so one condition covers them. Each check has its own condition for the other
rows, and for parts in which that one does not hold for every physical row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arrival_engine.contracts.identity import Identity
from arrival_engine.engine.validation.civil import ClockTable
from arrival_engine.engine.validation.database import text
from arrival_engine.engine.validation.events import Events

# Columns that may not be null, beyond those whose comparison already fails for a null.
_NOT_NULL = ("ts_utc", "tzid_primary", "ts_local_primary", "is_virtual")
_POSITIVE = ("merchant_id > 0", "bucket_index >= 0", "arrival_seq > 0", "zone_representation <> ''")


@dataclass(frozen=True)
class Expectations:
    """The values of columns that are the same in every row."""

    identity: Identity
    scenario_id: str
    spec_version: str
    universe_hash: str


@dataclass(frozen=True)
class RowChecks:
    """SQL conditions.

    conditions: by check, true for a bad row, over the rows of `joined`. sound: true only for physical rows for which no
    condition is true, over the rows of `beside`.
    """

    conditions: Mapping[str, str]
    sound: str

    @property
    def names(self) -> tuple[str, ...]:
        """The checks, in the order of their bits."""
        return tuple(self.conditions)

    @property
    def mask(self) -> str:
        """SQL integer whose bit k is set if the k-th check fails."""
        bits = [f"CASE WHEN {bad} THEN {1 << bit} ELSE 0 END" for bit, bad in enumerate(self.conditions.values())]
        return f"({' + '.join(bits)})"


def row_checks(events: Events, fixed: Expectations, clock: ClockTable) -> RowChecks:
    """The checks for one scenario."""
    identity = fixed.identity
    constants = {
        "manifest_fingerprint": text(identity.manifest_fingerprint),
        "parameter_hash": text(identity.parameter_hash),
        "seed": str(identity.seed),
        "scenario_id": text(fixed.scenario_id),
        "s4_spec_version": text(fixed.spec_version),
    }
    conditions = {
        "values": f"{_values()} OR coalesce({events.malformed()}, false)",
        "identity": " OR ".join(f"{column} IS DISTINCT FROM {value}" for column, value in constants.items()),
        "routing_universe": f"routing_universe_hash IS DISTINCT FROM {text(fixed.universe_hash)}",
        "time_window": "(ts_us >= start_us AND ts_us < end_us) IS NOT TRUE",
        "civil_primary": f"local_us IS DISTINCT FROM {clock.local('clock_primary', 'ts_us')}",
        "civil_settlement": f"settled_us IS DISTINCT FROM {clock.local('clock_settlement', 'ts_us')}",
        "civil_operational": f"operated_us IS DISTINCT FROM {clock.local('clock_operational', 'ts_us')}",
        "clock_zones": _zones(mirrored=events.mirrored),
        "site_edge_flag": (
            "(site_id IS NULL) = (edge_id IS NULL) OR is_virtual IS DISTINCT FROM (edge_id IS NOT NULL)"
        ),
    }
    right = [
        f"NOT ({events.malformed()})",
        *(f"{column} = {value}" for column, value in constants.items()),
        f"routing_universe_hash = {text(fixed.universe_hash)}",
        "ts_us >= start_us AND ts_us < end_us",
        f"local_us = {clock.local('clock_primary', 'ts_us')}",
        *_POSITIVE,
        "site_id > 0 AND edge_id IS NULL AND NOT is_virtual",
        _mirrored() if events.mirrored else _single_clock(),
    ]
    return RowChecks(conditions, f"coalesce({' AND '.join(right)}, false)")


def beside(relation: str) -> str:
    """FROM item: rows of a part beside their bucket and primary clock, which are null where there is none."""
    return f"""{relation} AS arrival
        LEFT JOIN grid USING (bucket_index)
        LEFT JOIN clock AS clock_primary ON clock_primary.tzid = tzid_primary"""


def joined(relation: str) -> str:
    """The same, also joined to the merchant and the other two clocks."""
    return f"""{beside(relation)}
        LEFT JOIN merchant USING (merchant_id)
        LEFT JOIN clock AS clock_settlement ON clock_settlement.tzid = tzid_settlement
        LEFT JOIN clock AS clock_operational ON clock_operational.tzid = tzid_operational"""


def _values() -> str:
    present = [f"{column} IS NOT NULL" for column in _NOT_NULL]
    return f"({' AND '.join([*_POSITIVE, *present])}) IS NOT TRUE OR site_id = 0 OR edge_id = 0"


def _single_clock() -> str:
    others = ("tzid_settlement", "settled_us", "tzid_operational", "operated_us")
    return " AND ".join(f"{column} IS NULL" for column in others)


def _mirrored() -> str:
    zones = " AND ".join(f"tzid_{clock} = tzid_primary" for clock in ("settlement", "operational"))
    return f"{zones} AND settled_us = local_us AND operated_us = local_us"


def _zones(*, mirrored: bool) -> str:
    """Settlement and operational zones: the merchant's and the edge's; for physical rows, the primary or none."""
    physical = "tzid_primary" if mirrored else "NULL"
    return (
        f"tzid_operational IS DISTINCT FROM CASE WHEN is_virtual THEN tzid_primary ELSE {physical} END OR "
        "tzid_settlement IS DISTINCT FROM "
        f"CASE WHEN is_virtual THEN coalesce(settlement, tzid_primary) ELSE {physical} END"
    )
