"""Key-value metadata of part files."""

from __future__ import annotations

from arrival_engine.contracts.forms import compact_json
from arrival_engine.engine.process.version import LAW_VERSION, version
from arrival_engine.engine.world.load import World


def file_metadata(world: World) -> dict[str, str]:
    """Identity, law version and policy digests; nothing that differs between runs of the same world."""
    return {
        **{f"arrivals.{name}": str(value) for name, value in world.receipt.identity.columns().items()},
        "arrivals.scenario_id": world.scenario_id,
        "arrivals.law_version": str(LAW_VERSION),
        "arrivals.engine_version": version(),
        "arrivals.sealed_inputs_digest": world.seal.digest,
        "arrivals.policy_digests": compact_json(dict(world.settings.policy_digests)).decode(),
    }
