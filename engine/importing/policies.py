"""The policies of an imported world: the packaged policies, except for the source of a physical arrival's zone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from arrival_engine.config import packaged_bytes, policy_ids, resolve_policy
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.options import ZoneSource
from arrival_engine.engine.importing.grid import Limits
from arrival_engine.engine.world_files.sites import WeightLabels

_ROUTING = "arrival_routing_policy_5B"
_GROUPS = re.compile(rb"(?m)^(  use_group_weights:) true\b")


@dataclass(frozen=True)
class Policies:
    """Bytes of every policy by id, and the values that an import uses."""

    by_id: dict[str, bytes]
    limits: Limits
    weekend_days: tuple[int, ...]
    site_weights: WeightLabels
    hybrid_probability: Fraction


def load_policies(zones: ZoneSource) -> Policies:
    """The packaged policies, with group weights off if arrivals stay in the zones of their count rows."""
    by_id = {policy_id: packaged_bytes(policy_id) for policy_id in policy_ids()}
    if zones == "counts":
        by_id[_ROUTING], changed = _GROUPS.subn(rb"\1 false", by_id[_ROUTING])
        if changed != 1:
            raise ArrivalError(
                Code.UNEXPECTED_INTERNAL_ERROR,
                f"the packaged {_ROUTING} does not enable group weights in one line",
                hint="import with --zones weights, and report this",
            )
    documents = {policy_id: resolve_policy(policy_id).document for policy_id in policy_ids()}
    placement = documents["arrival_time_placement_policy_5B"]["guardrails"]
    checks = documents["validation_policy_5B"]["structural_checks"]
    layout = resolve_policy("alias_layout_policy_v1")
    return Policies(
        by_id=by_id,
        limits=Limits(
            bucket_seconds=placement["max_bucket_duration_seconds"],
            buckets=checks["s1_time_grid"]["max_buckets_per_scenario"],
            arrivals_per_bucket=min(
                placement["max_arrivals_per_bucket"], checks["s3_bucket_counts"]["max_count_per_bucket"]
            ),
        ),
        weekend_days=tuple(documents["time_grid_policy_5B"]["local_annotations"]["weekend_days"]),
        site_weights=WeightLabels("imported", layout.document["quantised_bits"], layout.sha256),
        hybrid_probability=Fraction(documents[_ROUTING]["hybrid_policy"]["p_virtual_hybrid"]),
    )
