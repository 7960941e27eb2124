"""Policies that say the same in other forms: upstream's genuine ones, and those of release 0.1.0."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from arrival_engine.config import packaged_bytes, policy_ids, resolve_policy
from arrival_engine.config.forms import SAME_MEANING
from arrival_engine.config.strict import parse_json, parse_yaml
from arrival_engine.contracts import ArrivalError, dataset
from tests.support.paths import ROOT
from tests.support.upstream_policies import ACCEPTED, write_upstream

OLDER = ROOT / "tests" / "support" / "older_policies"
OLDER_FILES = sorted(OLDER.iterdir())
# Those of a sealed world; the others are read from the package alone.
SEALED = [path for path in OLDER_FILES if dataset(path.stem).sealed]


def put(root: Path, policy_id: str, data: bytes) -> None:
    path = dataset(policy_id).locate(root, {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --------------------------------------------------------------------------- upstream's


@pytest.mark.parametrize("policy_id", ACCEPTED)
def test_upstreams_policies_are_read_as_they_are(policy_id: str, tmp_path: Path) -> None:
    write_upstream(tmp_path)
    policy = resolve_policy(policy_id, external_roots=[tmp_path])
    assert (policy.origin, policy.path) == ("external", str(dataset(policy_id).locate(tmp_path, {})))
    assert policy.document["policy_id"] == policy_id


@pytest.mark.parametrize(
    ("policy_id", "change", "fragment"),
    [
        ("route_rng_policy_v1", {"rng_engine": "pcg64"}, "must be 'philox2x64-10'"),
        ("route_rng_policy_v1", {"policy_version": "one"}, "policy_version 'one' is not of the form"),
        ("route_rng_policy_v1", {"extensions": {"selection_log_enabled": True}}, "/extensions/selection_log_enabled"),
        ("alias_layout_policy_v1", {"endianness": "big"}, "must be 'little'"),
        ("alias_layout_policy_v1", {"extensions": {}}, "unknown key 'extensions'"),
        ("arrival_lgcp_config_5B", {"latent_model_id": "none"}, "/latent_model_id"),
        ("arrival_count_config_5B", {"count_law_id": "poisson"}, "/count_law_id"),
        ("grouping_policy_5B", {"mode": "by_merchant"}, "/mode"),
        ("bundle_layout_policy_5B", {"index_ordering": "by_size"}, "/index_ordering"),
        ("bundle_layout_policy_5B", {"bundle_root_template": "elsewhere/"}, "/bundle_root_template"),
    ],
)
def test_what_contradicts_the_engine_is_refused_by_name(
    policy_id: str, change: dict[str, Any], fragment: str, tmp_path: Path
) -> None:
    write_upstream(tmp_path, {policy_id: change})
    with pytest.raises(ArrivalError) as caught:
        resolve_policy(policy_id, external_roots=[tmp_path])
    assert fragment in caught.value.message
    assert caught.value.code is dataset(policy_id).on_invalid


@pytest.mark.parametrize("policy_id", ACCEPTED)
def test_upstreams_readers_find_the_same_values_in_the_packaged_policies(policy_id: str) -> None:
    import yaml

    # Theirs follow YAML 1.1, where `1e-9` is text.
    read = json.loads if dataset(policy_id).format == "json" else yaml.safe_load
    assert read(packaged_bytes(policy_id)) == floating(resolve_policy(policy_id).document)


def floating(document: Any) -> Any:
    return json.loads(json.dumps(document, default=float))


# --------------------------------------------------------------------------- those of 0.1.0


@pytest.mark.parametrize("path", SEALED, ids=lambda path: path.stem)
def test_a_policy_of_0_1_0_reads_as_todays(path: Path, tmp_path: Path) -> None:
    put(tmp_path, path.stem, path.read_bytes())
    older, today = resolve_policy(path.stem, run_root=tmp_path), resolve_policy(path.stem)
    assert older.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert pruned(older.document) == pruned(today.document)


def pruned(document: Any) -> Any:
    """Without the statements that 0.1.0 did not make, and without versions."""
    new = {"version", "group_feature_sources", "p0_law", "recurrence", "shape", "rate"}
    if isinstance(document, dict):
        return {key: pruned(value) for key, value in document.items() if key not in new}
    return [pruned(value) for value in document] if isinstance(document, list) else document


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"selection_log_enabled": false', '"selection_log_enabled": false, "surplus": 1'),
        ('"rng_engine": "philox2x64-10"', '"rng_engine": "philox2x64-10", "surplus": 1'),
        ('"unit": "edge", "draws": 2', '"unit": "edge", "draws": 2, "surplus": 1'),
        ('"edge_tile_assign": {"blocks": 1', '"edge_tile_assign": {"surplus": 1, "blocks": 1'),
        ('"rng_stream_id": "2B.routing"', '"rng_stream_id": "2B.routing", "surplus": 1'),
        ('"wrap_policy": "abort_on_wrap"}', '"wrap_policy": "wrap"}'),
        ('"rng_stream_id": "2B.routing"', '"rng_stream_id": "2B.other"'),
    ],
)
def test_a_policy_of_0_1_0_is_still_checked_key_by_key(old: str, new: str, tmp_path: Path) -> None:
    text = (OLDER / "route_rng_policy_v1.json").read_text(encoding="utf-8")
    assert old in text
    put(tmp_path, "route_rng_policy_v1", text.replace(old, new, 1).encode())
    with pytest.raises(ArrivalError) as caught:
        resolve_policy("route_rng_policy_v1", run_root=tmp_path)
    assert caught.value.code is dataset("route_rng_policy_v1").on_invalid


@pytest.mark.parametrize("path", OLDER_FILES, ids=lambda path: path.stem)
def test_a_hash_of_0_1_0_stands_for_a_file_of_the_same_values(path: Path) -> None:
    sha = hashlib.sha256
    before, today = path.read_bytes(), packaged_bytes(path.stem)
    assert SAME_MEANING[path.stem] == (sha(today).hexdigest(), sha(before).hexdigest())
    parse = parse_json if path.suffix == ".json" else parse_yaml
    old, new = values(parse(before)), values(parse(today))
    # Numbers decide a world; those that left a file, and which 2B's code has, are byte ranges and sizes of merchants.
    assert {number for number in old if number not in new} <= {float(bound) for bound in (8, 16, 24, 32)}


def values(document: Any) -> list[float]:
    if isinstance(document, dict):
        return [number for value in document.values() for number in values(value)]
    if isinstance(document, list):
        return [number for value in document for number in values(value)]
    if isinstance(document, (bool, str)):
        return []
    return [float(document)]


def test_every_packaged_policy_that_changed_its_form_is_listed() -> None:
    assert {path.stem for path in OLDER_FILES} == SAME_MEANING.keys()
    assert SAME_MEANING.keys() <= set(policy_ids())
