"""The inputs to seal: the scenarios of a run, the files of each artefact, the policies in force."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from arrival_engine.config import Policy
from arrival_engine.contracts import ArrivalError, Code, Dataset, Notice, check_token, dataset, datasets
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.rundir.receipt import Receipt

SCENARIO = "scenario_id"
_COUNTS, _GRID = "s3_bucket_counts_5B", "s1_time_grid_5B"
_TOKEN = re.compile(r"([a-z_0-9]+)=\{([a-z_0-9]+)\}")


@dataclass(frozen=True)
class Artefact:
    """A sealed dictionary entry with its files on disk or, for a policy, the resolved one."""

    dataset: Dataset
    files: tuple[InsidePath, ...]
    notes: str = ""
    policy: Policy | None = None

    def row(self, receipt: Receipt, sha256: str) -> dict[str, Any]:
        """The inventory row."""
        entry = self.dataset
        return {
            "manifest_fingerprint": receipt.identity.manifest_fingerprint,
            "parameter_hash": receipt.identity.parameter_hash,
            "owner_layer": entry.owner_layer,
            "owner_segment": entry.owner_segment,
            "artifact_id": entry.id,
            "manifest_key": entry.manifest_key,
            "role": entry.role,
            "schema_ref": entry.schema_ref,
            "path_template": entry.path,
            "partition_keys": list(entry.partitions),
            "sha256_hex": sha256,
            "status": entry.status,
            "read_scope": entry.read_scope,
            "notes": self.notes,
            "owner_team": entry.owner_team,
        }


@dataclass(frozen=True)
class Inventory:
    """The artefacts found, by id, and for each absent one that the job needs a line with the paths searched."""

    artefacts: Mapping[str, Artefact]
    missing: Mapping[str, str]

    def files(self) -> dict[str, tuple[InsidePath, ...]]:
        """The files of each artefact to hash; policies are hashed when they are resolved."""
        return {name: found.files for name, found in self.artefacts.items() if found.policy is None}

    def policies(self) -> dict[str, Policy]:
        """The policies in force."""
        return {name: found.policy for name, found in self.artefacts.items() if found.policy is not None}

    def notices(self) -> tuple[Notice, ...]:
        """One notice of the policies that differ between the places where they are looked up, if there are any."""
        chosen = {name: found for name, found in self.policies().items() if found.passed_over}
        if not chosen:
            return ()
        lines = [f"{name}: {found.path}, not {', '.join(found.passed_over)}" for name, found in chosen.items()]
        context = {name: {"path": found.path, "passed_over": found.passed_over} for name, found in chosen.items()}
        return (
            Notice(
                "POLICY_CHOSEN", f"files of policies differ, and the first is in force: {'; '.join(lines)}", context
            ),
        )


def sealed_datasets() -> tuple[Dataset, ...]:
    """The dictionary entries that a seal lists."""
    return tuple(entry for entry in datasets() if entry.sealed)


def scenario_set(receipt: Receipt) -> tuple[str, ...]:
    """The scenarios of the run, ascending: those with bucket counts, which must be those with a time grid.

    If one of the two datasets has no scenarios, those of the other. Raises S1_OR_S3_OUTPUT_MISSING if the two differ.
    """
    counts, grid = (
        [check_token(SCENARIO, scenario) for scenario in receipt.partitions(name)] for name in (_COUNTS, _GRID)
    )
    # A dataset without scenarios is a missing input, reported with the others.
    if counts and grid and counts != grid:
        only_counts, only_grid = sorted(set(counts) - set(grid)), sorted(set(grid) - set(counts))
        faults = [f"scenario {name!r} has bucket counts and no time grid" for name in only_counts]
        faults += [f"scenario {name!r} has a time grid and no bucket counts" for name in only_grid]
        raise ArrivalError(
            Code.S1_OR_S3_OUTPUT_MISSING,
            f"{receipt.run_root}: {'; '.join(faults)}",
            hint=f"complete {_GRID} and {_COUNTS} for every scenario, or remove what is left of an unwanted scenario",
            counts=counts,
            grid=grid,
        )
    return tuple(counts or grid)


def _partitions(entry: Dataset, scenarios: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if SCENARIO not in entry.partitions:
        yield {}
        return
    for scenario in scenarios:
        yield {SCENARIO: scenario}


def _where(entry: Dataset, receipt: Receipt, extra: Mapping[str, str]) -> str:
    """The path at which an absent dataset was expected, and the other partitions that exist there."""
    tokens = {SCENARIO: "*", **receipt.identity.tokens(), **extra}
    folder = receipt.run_root
    parts: list[str] = []
    for part in PurePosixPath(entry.path).parts:
        match = _TOKEN.fullmatch(part)
        name = part if match is None else f"{match[1]}={tokens[match[2]]}"
        if match is not None and not (folder / name).is_dir() and folder.is_dir():
            there = [child.name for child in folder.glob(f"{match[1]}=*")]
            if there:
                return f"no {'/'.join([*parts, name])}, but {', '.join(there)} there"
        folder /= name
        parts.append(name)
    return f"no {'/'.join(parts)}"


def _find(entry: Dataset, receipt: Receipt, scenarios: tuple[str, ...]) -> tuple[list[InsidePath], list[str]]:
    """The artefact's files by path below the run root, and a line for each absent partition."""
    files: list[InsidePath] = []
    absent: list[str] = []
    for extra in _partitions(entry, scenarios):
        found = receipt.files(entry.id, **extra)
        files += found
        if not found:
            absent.append(_where(entry, receipt, extra))
    if SCENARIO in entry.partitions and not scenarios:
        absent.append(_where(entry, receipt, {}))
    return sorted(files, key=lambda path: path.relative_to(receipt.run_root).as_posix()), absent


def _policy(entry: Dataset, receipt: Receipt) -> Artefact:
    policy = receipt.policy(entry.id)
    return Artefact(entry, (), f"origin={policy.origin}", policy)


def take_inventory(receipt: Receipt, scenarios: tuple[str, ...]) -> Inventory:
    """Find every sealed entry of the dictionary; unreadable directories and invalid policies raise."""
    artefacts: dict[str, Artefact] = {}
    missing: dict[str, str] = {}
    for entry in sealed_datasets():
        if entry.role == "policy":
            artefacts[entry.id] = _policy(entry, receipt)
            continue
        with reading("directory", receipt.run_root):
            files, absent = _find(entry, receipt, scenarios)
        if files:
            artefacts[entry.id] = Artefact(entry, tuple(files))
        if absent and entry.need == "always":
            missing[entry.id] = "; ".join(dict.fromkeys(absent))
    return Inventory(artefacts, missing)


def require_all(inventory: Inventory, receipt: Receipt) -> None:
    """Raise if inputs that the job needs are missing, naming all of them.

    S1_OR_S3_OUTPUT_MISSING if only 5B's own model tables are missing, else S0_GATE_MISSING_OR_INVALID.
    """
    if not inventory.missing:
        return
    codes = {dataset(name).on_invalid for name in inventory.missing}
    own = codes == {Code.S1_OR_S3_OUTPUT_MISSING}
    lines = [f"{name}: {where}" for name, where in inventory.missing.items()]
    raise ArrivalError(
        Code.S1_OR_S3_OUTPUT_MISSING if own else Code.S0_GATE_MISSING_OR_INVALID,
        f"{len(lines)} required inputs are missing under {receipt.run_root}: {' | '.join(lines)}",
        hint="put the data under this run's seed and manifest_fingerprint, or correct run_receipt.json",
        missing=dict(inventory.missing),
    )
