"""Checks, before a run uses them, that the inputs are still those that were sealed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from arrival_engine.contracts import ArrivalError, Code, Notice, dataset
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.hashing import Hashed, Row, content_hashes, structural_digest
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.sealed_files import SealedFiles
from arrival_engine.engine.sealing.inventory import (
    Inventory,
    require_all,
    scenario_set,
    sealed_datasets,
    take_inventory,
)
from arrival_engine.engine.sealing.stored import AGAIN, Stored, is_structural, places, read_stored, row_path
from arrival_engine.engine.sealing.upstream import PASS, SEGMENTS, bundle_digest

_CODE = Code.S0_GATE_MISSING_OR_INVALID
# These are version 2 here: in a world sealed by the reference implementation they have other bytes for certain.
_REPLACED_POLICIES = frozenset(
    {
        "arrival_rng_policy_5B",
        "arrival_routing_policy_5B",
        "arrival_time_placement_policy_5B",
        "validation_policy_5B",
    }
)
_BUNDLE_ROLES = frozenset({"validation_bundle", "validation_flag"})


@dataclass(frozen=True)
class Seal:
    """A seal; `sha256` maps each sealed artefact to the hash in its row.

    files: the inputs as `verify_seal` found them; None after `read_seal`.
    """

    digest: str
    row_count: int
    spec_version: str
    scenario_set: tuple[str, ...]
    created_utc: str
    sha256: Mapping[str, str]
    structural: bool
    notices: tuple[Notice, ...]
    files: SealedFiles | None = field(default=None, repr=False, compare=False)

    def bind(self, receipt: Receipt) -> Receipt:
        """The receipt for readers of inputs: they get the bytes that the check has hashed, or an error.

        Unchanged for a seal of `read_seal`, which hashes nothing.
        """
        return receipt if self.files is None else replace(receipt, sealed=self.files)


class Difference(NamedTuple):
    """One artefact whose hash differs from the sealed one."""

    artefact: str
    sealed: str
    found: str

    def __str__(self) -> str:
        return f"{self.artefact}: sealed {self.sealed}, now {self.found}"


@dataclass
class _Review:
    """The results of comparing a seal with the disk."""

    differences: list[Difference] = field(default_factory=list)
    unsealed: list[str] = field(default_factory=list)
    uncovered: list[str] = field(default_factory=list)
    replaced: list[Difference] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


class _Look(NamedTuple):
    """The current state of the disk: artefacts, their content hashes, the ids that a seal may list."""

    receipt: Receipt
    inventory: Inventory
    hashes: Mapping[str, Hashed]
    known: frozenset[str]
    structural: bool


def _require(receipt: Receipt) -> Stored:
    stored = read_stored(receipt)
    if stored is None:
        gate = places(receipt).gate
        raise ArrivalError(
            _CODE,
            f"{receipt.run_root} is not sealed: there is no {gate}",
            hint="run `arrivals seal RUN_ROOT` first",
            path=gate,
        )
    open_gates = {name: stored.statuses.get(name, "not judged") for name in SEGMENTS}
    failed = {name: status for name, status in open_gates.items() if status != PASS}
    if failed:
        raise ArrivalError(
            Code.UPSTREAM_HASHGATE_NOT_PASSED,
            f"{stored.places.gate}: {', '.join(f'{name} is {status}' for name, status in failed.items())}",
            hint=f"bring the validation bundles of {', '.join(failed)} to PASS, remove {stored.places.gate} "
            f"and {stored.places.inventory}, then run `arrivals seal RUN_ROOT`",
            segments=failed,
            path=stored.places.gate,
        )
    return stored


def _check_scenarios(stored: Stored, receipt: Receipt) -> tuple[str, ...]:
    """The scenarios on disk, checked against those sealed (the reference's seals may list more)."""
    sealed, found = set(stored.gate["scenario_set"]), scenario_set(receipt)
    extra = sorted(set(found) - sealed)
    gone = [] if stored.structural else sorted(sealed - set(found))
    if extra or gone:
        raise ArrivalError(
            _CODE,
            f"{receipt.run_root}: scenarios sealed {sorted(sealed)}, now {list(found)}",
            hint="restore the scenarios that were sealed, or start a new run with those that are there",
            added=extra,
            removed=gone,
        )
    return found


def _find_now(row: Row, look: _Look) -> str:
    """The hash that the row would have if the artefact were sealed now."""
    name = row["artifact_id"]
    if is_structural(row):
        return structural_digest(row)
    artefact = look.inventory.artefacts.get(name)
    if artefact is None:
        return "absent" + (f" ({look.inventory.missing[name]})" if name in look.inventory.missing else "")
    if look.structural and row["role"] in _BUNDLE_ROLES:
        # The reference seals bundle and flag under the digest of the bundle.
        return bundle_digest(row["owner_segment"], look.receipt)
    return artefact.policy.sha256 if artefact.policy else look.hashes[name].sha256


def _left_behind(row: Row, look: _Look) -> bool:
    """Whether a seal of the reference lists an artefact that nothing here reads and that was not brought along."""
    name = row["artifact_id"]
    return look.structural and name not in look.inventory.artefacts and dataset(name).need == "never"


def _same_path(row: Row, look: _Look) -> bool:
    artefact = look.inventory.artefacts.get(row["artifact_id"])
    if artefact is None:
        return True
    here = row_path(row["role"], artefact.dataset.path)
    return row_path(row["role"], row["path_template"]) == here


def _review_row(row: Row, look: _Look, review: _Review) -> None:
    name, sealed = row["artifact_id"], row["sha256_hex"]
    known = name in look.known
    if not known and not look.structural:
        review.differences.append(Difference(name, sealed, "not an artefact that this version knows"))
        return
    if not is_structural(row) and (not known or _left_behind(row, look)):
        review.foreign.append(name)
        return
    found = Difference(name, sealed, _find_now(row, look))
    if found.sealed != found.found:
        replaced = look.structural and name in _REPLACED_POLICIES
        (review.replaced if replaced else review.differences).append(found)
    if not _same_path(row, look):
        read = look.inventory.artefacts[name].dataset.path
        review.differences.append(Difference(name, f"as {row['path_template']}", f"read as {read}"))
    if is_structural(row):
        read_here = known and dataset(name).need != "never"
        (review.uncovered if read_here else review.foreign).append(name)


def _look(stored: Stored, inventory: Inventory, receipt: Receipt, reporter: Reporter) -> _Look:
    # What is not sealed by its content is hashed only if it is read, to hold later readers to the same bytes.
    wanted = {row["artifact_id"] for row in stored.rows if not is_structural(row)}
    files = {
        name: paths for name, paths in inventory.files().items() if name in wanted or dataset(name).need != "never"
    }
    hashes = content_hashes(files, reporter)
    known = frozenset(entry.id for entry in sealed_datasets())
    return _Look(receipt, inventory, hashes, known, stored.structural)


def _judge(stored: Stored, look: _Look) -> _Review:
    review = _Review()
    for row in stored.rows:
        _review_row(row, look, review)
    sealed = {row["artifact_id"] for row in stored.rows}
    read = [*look.inventory.artefacts, *look.inventory.missing]
    review.unsealed += [name for name in dict.fromkeys(read) if name not in sealed]
    return review


def _refuse(review: _Review, stored: Stored, receipt: Receipt) -> None:
    if review.differences:
        elsewhere = (
            "name the pipeline's repository in external_roots of run_receipt.json, " if stored.structural else ""
        )
        raise ArrivalError(
            _CODE,
            f"{len(review.differences)} inputs of {receipt.run_root} are not what was sealed "
            f"({stored.gate['created_utc']}): {'; '.join(map(str, review.differences))}",
            hint=f"{elsewhere}restore the inputs that were sealed (a policy: its file below RUN_ROOT/config), or start "
            "a new run with those that are there: a new run directory and run_id, then `arrivals seal`",
            differences=[difference._asdict() for difference in review.differences],
        )
    if review.unsealed and not stored.structural:
        raise ArrivalError(
            _CODE,
            f"{stored.places.inventory} has no row for {', '.join(review.unsealed)}, which the job reads",
            hint=f"remove what was added after sealing, or: {AGAIN}",
            unsealed=review.unsealed,
        )


def _structural_notice(review: _Review) -> Notice:
    parts = []
    if review.uncovered:
        parts.append(f"path instead of content is sealed for {', '.join(review.uncovered)}")
    if review.unsealed:
        parts.append(f"nothing is sealed for {', '.join(review.unsealed)}")
    if review.replaced:
        parts.append(f"{', '.join(map(str, review.replaced))} (replaced by the policies of this engine's arrival law)")
    if review.foreign:
        parts.append(f"not read here, hence not checked: {', '.join(review.foreign)}")
    return Notice(
        "SEAL_STRUCTURAL",
        f"the reference implementation sealed this world, and not all of it is covered: {'; '.join(parts)}",
        {
            "structural": review.uncovered,
            "unsealed": review.unsealed,
            "replaced": [difference._asdict() for difference in review.replaced],
            "foreign": review.foreign,
        },
    )


def verify_seal(receipt: Receipt, reporter: Reporter | None = None) -> Seal:
    """Read the run's seal, hash everything it lists again, and return it if all hashes agree.

    `Seal.bind` then gives the receipt with which later readers are held to the bytes hashed here.

    A seal made by the reference implementation is accepted, with one notice of what it does not cover. Raises
    S0_GATE_MISSING_OR_INVALID for a missing, damaged or foreign seal, for inputs that differ from it (all of them, with
    both hashes) and for inputs without a row; UPSTREAM_HASHGATE_NOT_PASSED unless every upstream segment is PASS;
    S1_OR_S3_OUTPUT_MISSING, IO_READ_FAILED, and the errors of resolving the policies.
    """
    reporter = reporter if reporter is not None else Reporter()
    with reporter.phase("seal check"):
        stored = _require(receipt)
        scenarios = _check_scenarios(stored, receipt)
        inventory = take_inventory(receipt, scenarios)
        look = _look(stored, inventory, receipt, reporter)
        review = _judge(stored, look)
        _refuse(review, stored, receipt)
        require_all(inventory, receipt)
    # A seal of content has settled which file of a policy is in force; another one is a difference, refused above.
    notices = (*inventory.notices(), _structural_notice(review)) if stored.structural else ()
    for notice in notices:
        reporter.notice(notice)
    return replace(_seal(stored, scenarios, notices), files=_files(look))


def _files(look: _Look) -> SealedFiles:
    root, artefacts = look.receipt.run_root, look.inventory.artefacts
    paths = {name: tuple(path.relative_to(root).as_posix() for path in artefacts[name].files) for name in look.hashes}
    blocks = {
        path: found
        for name, hashed in look.hashes.items()
        for path, found in zip(paths[name], hashed.blocks, strict=True)
    }
    return SealedFiles(blocks, paths, look.inventory.policies())


def read_seal(receipt: Receipt) -> Seal:
    """The run's seal as stored, for readers of single arrivals; no input is hashed.

    Raises S0_GATE_MISSING_OR_INVALID for a missing, damaged or foreign seal, UPSTREAM_HASHGATE_NOT_PASSED.
    """
    stored = _require(receipt)
    return _seal(stored, _check_scenarios(stored, receipt), ())


def _seal(stored: Stored, scenarios: tuple[str, ...], notices: tuple[Notice, ...]) -> Seal:
    return Seal(
        digest=stored.gate["sealed_inputs_digest"],
        row_count=len(stored.rows),
        spec_version=stored.gate["spec_version"],
        scenario_set=scenarios,
        created_utc=stored.gate["created_utc"],
        sha256={row["artifact_id"]: row["sha256_hex"] for row in stored.rows},
        structural=stored.structural,
        notices=notices,
    )
