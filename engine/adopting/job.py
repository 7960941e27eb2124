"""Adopting a run of the reference pipeline: its policies of version 1 become version 2, then the run is sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from arrival_engine.config.policies import (
    RUN_REFERENCE,
    Policy,
    PolicyFile,
    checked_policy,
    policy_files,
    policy_ids,
    raw_document,
    resolve_policy,
)
from arrival_engine.contracts import ArrivalError, Code, Notice, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.adopting.counterparts import (
    CarriedValue,
    Difference,
    NoCounterpartError,
    Translation,
    law,
    translate,
)
from arrival_engine.engine.adopting.version_1 import RULES
from arrival_engine.engine.adopting.yaml_text import yaml_bytes
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.staging import exclusive, replace_file
from arrival_engine.engine.sealing import seal, verify_seal
from arrival_engine.engine.sealing.stored import read_stored

Status = Literal["written", "replaced", "unchanged", "accepted", "packaged"]
SealState = Literal["sealed", "unchanged", "reference", "none"]


@dataclass(frozen=True)
class AdoptOptions:
    """Options of `adopt`.

    replace: overwrite policies of the run directory that differ from what is adopted; seal: seal the run afterwards.
    """

    replace: bool = False
    seal: bool = True


@dataclass(frozen=True)
class AdoptedPolicy:
    """One policy of the run, and what became of it.

    status: `written`, `replaced` or `unchanged` for one that was translated from `source`; `accepted` for one that is
    read as it is, `packaged` for one that the pipeline has not. `path` is the file in force.
    """

    policy: str
    status: Status
    path: str
    version: str
    source: str | None = None
    source_version: str | None = None
    carried: tuple[CarriedValue, ...] = ()
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class AdoptResult:
    """The run's policies, and its seal.

    seal: `sealed` now, `unchanged` since an earlier `arrivals seal`, or `reference` for the pipeline's own seal, which
    is verified and stays; `none` if the options say so, and then without digest and inputs. `changed` is False if no
    file was touched.
    """

    changed: bool
    policies: tuple[AdoptedPolicy, ...]
    seal: SealState
    sealed_inputs_digest: str
    sealed_inputs: int
    notices: tuple[Notice, ...]


class _Adoption(NamedTuple):
    """A policy of version 1, and the file that it becomes."""

    policy_id: str
    source: PolicyFile
    source_version: str
    translation: Translation
    target: InsidePath
    data: bytes
    standing: bytes | None

    def result(self, version: str) -> AdoptedPolicy:
        status: Status = "written" if self.standing is None else "replaced"
        return AdoptedPolicy(
            policy=self.policy_id,
            status="unchanged" if self.standing == self.data else status,
            path=str(self.target),
            version=version,
            source=str(self.source.path),
            source_version=self.source_version,
            carried=self.translation.carried,
            differences=self.translation.differences,
        )


def adopt(run_root: Path | str, options: AdoptOptions | None = None, reporter: Reporter | None = None) -> AdoptResult:
    """Translate the run's policies of version 1 to version 2, write them into the run directory, and seal it.

    A policy that the engine reads as it is stays as it is. Nothing is written if a policy cannot be translated, or if a
    file in the way differs and `options.replace` is not set; adopting again changes nothing. Raises the policy's own
    code for a key or value without a counterpart, IO_WRITE_CONFLICT for a file in the way and for a run that was sealed
    with other policies, and the errors of `seal`, of reading the receipt and of reading the policies.
    """
    options = options or AdoptOptions()
    reporter = reporter if reporter is not None else Reporter()
    receipt = read_receipt(Path(run_root))
    with reporter.phase("translate policies"):
        adoptions = [found for name in RULES for found in _adoption(name, receipt)]
        results = {found.policy_id: found.result(_checked(found).version) for found in adoptions}
        # Before anything is written: one that cannot be read would stop the seal.
        others = {name: _other(receipt, name) for name in policy_ids() if name not in results}
        pending = [found for found in adoptions if found.standing != found.data]
        _refuse_in_the_way(pending, receipt, replace=options.replace)
        _refuse_other_seal(adoptions, receipt)
    if pending:
        with reporter.phase("write policies"), exclusive(receipt.run_root, "adopt"):
            for found in pending:
                replace_file("policy", found.target, found.data)
    state, digest, count, notices = _sealed(receipt, reporter) if options.seal else ("none", "", 0, ())
    return AdoptResult(
        changed=bool(pending) or state == "sealed",
        policies=tuple({**results, **others}[name] for name in policy_ids()),
        seal=state,
        sealed_inputs_digest=digest,
        sealed_inputs=count,
        notices=notices,
    )


def _adoption(policy_id: str, receipt: Receipt) -> Sequence[_Adoption]:
    """The policy's adoption, if a file of version 1 is among those that are looked up."""
    files = policy_files(policy_id, run_root=receipt.run_root, external_roots=receipt.external_roots)
    for source in files:
        document = raw_document(policy_id, source.data, str(source.path))
        version = document.get("version")
        if isinstance(version, str) and version.removeprefix("v").split(".")[0] == "1":
            break
    else:
        return ()
    base = resolve_policy(policy_id).document
    try:
        translation = translate(
            document, (law("version", version, why="version 2 is this engine's"), *RULES[policy_id]), base
        )
    except NoCounterpartError as fault:
        raise _refused(policy_id, source, fault) from None
    comment = f"Translated from {policy_id} {version}, SHA-256\n{_sha256(source.data)},\nby `arrivals adopt`."
    entry = dataset(policy_id)
    first = entry.locate(receipt.run_root / RUN_REFERENCE, {})
    standing = {file.path: file.data for file in files}
    # The place that is looked up first, if the run has a file there; else one that only this engine looks up.
    target = first if first in standing else entry.locate(receipt.run_root, {})
    data = yaml_bytes(translation.document, comment)
    return (_Adoption(policy_id, source, version, translation, target, data, standing.get(target)),)


