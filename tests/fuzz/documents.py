"""Documents of a run directory: receipt, policies, seal, bundles, reports."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from arrival_engine.config import packaged_bytes, policy_ids
from arrival_engine.config.policies import resolve_policy
from arrival_engine.contracts import ArrivalError, Code, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.adopting.job import _adoption, _checked
from arrival_engine.engine.adopting.version_1 import RULES
from arrival_engine.engine.report.records import read_run
from arrival_engine.engine.rundir.hashing import inventory_digest
from arrival_engine.engine.rundir.inputs import read_document
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.rundir.settings import POLICY_IDS, settings_from
from arrival_engine.engine.rundir.strict_json import parse_json, read_json_rows
from arrival_engine.engine.sealing.stored import read_stored
from arrival_engine.engine.sealing.upstream import SEGMENTS, _judge, _places, members_by_run_root
from arrival_engine.engine.validation.verify import verify
from tests.fuzz.mutation import mutated_bytes, mutated_files, mutated_json, mutated_yaml, one_of, packed, unpacked
from tests.fuzz.sample import copy_of, receipt_document, sample_bytes
from tests.fuzz.target import Opened, Target
from tests.support.seal_world import bundle_of, put_bundle, put_receipt
from tests.support.upstream_policies import VERSION_1

REPORT = "validation_report_5B.json"
ISSUES = "validation_issue_table_5B.parquet"


def _receipt(folder: Path) -> Opened:
    root = folder / "run"
    root.mkdir()
    file = root / "run_receipt.json"

    def read(data: bytes) -> str:
        file.write_bytes(data)
        receipt = read_receipt(root)
        assert receipt.path("run_receipt") is not None
        for token in receipt.identity.tokens().values():
            assert not set(token) & set("/\\\0")
        for external in receipt.external_roots:
            str(external).encode()
        return f"{len(receipt.external_roots)} external roots"

    document = {**receipt_document(), "external_roots": ["elsewhere", "/abs", "../up"]}
    return Opened([json.dumps(document).encode()], mutated_json, read)


def _policies(folder: Path) -> Opened:
    names = policy_ids()
    settings = {name: resolve_policy(name) for name in POLICY_IDS}
    places = {name: folder / dataset(name).path for name in names}
    for place in places.values():
        place.parent.mkdir(parents=True, exist_ok=True)

    def read(data: bytes) -> str:
        if not data:
            return "nothing"
        name = names[data[0] % len(names)]
        places[name].write_bytes(data[1:])
        try:
            policy = resolve_policy(name, run_root=folder)
        finally:
            places[name].unlink()
        if name in settings:
            settings_from({**settings, name: policy})
        return name

    def mutate(data: bytes, draw: Any) -> bytes:
        if not data:
            return data
        kind = mutated_json if dataset(names[data[0] % len(names)]).format == "json" else mutated_yaml
        return data[:1] + kind(data[1:], draw)

    return Opened([bytes([at]) + packaged_bytes(name) for at, name in enumerate(names)], mutate, read)


def _version_1(folder: Path) -> Opened:
    """Policies of version 1, translated; the first byte chooses the policy."""
    names = tuple(RULES)
    root = folder / "run"
    root.mkdir()
    put_receipt(root)
    receipt = read_receipt(root)

    def read(data: bytes) -> str:
        if not data:
            return "nothing"
        name = names[data[0] % len(names)]
        place = root / dataset(name).path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data[1:])
        try:
            found = _adoption(name, receipt)
            for adoption in found:
                _checked(adoption)
            return f"{name} {len(found)}"
        finally:
            place.unlink()

    def mutate(data: bytes, draw: Any) -> bytes:
        return data[:1] + mutated_yaml(data[1:], draw)

    # Every JSON document is YAML, and one key per line gives mutations lines.
    texts = {name: json.dumps(document, indent=1) for name, document in VERSION_1.items()}
    samples = [bytes([at]) + texts[name].encode() for at, name in enumerate(names) if name in texts]
    return Opened(samples, mutate, read)


def _seal(folder: Path) -> Opened:
    """Gate receipt and inventory of some rows."""
    gate = json.loads(sample_bytes("s0_gate_receipt_5B"))
    rows = json.loads(sample_bytes("sealed_inputs_5B"))[:4]
    root = copy_of(folder, "s0_gate_receipt_5B", "sealed_inputs_5B")
    receipt = read_receipt(root)
    places = [receipt.path(name).outside for name in ("s0_gate_receipt_5B", "sealed_inputs_5B")]

    def heal(files: list[bytes]) -> list[bytes]:
        try:
            stated, found = (json.loads(data) for data in files)
            stated |= {"sealed_inputs_digest": inventory_digest(found), "sealed_inputs_row_count": len(found)}
            return [json.dumps(stated).encode(), files[1]]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            return files

    def read(data: bytes) -> str:
        for place, content in zip(places, unpacked(data, 2), strict=True):
            place.write_bytes(content)
        stored = read_stored(receipt)
        assert stored is not None
        return f"{'structural' if stored.structural else 'plain'} {len(stored.statuses)}"

    sound = heal([json.dumps(gate).encode(), json.dumps(rows).encode()])
    return Opened([packed(sound)], mutated_files(mutated_json, mutated_json, heal=heal), read)


def _upstream(folder: Path) -> Opened:
    """The bundles of the segments upstream: the first byte chooses the segment; index and flag change."""
    root = folder / "run"
    root.mkdir()
    put_receipt(root)
    for segment in SEGMENTS:
        put_bundle(root, segment)
    receipt = read_receipt(root)
    names = {segment: "validation_bundle_index_5A.json" if segment == "5A" else "index.json" for segment in SEGMENTS}
    places = {
        segment: [root / bundle_of(segment) / name for name in (names[segment], "_passed.flag")] for segment in SEGMENTS
    }
    sound = {segment: [place.read_bytes() for place in places[segment]] for segment in SEGMENTS}
    files = mutated_files(mutated_json, one_of(mutated_bytes, mutated_json))

    def read(data: bytes) -> str:
        segment = SEGMENTS[(data or b"\0")[0] % len(SEGMENTS)]
        for place, content in zip(places[segment], unpacked(data[1:], 2), strict=True):
            place.write_bytes(content)
        try:
            # As `check_upstream` does for every segment, of which the others have not changed.
            status, _, reason = _judge(segment, _places(segment, receipt), receipt)
            members = list(members_by_run_root(receipt))
        finally:
            for place, content in zip(places[segment], sound[segment], strict=True):
                place.write_bytes(content)
        assert all(isinstance(member, str) for member in members)
        return f"{segment} {status} {reason.partition(':')[0][:20]}"

    def mutate(data: bytes, draw: Any) -> bytes:
        return data[:1] + files(data[1:], draw)

    return Opened([bytes([at]) + packed(sound[segment]) for at, segment in enumerate(SEGMENTS)], mutate, read)


def _bundle(folder: Path) -> Opened:
    """The validation bundle: index, flag and a member change; index and flag may be made to agree with the members."""
    root = copy_of(folder, "validation_bundle_5B", trees=["data/layer2/5B/arrival_events"])
    place = read_receipt(root).path("validation_bundle_5B").outside
    names = ["receipts/s0_gate_receipt_5B.json", "receipts/arrival_parts.json", REPORT, ISSUES]
    changing = [place / name for name in ("index.json", "_passed.flag", *names)]
    sound = [file.read_bytes() for file in changing]

    def heal(files: list[bytes]) -> list[bytes]:
        try:
            index, flag = (json.loads(data) for data in files[:2])
            changed = dict(zip(names, files[2:], strict=True))
            digest = hashlib.sha256()
            for entry in index["entries"]:
                content = changed.get(entry["path"]) or (place / entry["path"]).read_bytes()
                entry["sha256_hex"] = hashlib.sha256(content).hexdigest()
                digest.update(content)
            index["summary"]["bundle_sha256"] = flag["bundle_digest_sha256"] = digest.hexdigest()
            return [json.dumps(index).encode(), json.dumps(flag).encode(), *files[2:]]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError):
            return files

    def read(data: bytes) -> str:
        for file, content in zip(changing, unpacked(data, len(changing)), strict=True):
            file.write_bytes(content)
        return verify(root).status

    kinds = (mutated_json, mutated_json, mutated_bytes, mutated_json, mutated_json, mutated_bytes)
    return Opened([packed(sound)], mutated_files(*kinds, heal=heal), read)


def _report(folder: Path) -> Opened:
    """The validation report, as `arrivals report` reads it."""
    root = copy_of(folder, "validation_bundle_5B", trees=["reports"])
    receipt = read_receipt(root)
    place = receipt.path("validation_bundle_5B").outside / REPORT
    document = json.loads(place.read_bytes())
    document["checks"] = document["checks"][:6]

    def read(data: bytes) -> str:
        place.write_bytes(data)
        verdicts = read_run(receipt).verdicts
        assert verdicts is not None
        return f"{verdicts.passed} {len(verdicts.checks)}"

    return Opened([json.dumps(document).encode()], mutated_json, read)


def _input_documents(folder: Path) -> Opened:
    """JSON documents among the inputs; the first byte chooses."""
    names = ("edge_universe_hash_3B", "tz_timetable_cache_manifest", "virtual_routing_policy_3B")
    root = copy_of(folder, *names)
    receipt = read_receipt(root)

    def read(data: bytes) -> str:
        name = names[(data or b"\0")[0] % len(names)]
        receipt.path(name).outside.write_bytes(data[1:])
        read_document(receipt, name)
        return name

    def mutate(data: bytes, draw: Any) -> bytes:
        return data[:1] + mutated_json(data[1:], draw)

    return Opened([bytes([at]) + sample_bytes(name) for at, name in enumerate(names)], mutate, read)


def _json_rows(folder: Path) -> Opened:
    """The reader of documents that grow, compared with the reader of whole ones."""
    file = folder / "rows.json"
    place = InsidePath(folder, (file.name,))

    def read(data: bytes) -> str:
        file.write_bytes(data)
        rows: list[Any] = []
        try:
            streamed = read_json_rows(
                place, "rows", rows.extend, what="rows", code=Code.SCHEMA_VIOLATION, hint="restore"
            )
        except ArrivalError as error:
            streamed, refusal = None, error
        try:
            whole = parse_json(data)
        except ValueError:
            whole = None
        if isinstance(whole, dict):
            assert streamed is not None, "only the reader of whole documents accepts it"
            listed = whole.get("rows")
            assert rows == (listed if isinstance(listed, list) else [])
            assert {**streamed, **({"rows": rows} if isinstance(listed, list) else {})} == whole
            return "an object"
        assert streamed is None, "only the reader of rows accepts it"
        raise refusal

    sound = {"a": 1, "rows": [{"x": [1, "\u00e9\n"]}, 2.5, "z", None, True], "b": {"c": -1e5}}
    return Opened(
        [json.dumps(sound).encode(), json.dumps(sound, indent=1, ensure_ascii=False).encode()], mutated_json, read
    )


TARGETS = (
    Target("receipt", "run receipt and external roots", _receipt),
    Target("policy", "policies of version 2, YAML and JSON", _policies),
    Target("policy_version_1", "policies of version 1, translated", _version_1),
    Target("seal", "gate receipt and inventory", _seal),
    Target("upstream_bundle", "indexes and flags of the segments upstream", _upstream),
    Target("validation_bundle", "index, flag and members of the validation bundle", _bundle),
    Target("validation_report", "validation report, as the page for people reads it", _report),
    Target("input_document", "JSON documents among the inputs", _input_documents),
    Target("json_rows", "JSON documents read as a stream, compared with the whole", _json_rows),
)
