"""The two documents of a seal on disk, gate receipt and inventory, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, check_document
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.plainness import repeated
from arrival_engine.contracts.schemas import shown
from arrival_engine.engine.rundir.hashing import Row, inventory_digest
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import read_json

_CODE = Code.S0_GATE_MISSING_OR_INVALID
_STRUCTURAL = "structural_digest="
AGAIN = "restore both files of the seal, or remove both directories and run `arrivals seal RUN_ROOT`"


@dataclass(frozen=True)
class Places:
    """The paths of a run's seal."""

    gate: InsidePath
    inventory: InsidePath


@dataclass(frozen=True)
class Stored:
    """A stored seal whose digest and identity are checked; its artefacts are not."""

    places: Places
    gate: Mapping[str, Any]
    rows: tuple[Row, ...]

    @property
    def structural(self) -> bool:
        """Whether the reference implementation made it; most hashes then cover paths, not contents."""
        return any(is_structural(row) for row in self.rows)

    @property
    def statuses(self) -> dict[str, str]:
        """Status of each upstream segment."""
        return {name: entry["status"] for name, entry in sorted(self.gate["upstream_segments"].items())}


def is_structural(row: Row) -> bool:
    """Whether the row's hash covers the row's own description instead of the content."""
    return str(row.get("notes", "")).startswith(_STRUCTURAL)


def row_path(role: str, template: str) -> str:
    """A row's path in one form: with or without the final slash, a validation bundle's as that of its folder.

    2B's bundle has the path of its index in the contract, and had that of its folder in seals of version 0.1.
    """
    path = template.strip().rstrip("/")
    return path.removesuffix("/index.json") if role == "validation_bundle" else path


def places(receipt: Receipt) -> Places:
    """The paths of this run's gate receipt and inventory."""
    return Places(receipt.path("s0_gate_receipt_5B"), receipt.path("sealed_inputs_5B"))


def _invalid(what: str, hint: str = AGAIN, **context: object) -> ArrivalError:
    return ArrivalError(_CODE, what, hint=hint, **context)


def _document(schema: str, path: InsidePath) -> Any:
    document = read_json(path, what="seal", code=_CODE, hint=AGAIN)
    check_document(schema, document, code=_CODE, where=str(path))
    return document


def _check_identity(gate: Mapping[str, Any], receipt: Receipt, path: InsidePath) -> None:
    wrong = [
        f"{name} is {shown(gate[name])}, the run receipt has {value!r}"
        for name, value in receipt.identity.document().items()
        if gate[name] != value
    ]
    if wrong:
        raise _invalid(
            f"gate receipt {path} is of another run: {'; '.join(wrong)}",
            hint="each run directory has its own receipt and seal: put back the receipt that was sealed",
            path=path,
        )


def _check_rows(rows: list[Row], gate: Mapping[str, Any], path: InsidePath) -> None:
    for number, row in enumerate(rows):
        for name in ("manifest_fingerprint", "parameter_hash"):
            if row[name] != gate[name]:
                raise _invalid(f"{path}: row {number} ({row['artifact_id']}) has another {name}", path=path)
    twice = repeated(row["artifact_id"] for row in rows)
    if twice:
        raise _invalid(f"{path} lists more than once: {twice}", path=path, artefacts=twice)
    if len(rows) != gate["sealed_inputs_row_count"]:
        raise _invalid(
            f"{path} has {len(rows)} rows, the gate receipt says {gate['sealed_inputs_row_count']}", path=path
        )
    digest = inventory_digest(rows)
    if digest != gate["sealed_inputs_digest"]:
        raise _invalid(
            f"{path} has digest {digest}, the gate receipt says {gate['sealed_inputs_digest']}",
            path=path,
            sealed=gate["sealed_inputs_digest"],
            found=digest,
        )


def read_stored(receipt: Receipt) -> Stored | None:
    """Read this run's seal; None if there is no gate receipt, which is published last.

    Raises S0_GATE_MISSING_OR_INVALID for a seal that lacks its inventory, breaks a schema, belongs to another run, or
    whose rows differ from those sealed.
    """
    where = places(receipt)
    if not where.gate.exists():
        return None
    if not where.inventory.exists():
        raise _invalid(f"gate receipt {where.gate} has no inventory {where.inventory}", path=where.inventory)
    gate = _document("s0_gate_receipt_5B", where.gate)
    rows = _document("sealed_inputs_5B", where.inventory)
    _check_identity(gate, receipt, where.gate)
    _check_rows(rows, gate, where.inventory)
    return Stored(where, gate, tuple(rows))