def _refused(policy_id: str, source: PolicyFile, fault: NoCounterpartError) -> ArrivalError:
    return ArrivalError(
        dataset(policy_id).on_invalid,
        f"{source.path}: {fault.key} {fault}",
        hint=f"write version 2 of {policy_id} by hand, below config/ of the run directory: the reference of policies "
        "describes its keys, and the packaged one is an example",
        policy=policy_id,
        path=source.path,
        key=fault.key,
    )


def _checked(found: _Adoption) -> Policy:
    """Version 2, checked; a value that version 1 allows and version 2 does not is an error of the source."""
    return checked_policy(found.policy_id, found.data, f"{found.source.path} as version 2")


def _other(receipt: Receipt, policy_id: str) -> AdoptedPolicy:
    policy = resolve_policy(policy_id, run_root=receipt.run_root, external_roots=receipt.external_roots)
    status: Status = "packaged" if policy.origin == "packaged" else "accepted"
    return AdoptedPolicy(policy_id, status, policy.path, policy.version)


def _refuse_in_the_way(pending: Sequence[_Adoption], receipt: Receipt, *, replace: bool) -> None:
    standing = [found for found in pending if found.standing is not None]
    if standing and not replace:
        raise ArrivalError(
            Code.IO_WRITE_CONFLICT,
            "; ".join(f"{found.target} differs from what {found.source.path} becomes" for found in standing),
            hint=f"keep copies of what you need, then `arrivals adopt {shell_word(str(receipt.run_root))} --replace`",
            paths=[str(found.target) for found in standing],
        )


def _refuse_other_seal(adoptions: Sequence[_Adoption], receipt: Receipt) -> None:
    stored = read_stored(receipt) if adoptions else None
    if stored is None:
        return
    sealed = {row["artifact_id"]: row["sha256_hex"] for row in stored.rows}
    if stored.structural:
        # The pipeline sealed the bytes of what is translated here.
        for found in adoptions:
            now = _sha256(found.source.data)
            if sealed.get(found.policy_id, now) != now:
                raise ArrivalError(
                    Code.S0_GATE_MISSING_OR_INVALID,
                    f"{found.source.path} is not the {found.policy_id} that was sealed ({stored.gate['created_utc']}): "
                    f"sealed {sealed[found.policy_id]}, now {now}",
                    hint="restore the file that was sealed, or name the pipeline's repository in external_roots of "
                    "run_receipt.json",
                    path=found.source.path,
                )
        return
    other = [found.policy_id for found in adoptions if sealed.get(found.policy_id) != _sha256(found.data)]
    if other:
        raise ArrivalError(
            Code.IO_WRITE_CONFLICT,
            f"{receipt.run_root} is sealed ({stored.gate['created_utc']}) with another {', '.join(other)}",
            hint="a seal never changes: start a new run: copy the inputs into a new run directory whose "
            "run_receipt.json has a new run_id, then `arrivals adopt` that directory",
            path=stored.places.gate,
            policies=other,
        )


def _sealed(receipt: Receipt, reporter: Reporter) -> tuple[SealState, str, int, tuple[Notice, ...]]:
    stored = read_stored(receipt)
    if stored is not None and stored.structural:
        verified = verify_seal(receipt, reporter)
        return "reference", verified.digest, verified.row_count, verified.notices
    result = seal(receipt.run_root.outside, reporter)
    return "sealed" if result.changed else "unchanged", result.digest, result.row_count, result.notices


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
