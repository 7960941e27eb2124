"""Key-value metadata of part files."""

from __future__ import annotations

from arrival_engine.contracts import arrow_schema
from arrival_engine.contracts.forms import compact_json
from arrival_engine.contracts.pandas_metadata import KEY, pandas_metadata
from arrival_engine.engine.process.version import LAW_VERSION, version
from arrival_engine.engine.world.load import World

SEAL_KEY = "arrivals.sealed_inputs_digest"


def file_metadata(world: World) -> dict[str, str]:
    """Identity, law version, policy digests, types for pandas; nothing that differs between runs of a world."""
    seal = {} if world.seal_digest is None else {SEAL_KEY: world.seal_digest}
    return {
        **{f"arrivals.{name}": str(value) for name, value in world.identity.columns().items()},
        "arrivals.scenario_id": world.scenario_id,
        "arrivals.law_version": str(LAW_VERSION),
        "arrivals.engine_version": version(),
        **seal,
        "arrivals.policy_digests": compact_json(dict(world.settings.policy_digests)).decode(),
        KEY: pandas_metadata(arrow_schema("arrival_events_5B", world.settings.output.timestamp_encoding)),
    }
