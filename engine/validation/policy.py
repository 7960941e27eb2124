"""The validation policy, typed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from arrival_engine.config import policy_ids
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.validation.findings import Severity


@dataclass(frozen=True)
class Rules:
    """One block of the policy."""

    content: Mapping[str, Any]

    @property
    def severity(self) -> Severity:
        """The effect of a breach of this block."""
        return Severity(self.content["severity"].upper())

    def block(self, name: str) -> Rules:
        """An inner block."""
        return Rules(self.content[name])

    def number(self, name: str) -> float:
        """A limit that statistics are compared with."""
        return float(self.content[name])

    def count(self, name: str) -> int:
        """A whole number."""
        return int(self.content[name])

    def text(self, name: str) -> str:
        """A choice."""
        return str(self.content[name])

    def names(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        return tuple(self.content[name])

    def bounds(self, name: str) -> tuple[float, float]:
        """A closed interval."""
        low, high = self.content[name]
        return float(low), float(high)

    def demanded(self, conditions: Mapping[str, str]) -> dict[str, str]:
        """The conditions whose key in the policy is true; `conditions` maps keys to conditions."""
        return {key: condition for key, condition in conditions.items() if self.content[key]}


def validation_policy(receipt: Receipt) -> Rules:
    """The policy in force for a run."""
    return Rules(document(receipt, "validation_policy_5B"))


def document(receipt: Receipt, policy_id: str) -> Mapping[str, Any]:
    """Any policy in force for a run."""
    return receipt.policy(policy_id).document


def digests(receipt: Receipt, stated: Iterable[str]) -> dict[str, str]:
    """SHA-256 of the policies in force, for the ids that a run has stated; none for an id that is not a policy."""
    known = set(policy_ids())
    return {policy_id: receipt.policy(policy_id).sha256 for policy_id in stated if policy_id in known}
