"""What a world's columns on a device are made of."""

from __future__ import annotations

from arrival_engine.contracts import ArrivalError, Code, arrow_schema
from arrival_engine.engine.expand.assemble import constant_texts
from arrival_engine.engine.world.load import World
from arrival_engine.gpu_kernels.columns import Layout


def device_layout(world: World, otherwise: str) -> Layout:
    """The layout of a world's columns. Raises ROUTING_POLICY_INVALID for times as texts, with `otherwise` as advice."""
    options = world.settings.output
    if options.timestamp_encoding != "timestamp":
        raise ArrivalError(
            Code.ROUTING_POLICY_INVALID,
            f"arrival_output_policy_5B asks for {options.timestamp_encoding} times, which no device writes",
            hint=f"set its timestamp_encoding to timestamp, or {otherwise}",
        )
    return Layout(
        schema=arrow_schema("arrival_events_5B"),
        constants=constant_texts(world),
        seed=world.identity.seed,
        tzids=world.tzids,
        channels=world.channels,
        mirror=options.mirror_dual_clock,
    )
