"""The S0 gate: hashes every input of a run, then writes the inventory and the gate receipt once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, Notice, compact_json
from arrival_engine.contracts.moments import utc_now
from arrival_engine.engine.alias_blobs.inputs import edge_slices, site_slices
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import Row, content_hashes, inventory_digest, row_order
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import exclusive, owned_staging, publish_files, write_file
from arrival_engine.engine.rundir.strict_json import check_size
from arrival_engine.engine.sealing.inventory import require_all, scenario_set, take_inventory
from arrival_engine.engine.sealing.stored import Places, Stored, places, read_stored, row_path
from arrival_engine.engine.sealing.upstream import PASS, Upstream, check_upstream

SPEC_VERSION = "1.0.0"


@dataclass(frozen=True)
class SealResult:
    """The result of `seal`; `changed` is False if the same seal existed, and no file was touched."""

    changed: bool
    digest: str
    row_count: int
    scenario_set: tuple[str, ...]
    upstream: Mapping[str, str]
    created_utc: str
    gate_path: Path | str  # URLs if the run directory is in an object store
    inventory_path: Path | str
    notices: tuple[Notice, ...]


@dataclass(frozen=True)
class _Findings:
    """The contents of a seal, except its time."""

    rows: tuple[Row, ...]
    scenarios: tuple[str, ...]
    upstream: tuple[Upstream, ...]
    inventory_notices: tuple[Notice, ...]

    def gate(self, receipt: Receipt, created_utc: str) -> dict[str, Any]:
        return {
            **receipt.identity.document(),
            "created_utc": created_utc,
            "upstream_segments": {gate.segment: gate.record() for gate in self.upstream},
            "scenario_set": list(self.scenarios),
            "sealed_inputs_digest": inventory_digest(self.rows),
            "sealed_inputs_row_count": len(self.rows),
            "spec_version": SPEC_VERSION,
        }

    def statuses(self) -> dict[str, str]:
        return {gate.segment: gate.status for gate in self.upstream}

    def notices(self) -> tuple[Notice, ...]:
        return self.inventory_notices + tuple(
            Notice(
                "UPSTREAM_NOT_PASSED",
                f"segment {gate.segment} is {gate.status}; `arrivals run` will refuse this: {gate.reason}",
                {"segment": gate.segment, "status": gate.status, "reason": gate.reason},
            )
            for gate in self.upstream
            if gate.status != PASS
        )


def _find(receipt: Receipt, reporter: Reporter) -> _Findings:
    with reporter.phase("find inputs"):
        scenarios = scenario_set(receipt)
        inventory = take_inventory(receipt, scenarios)
        require_all(inventory, receipt)
    with reporter.phase("verify upstream bundles"):
        upstream = tuple(check_upstream(receipt))
    files = inventory.files()
    with reporter.phase("decode alias blobs"):
        decoded = {} if places(receipt).gate.exists() else _blob_hashes(receipt)
    with reporter.phase("hash inputs"):
        hashed = content_hashes({name: files[name] for name in files.keys() - decoded.keys()}, reporter)
    hashes = {name: found.sha256 for name, found in hashed.items()} | decoded
    hashes |= {name: policy.sha256 for name, policy in inventory.policies().items()}
    rows = [found.row(receipt, hashes[name]) for name, found in inventory.artefacts.items()]
    return _Findings(tuple(sorted(rows, key=row_order)), scenarios, upstream, inventory.notices())


def _blob_hashes(receipt: Receipt) -> dict[str, str]:
    """The content hashes of the alias blobs, which are decoded so that damage is found before the first run.

    Against an existing seal, a changed blob is reported as changed, damaged or not.
    """
    return {"s2_alias_blob": site_slices(receipt).sha256, "edge_alias_blob_3B": edge_slices(receipt).sha256}


# `notes` says where a policy was found; a new place is not a change as long as the bytes are the same. `status` and
# `schema_ref` are the contract's words for an artefact, which another version of this engine may know better.
_WORDS = ("notes", "status", "schema_ref")


def _substance(row: Row) -> Row:
    """A row without the words that say nothing about the sealed bytes."""
    path = row_path(row["role"], row["path_template"])
    return {**{key: value for key, value in row.items() if key not in _WORDS}, "path_template": path}


def _changes(stored: Stored, found: _Findings) -> list[str]:
    """Differences between an existing seal and the inputs now, one line each."""
    before, now = ({row["artifact_id"]: _substance(row) for row in rows} for rows in (stored.rows, found.rows))
    lines: list[str] = []
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            lines.append(f"{name} removed (sealed {before[name]['sha256_hex']}, now absent)")
        elif name not in before:
            lines.append(f"{name} added (not sealed, now {now[name]['sha256_hex']})")
        elif before[name]["sha256_hex"] != now[name]["sha256_hex"]:
            lines.append(f"{name} changed (sealed {before[name]['sha256_hex']}, now {now[name]['sha256_hex']})")
        elif before[name] != now[name]:
            fields = sorted(key for key in now[name] if before[name].get(key) != now[name][key])
            lines.append(f"{name} is described differently ({', '.join(fields)})")
    sealed_scenarios = tuple(stored.gate["scenario_set"])
    if sealed_scenarios != found.scenarios:
        lines.append(f"scenarios changed (sealed {list(sealed_scenarios)}, now {list(found.scenarios)})")
    for segment, status in found.statuses().items():
        sealed = stored.statuses.get(segment, "not judged")
        if sealed != status:
            lines.append(f"segment {segment} changed (sealed {sealed}, now {status})")
    return lines


def _hint(stored: Stored) -> str:
    if stored.structural:
        return "this world was sealed by another producer: run it as it is, `arrivals run` verifies that seal"
    if any(status != PASS for status in stored.statuses.values()):
        return (
            "no run can have used this seal, because not every upstream segment had passed: "
            f"remove {stored.places.gate} and {stored.places.inventory}, then seal again"
        )
    return (
        "a seal never changes: restore the inputs, or start a new run: copy them into a new run directory "
        "whose run_receipt.json has a new run_id, then `arrivals seal` that directory"
    )


def _result(receipt: Receipt, gate: Mapping[str, Any], found: _Findings, *, changed: bool) -> SealResult:
    where = places(receipt)
    return SealResult(
        changed=changed,
        digest=gate["sealed_inputs_digest"],
        row_count=gate["sealed_inputs_row_count"],
        scenario_set=found.scenarios,
        upstream=found.statuses(),
        created_utc=gate["created_utc"],
        gate_path=where.gate.outside,
        inventory_path=where.inventory.outside,
        notices=found.notices(),
    )


def _write(receipt: Receipt, where: Places, found: _Findings) -> dict[str, Any]:
    gate = found.gate(receipt, utc_now())
    with owned_staging(receipt.run_root, "seal") as folder:
        inventory = compact_json(list(found.rows))
        check_size(inventory, what="sealed_inputs_5B")
        inventory_file = write_file(folder / where.inventory.name, inventory)
        gate_file = write_file(folder / where.gate.name, compact_json(gate))
        # The gate receipt goes last: without it, an inventory is not a seal.
        publish_files([(inventory_file, where.inventory), (gate_file, where.gate)])
    return gate


def seal(run_root: Path, reporter: Reporter | None = None) -> SealResult:
    """Verify and hash every input of the run at `run_root`, then write its inventory and gate receipt.

    If nothing has changed since an earlier seal, its files stay. Upstream segments that did not pass are recorded, with
    a notice; `verify_seal` refuses them. Raises S1_OR_S3_OUTPUT_MISSING or S0_GATE_MISSING_OR_INVALID for missing
    inputs (all at once) and for a damaged seal, SITE_RESOLUTION_FAILED or EDGE_RESOLUTION_FAILED for a damaged alias
    blob in a run without a seal, IO_WRITE_CONFLICT if an existing seal differs, IO_READ_FAILED, IO_WRITE_FAILED, and
    the errors of reading the receipt and the policies.
    """
    reporter = reporter if reporter is not None else Reporter()
    receipt = read_receipt(Path(run_root))
    found = _find(receipt, reporter)
    for notice in found.notices():
        reporter.notice(notice)
    with reporter.phase("write seal"), exclusive(receipt.run_root, "seal"):
        stored = read_stored(receipt)
        if stored is None:
            gate = _write(receipt, places(receipt), found)
            return _result(receipt, gate, found, changed=True)
        changes = _changes(stored, found)
        if changes:
            raise ArrivalError(
                Code.IO_WRITE_CONFLICT,
                f"{receipt.run_root} is sealed ({stored.gate['created_utc']}) and its inputs differ: "
                + "; ".join(changes),
                hint=_hint(stored),
                path=stored.places.gate,
                changes=changes,
            )
        return _result(receipt, stored.gate, found, changed=False)
