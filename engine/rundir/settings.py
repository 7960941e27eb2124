"""The settings that a run takes from its policies, with the policies' digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.cpu_fallback.law import coin_threshold

if TYPE_CHECKING:
    from arrival_engine.config.policies import Policy
    from arrival_engine.engine.rundir.receipt import Receipt

POLICY_IDS = (
    "alias_layout_policy_v1",
    "arrival_output_policy_5B",
    "arrival_rng_policy_5B",
    "arrival_routing_policy_5B",
    "arrival_time_placement_policy_5B",
)

DEFAULT_ENCODING = "delta"


@dataclass(frozen=True)
class Fallbacks:
    """Per missing input, whether it stops the run (True) or a fallback applies (LAW section 4).

    The fields are the routing policy's switches; run reports use the same names.
    """

    missing_group_table: bool
    no_site_in_zone: bool
    missing_edge_table: bool


FALLBACK_MEANINGS = {
    "missing_group_table": "no tz group weights on some days: arrivals stayed in the count row's zone",
    "no_site_in_zone": "a drawn zone has no site: arrivals went to the table over all the merchant's sites",
    "missing_edge_table": "a virtual merchant without an edge table: arrivals were made physical",
}


@dataclass(frozen=True)
class OutputOptions:
    """The form of arrivals on disk.

    row_group_rows: counts rows. encoding: `delta` or `plain`, of times and `arrival_seq` in Parquet files.
    """

    timestamp_encoding: str
    mirror_dual_clock: bool
    compression: str
    row_group_rows: int
    encoding: str = DEFAULT_ENCODING


@dataclass(frozen=True)
class Settings:
    """All values that a run takes from its policies.

    coin: floor(p * 2^64), below 2^64. policy_digests: SHA-256 by policy id.
    """

    coin: int
    use_group_weights: bool
    fallbacks: Fallbacks
    max_count: int
    max_bucket_seconds: int
    output: OutputOptions
    policy_digests: Mapping[str, str]

    def strict(self) -> Settings:
        """The same with every fallback an error."""
        return replace(self, fallbacks=Fallbacks(True, True, True))


def load_settings(receipt: Receipt) -> Settings:
    """Resolve, check and read the policies of a run. Raises the code of the invalid policy."""
    return settings_from({policy_id: receipt.policy(policy_id) for policy_id in POLICY_IDS})


def settings_from(policies: Mapping[str, Policy]) -> Settings:
    """Settings of already resolved policies."""
    routing = policies["arrival_routing_policy_5B"].document
    guardrails = policies["arrival_time_placement_policy_5B"].document["guardrails"]
    output = policies["arrival_output_policy_5B"].document
    return Settings(
        coin=coin_threshold(_hybrid_probability(routing)),
        use_group_weights=routing["physical_router"]["use_group_weights"],
        fallbacks=Fallbacks(**{name: routing["fallbacks"][name] == "fail" for name in FALLBACK_MEANINGS}),
        max_count=guardrails["max_arrivals_per_bucket"],
        max_bucket_seconds=guardrails["max_bucket_duration_seconds"],
        output=OutputOptions(
            timestamp_encoding=output["timestamp_encoding"],
            mirror_dual_clock=output["physical_dual_clock"] == "mirror",
            compression=output["compression"],
            row_group_rows=output["row_group_rows"],
            # Policies of before the key had deltas, and stay as they are: their hashes are in seals and identities.
            encoding=output.get("encoding", DEFAULT_ENCODING),
        ),
        policy_digests={policy_id: policies[policy_id].sha256 for policy_id in POLICY_IDS},
    )


def _hybrid_probability(routing: Mapping[str, object]) -> Fraction:
    """Probability that an arrival of a HYBRID merchant is virtual: exactly as written, within the policy's bounds."""
    p = Fraction(routing["hybrid_policy"]["p_virtual_hybrid"])  # type: ignore[index]
    low, high = (Fraction(bound) for bound in routing["realism_floors"]["hybrid_p_virtual_bounds"])  # type: ignore[index]
    if not low <= p <= high:
        raise ArrivalError(
            Code.ROUTING_POLICY_INVALID,
            f"arrival_routing_policy_5B: p_virtual_hybrid {float(p)} is outside {float(low)} to {float(high)}",
            hint="change p_virtual_hybrid or realism_floors.hybrid_p_virtual_bounds",
        )
    return p
