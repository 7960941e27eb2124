"""The packaged policies of a synthetic world."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from arrival_engine.config import Policy, packaged_bytes, policy_ids, resolve_policy
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.synth.presets import HORIZON_END, HORIZON_START, WorldSpec


@dataclass(frozen=True)
class Policies:
    """Every packaged policy by id."""

    by_id: dict[str, Policy]

    def document(self, policy_id: str) -> Any:
        """The policy's content; numbers with a fraction are Decimal."""
        return self.by_id[policy_id].document

    def sha256(self, policy_id: str) -> str:
        """SHA-256 of the policy's bytes."""
        return self.by_id[policy_id].sha256

    @property
    def hybrid_probability(self) -> Fraction:
        """Chance that an arrival of a HYBRID merchant is virtual."""
        return Fraction(self.document("arrival_routing_policy_5B")["hybrid_policy"]["p_virtual_hybrid"])

    @property
    def bucket_seconds(self) -> int:
        """Length of a bucket."""
        return int(self.document("time_grid_policy_5B")["bucket_duration_seconds"])


def load_policies(spec: WorldSpec) -> Policies:
    """The packaged policies. Raises ROUTING_POLICY_INVALID if the day effects do not cover the horizon."""
    policies = Policies({policy_id: resolve_policy(policy_id) for policy_id in policy_ids()})
    span = policies.document("day_effect_policy_v1")["day_range"]
    days = [day.date().isoformat() for day in spec.days()]
    if span["start_day"] > days[0] or span["end_day"] < days[-1]:
        raise ArrivalError(
            Code.ROUTING_POLICY_INVALID,
            f"day_effect_policy_v1 covers {span['start_day']} to {span['end_day']},"
            f" the horizon is {days[0]} to {days[-1]}",
            hint="widen day_range in config/layer1/2B/policy/day_effect_policy_v1.json",
            start_day=span["start_day"],
            end_day=span["end_day"],
        )
    return policies


def policy_copies() -> dict[str, bytes]:
    """The packaged bytes of every policy, by id."""
    return {policy_id: packaged_bytes(policy_id) for policy_id in policy_ids()}


def bucket_count(policies: Policies) -> int:
    """Buckets in the horizon."""
    return int((HORIZON_END - HORIZON_START).total_seconds()) // policies.bucket_seconds
