"""What part files state of themselves in their metadata (docs/reference/layouts.md, "Part files of arrivals")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from arrival_engine.contracts import arrow_schema, compact_json
from arrival_engine.contracts.pandas_metadata import KEY, pandas_metadata
from arrival_engine.contracts.schemas import shown
from arrival_engine.contracts.tables import TimestampEncoding
from arrival_engine.engine.process.version import LAW_VERSION
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.validation.case import Case
from arrival_engine.engine.validation.findings import Example

# The policies that decide what a run writes.
RUN_POLICIES = (
    "alias_layout_policy_v1",
    "arrival_output_policy_5B",
    "arrival_rng_policy_5B",
    "arrival_routing_policy_5B",
    "arrival_time_placement_policy_5B",
)
_OURS = "arrivals."
DIGEST_KEY, _VERSION = "arrivals.digest", "arrivals.engine_version"
_DIGEST_FORM = re.compile(r"[0-9]+-[0-9a-f]{32}")


def metadata_faults(case: Case, sealed_inputs_digest: str) -> list[Example]:
    """Keys of this engine that parts lack, add to, or state otherwise than seal and run report do."""
    expected = {
        **{f"{_OURS}{name}": str(value) for name, value in case.receipt.identity.columns().items()},
        f"{_OURS}scenario_id": case.scenario_id,
        f"{_OURS}law_version": str(LAW_VERSION),
        f"{_OURS}sealed_inputs_digest": sealed_inputs_digest,
        f"{_OURS}policy_digests": compact_json(_policies(case)).decode(),
    }
    known = {*expected, DIGEST_KEY, _VERSION}
    versions = {part.metadata.get(_VERSION) for part in case.events.parts}
    faults: list[Example] = []
    if len(versions) > 1:
        faults.append(
            {"file": "", "fault": f"parts state several versions of the engine: {sorted(map(str, versions))}"}
        )
    for part in case.events.parts:
        stated = {key: value for key, value in part.metadata.items() if key.startswith(_OURS)}
        wrong = [_said(key, stated.get(key)) for key, value in expected.items() if stated.get(key) != value]
        digest, version = stated.get(DIGEST_KEY), stated.get(_VERSION)
        if digest is None or not _DIGEST_FORM.fullmatch(digest):
            wrong.append(_said(DIGEST_KEY, digest))
        # A run that finds the same arrivals leaves the parts of an earlier version as they are.
        if version is None or (case.told.versions and version not in case.told.versions):
            wrong.append(_said(_VERSION, version))
        wrong += [f"states the unknown key {shown(key)}" for key in sorted(stated.keys() - known)]
        # Parts of version 0.1.0 state nothing for pandas.
        if (types := part.metadata.get(KEY)) not in (None, *_types_for_pandas()):
            wrong.append(_said(KEY, types))
        faults += [{"file": part.path.name, "fault": fault} for fault in wrong]
    return faults


def _types_for_pandas() -> set[str]:
    """What parts may state for pandas, by the form of times."""
    schemas = [arrow_schema("arrival_events_5B", encoding) for encoding in get_args(TimestampEncoding)]
    return set(map(pandas_metadata, schemas))


def _said(key: str, value: str | None) -> str:
    return f"does not state {key}" if value is None else f"states {key} {shown(value)}"


def _policies(case: Case) -> Mapping[str, Any]:
    """The policies as the run report states them, which `sealed_inputs` compares with those in force."""
    stated = case.line.get("policy_digests") if case.line is not None else None
    return stated if isinstance(stated, dict) else policies_of_a_run(case.receipt)


def policies_of_a_run(receipt: Receipt) -> dict[str, str]:
    """SHA-256 of each policy in force that a run uses."""
    return {policy_id: receipt.policy(policy_id).sha256 for policy_id in RUN_POLICIES}
