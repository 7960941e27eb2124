"""Policies of a written world: the packaged files, with single values replaced where the world differs."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from arrival_engine.contracts.dictionary import dataset
from tests.support.model import FAIL, FALLBACKS, Policy

# Keys that the packaged output policy does not state.
_UNSTATED = {"encoding"}
ROUTING, OUTPUT = "arrival_routing_policy_5B", "arrival_output_policy_5B"


def packaged(policy_id: str) -> bytes:
    """The bytes of the packaged policy, by its path in the dictionary."""
    return files("arrival_engine.config").joinpath(*dataset(policy_id).path.split("/")[1:]).read_bytes()


def policy_digest(policy_id: str) -> str:
    """SHA-256 of the packaged policy."""
    return hashlib.sha256(packaged(policy_id)).hexdigest()


def replaced(text: str, key: str, value: str) -> str:
    """YAML text with the one scalar of this key replaced, all else (decimals included) as written."""
    changed, times = re.subn(rf"(?m)^(\s*{key}:\s*)[^\s#]+", lambda match: match[1] + value, text)
    if times != 1:
        raise ValueError(f"{times} scalars are named {key}")
    return changed


def write_policies(policy: Policy, run_root: Path, output: Mapping[str, str]) -> None:
    """Write RUN_ROOT/config/... for the policies that differ from the packaged ones, and only for those."""
    usual = Policy()
    routing = {name: FAIL for name in FALLBACKS if policy.refuses(name)}
    if policy.use_group_weights != usual.use_group_weights:
        routing["use_group_weights"] = str(policy.use_group_weights).lower()
    if policy.p_virtual_hybrid != usual.p_virtual_hybrid:
        routing["p_virtual_hybrid"] = policy.p_virtual_hybrid
    for policy_id, changes in ((ROUTING, routing), (OUTPUT, output)):
        if not changes:
            continue
        text = packaged(policy_id).decode("utf-8")
        for key, value in changes.items():
            text = f"{text}{key}: {value}\n" if key in _UNSTATED else replaced(text, key, value)
        path = dataset(policy_id).locate(run_root, {})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
