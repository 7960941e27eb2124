"""The difference between the validation policy in force and the one that this engine delivers.

A policy of the user's own is allowed, and what it demands decides whether a run passes. So every output that states the
verdict also names the keys in which the policy differs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from arrival_engine.config import Policy, resolve_policy
from arrival_engine.config.forms import SAME_ARRIVALS

# What names a policy decides nothing.
_NAMES = frozenset({"policy_id", "version"})
_SHOWN = 3


class PolicyDifference(NamedTuple):
    """A key (`a.b.c`) with another value than the delivered policy has, both as text."""

    key: str
    delivered: str
    found: str


def policy_differences(policy: Policy) -> tuple[PolicyDifference, ...]:
    """The keys of a validation policy whose values differ from the delivered ones, in the order of the policy.

    Values count, not bytes: order of keys, comments, forms of numbers and the order of segments make no difference. The
    file that 0.1.0 delivered has none.
    """
    if policy.sha256 == SAME_ARRIVALS[policy.id][1]:
        return ()
    delivered = dict(_leaves(resolve_policy(policy.id).document))
    found = dict(_leaves(policy.document))
    return tuple(
        PolicyDifference(key, _text(value), _text(found[key]))
        for key, value in delivered.items()
        if key not in _NAMES and found[key] != value
    )


def _leaves(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        key = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{key}.")
        else:
            # Segments; bounds are ascending already.
            yield key, sorted(value) if isinstance(value, list) else value


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:g}" if isinstance(value, Decimal) else str(value)


def statement(differences: Sequence[PolicyDifference]) -> dict[str, Any]:
    """What the validation report says about the policy."""
    return {"delivered": not differences, "differences": [difference._asdict() for difference in differences]}


def stated(report: Mapping[str, Any]) -> tuple[PolicyDifference, ...]:
    """The differences that a checked report states; none for a report of a version that did not state them."""
    found = report.get("validation_policy", {}).get("differences", [])
    return tuple(PolicyDifference(**difference) for difference in found)


def differences_text(differences: Sequence[PolicyDifference]) -> str:
    """The differences for people, the first of many; empty if there is none."""
    if not differences:
        return ""
    keys = "1 key" if len(differences) == 1 else f"{len(differences)} keys"
    each = [f"{key} is {found} instead of {delivered}" for key, delivered, found in differences[:_SHOWN]]
    more = [f"{len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
    return f"differs from the delivered one in {keys}: {', '.join([*each, *more])}"
