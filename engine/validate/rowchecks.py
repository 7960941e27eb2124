"""Checks of single rows as SQL conditions, all made in one scan of a part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contracts.identity import Identity
from engine.validate.civil import ClockTable
from engine.validate.database import text
from engine.validate.events import Events

# Columns that may not be null, beyond those that a comparison already finds so.
_NOT_NULL = ("ts_utc", "tzid_primary", "ts_local_primary", "is_virtual")


@dataclass(frozen=True)
class Expectations:
    """What columns must hold that are the same in every row."""

    identity: Identity
    scenario_id: str
    spec_version: str
    universe_hash: str


@dataclass(frozen=True)
class RowChecks:
    """Conditions that hold of a bad row, by check, over the rows of `joined`."""

    conditions: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The checks, in the order of their bits."""
        return tuple(self.conditions)

    @property
    def mask(self) -> str:
        """SQL integer whose bit k is set where the k-th check is broken."""
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
    return RowChecks(
        {
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
            "virtual_mode": "CASE WHEN is_virtual THEN may_be_virtual ELSE may_be_physical END IS NOT TRUE",
        }
    )


def joined(relation: str) -> str:
    """FROM item: rows of a part beside their bucket, merchant and clocks, which are null where there is none."""
    return f"""{relation} AS arrival
        LEFT JOIN grid USING (bucket_index)
        LEFT JOIN merchant USING (merchant_id)
        LEFT JOIN clock AS clock_primary ON clock_primary.tzid = tzid_primary
        LEFT JOIN clock AS clock_settlement ON clock_settlement.tzid = tzid_settlement
        LEFT JOIN clock AS clock_operational ON clock_operational.tzid = tzid_operational"""


def _values() -> str:
    present = [f"{column} IS NOT NULL" for column in _NOT_NULL]
    positive = ["merchant_id > 0", "bucket_index >= 0", "arrival_seq > 0", "zone_representation <> ''"]
    return f"({' AND '.join([*positive, *present])}) IS NOT TRUE OR site_id = 0 OR edge_id = 0"


def _zones(*, mirrored: bool) -> str:
    """Settlement and operational zones: the merchant's and the edge's; of physical rows the primary or none."""
    physical = "tzid_primary" if mirrored else "NULL"
    return (
        f"tzid_operational IS DISTINCT FROM CASE WHEN is_virtual THEN tzid_primary ELSE {physical} END OR "
        "tzid_settlement IS DISTINCT FROM "
        f"CASE WHEN is_virtual THEN coalesce(settlement, tzid_primary) ELSE {physical} END"
    )
