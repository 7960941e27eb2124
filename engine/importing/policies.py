"""The policies of an imported world: the packaged policies, with what the tables and their contents decide."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from arrival_engine.config import packaged_bytes, policy_ids, resolve_policy
from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.options import ZoneSource
from arrival_engine.engine.importing.guardrails import Needs
from arrival_engine.engine.world_files.sites import WeightLabels

_ROUTING = "arrival_routing_policy_5B"
_PLACEMENT = "arrival_time_placement_policy_5B"
_VALIDATION = "validation_policy_5B"


class _Guardrail(NamedTuple):
    """What a run or its validation limits: the need by its name in `Needs`, in words, and the keys of its limit."""

    need: str
    unit: str
    keys: tuple[tuple[str, str], ...]


_GUARDRAILS = (
    _Guardrail(
        "buckets", "buckets per scenario", ((_VALIDATION, "structural_checks.s1_time_grid.max_buckets_per_scenario"),)
    ),
    _Guardrail("bucket_seconds", "seconds per bucket", ((_PLACEMENT, "guardrails.max_bucket_duration_seconds"),)),
    _Guardrail(
        "arrivals_per_bucket",
        "arrivals per count row",
        (
            (_PLACEMENT, "guardrails.max_arrivals_per_bucket"),
            (_VALIDATION, "structural_checks.s3_bucket_counts.max_count_per_bucket"),
        ),
    ),
)


@dataclass(frozen=True)
class Policies:
    """Bytes of every policy by id, and the values that an import uses.

    identifying: the bytes that the world's identity is a hash of, which are the packaged ones where the two differ in
    guardrails of validation alone. notices: of guardrails that were raised.
    """

    by_id: dict[str, bytes]
    identifying: dict[str, bytes]
    weekend_days: tuple[int, ...]
    site_weights: WeightLabels
    hybrid_probability: Fraction
    notices: tuple[Notice, ...]


def load_policies(zones: ZoneSource, needs: Needs) -> Policies:
    """The packaged policies, with guardrails raised to what the world needs.

    Group weights are off if arrivals stay in the zones of their count rows. A policy that allows what the world needs
    keeps its bytes. Raises UNEXPECTED_INTERNAL_ERROR if a packaged policy is not as the import expects it.
    """
    by_id = {policy_id: packaged_bytes(policy_id) for policy_id in policy_ids()}
    documents = {policy_id: resolve_policy(policy_id).document for policy_id in policy_ids()}
    if zones == "counts":
        by_id[_ROUTING] = _with_value(_ROUTING, by_id[_ROUTING], "physical_router.use_group_weights", "true", "false")
    packaged_validation = by_id[_VALIDATION]
    notices = tuple(_raise_guardrails(by_id, documents, needs))
    layout = resolve_policy("alias_layout_policy_v1")
    return Policies(
        by_id=by_id,
        identifying={**by_id, _VALIDATION: packaged_validation},
        weekend_days=tuple(documents["time_grid_policy_5B"]["local_annotations"]["weekend_days"]),
        site_weights=WeightLabels("imported", layout.document["quantised_bits"], layout.sha256),
        hybrid_probability=Fraction(documents[_ROUTING]["hybrid_policy"]["p_virtual_hybrid"]),
        notices=notices,
    )


def _raise_guardrails(by_id: dict[str, bytes], documents: dict[str, Any], needs: Needs) -> Iterator[Notice]:
    """Raise every guardrail below what is needed, in place; a notice for each need."""
    for need, unit, keys in _GUARDRAILS:
        least = int(getattr(needs, need))
        raised = {}
        for policy, key in keys:
            allowed = _value(documents[policy], key)
            if least > allowed:
                by_id[policy] = _with_value(policy, by_id[policy], key, str(allowed), str(least))
                raised[f"{policy}.{key}"] = allowed
        if raised:
            message = (
                f"the tables need {least:,} {unit}, and the packaged policies allow {min(raised.values()):,}: the"
                f" policies of this world allow {least:,} ({', '.join(raised)})"
            )
            yield Notice("GUARDRAIL_RAISED", message, {"needed": least, "packaged": raised})


def _value(document: Any, key: str) -> int:
    """The whole number at a dotted path."""
    for name in key.split("."):
        document = document[name]
    return int(document)


def _with_value(policy: str, data: bytes, key: str, old: str, new: str) -> bytes:
    """A policy's text with another value of one key; comments, order and all other bytes stay."""
    name = key.rpartition(".")[2]
    edited, changed = re.subn(rf"(?m)^( +{name}:) {old}\b".encode(), rf"\1 {new}".encode(), data)
    if changed != 1:
        raise ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"the packaged {policy} does not have {key}: {old} in one line",
            hint="install the package again, and report this",
        )
    return edited
