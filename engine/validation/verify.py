"""Verification of a validation bundle: index, members, digest, flag, and whether it is about what stands there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, check_document, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.process.machine import available_cores
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.flag import flag_of
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.sealing.stored import read_stored
from arrival_engine.engine.validation import arrival_parts
from arrival_engine.engine.validation.agreement import FAIL, PASS, READ_WHOLE, check_agreement
from arrival_engine.engine.validation.codes import own_codes
from arrival_engine.engine.validation.delivered import PolicyDifference, stated
from arrival_engine.engine.validation.records import read_logs, successes
from arrival_engine.engine.validation.revocation import without_flag

_READ_BYTES = 1 << 20
_INDEX_BYTES_MAX = 1 << 24
# A quarter of a million parts, and the findings of a thousand scenarios, take less.
_LISTING_BYTES_MAX, _MEMBER_BYTES_MAX = 1 << 28, 1 << 26


@dataclass(frozen=True)
class Bundle:
    """A consistent bundle: its digest, its members in order, whether it has passed, and the arrivals that it lists.

    arrivals, parts, arrival_bytes: rows, files and bytes of all scenarios. arrivals_hashed: whether `verify` has hashed
    the files again; it compares names and sizes in any case. not_compared: what the run directory lacks, so that
    `verify` could not compare it. policy_differences: the keys in which the validation policy differed from the
    delivered one.
    """

    folder: Path
    manifest_fingerprint: str
    status: str
    digest: str
    members: tuple[str, ...]
    policy_differences: tuple[PolicyDifference, ...]
    arrivals: int
    parts: int
    arrival_bytes: int
    arrivals_hashed: bool = False
    not_compared: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """A bundle that agrees with itself, its report, and the listing of the arrivals' parts."""

    bundle: Bundle
    report: Mapping[str, Any]
    listing: Mapping[str, Any]


def verify(
    run_root: Path | str, *, arrivals: bool = False, threads: int | None = None, reporter: Reporter | None = None
) -> Bundle:
    """Hash the validation bundle of a run again, and compare it with its index, its flag and the run directory.

    The report, its findings and the other members must agree. The run directory must have the identity, the seal, the
    run report's arrival digests and the part files that the bundle names: the files by name and size, with `arrivals`
    also by SHA-256, on `threads` threads (default: every core).

    Raises S5.BUNDLE_INDEX_INVALID, S5.BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH, S5.BUNDLE_DIGEST_MISMATCH,
    S5.FLAG_SCHEMA_VIOLATION, S5.S0_GATE_MISSING_OR_INVALID, S5.IO_READ_FAILED; OPTION_INVALID for `threads` without
    `arrivals`.
    """
    if threads is not None and not arrivals:
        raise ArrivalError(
            Code.OPTION_INVALID,
            "threads hash the arrivals, and these are not hashed",
            hint="pass arrivals=True as well",
        )
    with own_codes():
        receipt = read_receipt(Path(run_root))
        while True:
            before = _place(receipt)
            try:
                return _verified(receipt, arrivals=arrivals, threads=threads, reporter=reporter or Reporter())
            except ArrivalError:
                # A validation has put another bundle in place meanwhile: parts of both were read.
                if _place(receipt) == before:
                    raise


def _place(receipt: Receipt) -> tuple[int, int] | None:
    """What says whether another bundle is in place than before."""
    folder = receipt.path("validation_bundle_5B")
    with reading("validation bundle", folder):
        found = folder.stat() if folder.is_dir() else None
    return None if found is None else (found.st_dev, found.st_ino)


def _verified(receipt: Receipt, *, arrivals: bool, threads: int | None, reporter: Reporter) -> Bundle:
    folder, flag = receipt.path("validation_bundle_5B"), flag_of(receipt)
    with reading("validation bundle", folder):
        if not folder.is_dir():
            raise _without_bundle(receipt, folder)
        if not flag.exists():
            raise without_flag(receipt, flag)
    found = read_bundle(folder, receipt.identity.manifest_fingerprint)
    if found.bundle.status == FAIL:
        raise _broken(Code.S5_BUNDLE_INDEX_INVALID, folder, "is the bundle of a run that did not pass")
    left_out = _compare_run(receipt, found.report)
    arrival_parts.compare_parts(
        receipt, found.listing, hashed=arrivals, threads=threads or available_cores(), reporter=reporter
    )
    return replace(found.bundle, arrivals_hashed=arrivals, not_compared=left_out)


def _without_bundle(receipt: Receipt, folder: InsidePath) -> ArrivalError:
    failed = receipt.path("validation_failed_bundle_5B")
    if failed.is_dir():
        message = f"{receipt.run_root} has no bundle of a validation that passed: the last one failed, see {failed}"
        hint = "mend what it lists, then run `arrivals validate RUN_ROOT`"
    else:
        message = f"{receipt.run_root} has no validation bundle: it has not been validated"
        hint = "make one with `arrivals validate RUN_ROOT`"
    return ArrivalError(Code.S5_BUNDLE_INDEX_INVALID, message, hint=hint, path=folder)


def _compare_run(receipt: Receipt, report: Mapping[str, Any]) -> tuple[str, ...]:
    """Hold the report to the run directory; what this lacks. Raises S5.BUNDLE_INDEX_INVALID."""
    for name, value in receipt.identity.document().items():
        if report[name] != value:
            raise _of_another(receipt, f"its {name} is {report[name]}, the run receipt has {value}")
    stored = read_stored(receipt)
    if stored is not None and stored.gate["sealed_inputs_digest"] != report["sealed_inputs_digest"]:
        raise _of_another(receipt, "it is about another seal than the one that is there")
    lines = successes(read_logs(receipt))
    for scenario_id, digest in report["arrival_digests"].items():
        if scenario_id in lines and lines[scenario_id].get("arrival_digest") != digest:
            stated = lines[scenario_id].get("arrival_digest")
            raise _of_another(
                receipt, f"it is about {digest} of scenario {scenario_id}, the last run there made {stated}"
            )
    unreported = report["arrival_digests"].keys() - lines.keys()
    return (*(["seal"] if stored is None else []), *(["run report"] if unreported else []))


def _of_another(receipt: Receipt, why: str) -> ArrivalError:
    folder = receipt.path("validation_bundle_5B")
    return ArrivalError(
        Code.S5_BUNDLE_INDEX_INVALID,
        f"{folder} is not the bundle of what stands in {receipt.run_root}: {why}",
        hint="run `arrivals validate RUN_ROOT`",
        path=folder,
    )


def read_bundle(folder: InsidePath, manifest_fingerprint: str) -> Contents:
    """A bundle in any directory, hashed again and held to itself; one whose status is FAIL must have no flag.

    Raises as `verify` does.
    """
    with reading("validation bundle", folder):
        return _read_bundle(folder, manifest_fingerprint)


def _read_bundle(folder: InsidePath, manifest_fingerprint: str) -> Contents:
    names = {kind: _name(kind) for kind in ("bundle_index", "passed_flag")}
    index = _index(folder / names["bundle_index"], manifest_fingerprint)
    listed = [entry["path"] for entry in index["entries"]]
    _check_listing(folder, listed, set(names.values()))
    digest, members = hashlib.sha256(), {}
    for entry in index["entries"]:
        own, data = _add(digest, folder, entry["path"])
        members[entry["path"]] = data
        if own != entry["sha256_hex"]:
            raise _broken(
                Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH,
                folder / entry["path"],
                "does not have the hash that the index gives",
            )
    status = index["status"]
    _check_flag(folder / names["passed_flag"], status, manifest_fingerprint, digest.hexdigest())
    report, listing = check_agreement(index, digest.hexdigest(), members)
    parts = [part for scenario in listing["scenarios"] for part in scenario["parts"]]
    bundle = Bundle(
        folder.outside,
        manifest_fingerprint,
        status,
        digest.hexdigest(),
        tuple(listed),
        stated(report),
        arrivals=sum(part["rows"] for part in parts),
        parts=len(parts),
        arrival_bytes=sum(part["bytes"] for part in parts),
    )
    return Contents(bundle, report, listing)


def _name(kind: str) -> str:
    """The name of one of the bundle's own documents."""
    return PurePosixPath(dataset(f"validation_{kind}_5B").path).name


def _index(path: InsidePath, manifest_fingerprint: str) -> dict[str, Any]:
    code = Code.S5_BUNDLE_INDEX_INVALID
    if not path.is_file():
        raise _broken(code, path, "is missing")
    index = _document(code, path, "validation_bundle_index_5B", manifest_fingerprint, _INDEX_BYTES_MAX)
    if "status" not in index:
        raise _broken(code, path, "does not say whether the run has passed")
    return index


def _document(
    code: Code, path: InsidePath, dataset_id: str, manifest_fingerprint: str, bytes_max: int
) -> dict[str, Any]:
    with reading(path.name, path), path.open("rb") as file:
        data = file.read(bytes_max)
    try:
        document = parse_json(data)
    except ValueError as fault:
        raise _broken(code, path, f"is not valid JSON: {fault}") from None
    check_document(dataset(dataset_id).schema, document, code=code, where=str(path))
    if document["manifest_fingerprint"] != manifest_fingerprint:
        raise _broken(code, path, f"is of manifest_fingerprint {document['manifest_fingerprint']}")
    return dict(document)


def _check_listing(folder: InsidePath, listed: list[str], outside: set[str]) -> None:
    code = Code.S5_BUNDLE_INDEX_INVALID
    for path in listed:
        steps = path.split("/")
        if "\\" in path or "\0" in path or any(step in ("", ".", "..") for step in steps) or path in outside:
            raise _broken(code, folder, f"the index names {path!r}, which is not the path of a member")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise _broken(code, folder, f"the index names {path!r}, which is not valid Unicode text") from None
    if listed != sorted(set(listed), key=lambda path: path.encode("utf-8")):
        raise _broken(code, folder, "the index repeats a path, or its paths do not ascend")
    absent = {_name(kind) for kind in ("report", "issue_table")} - set(listed)
    if absent:
        raise _broken(code, folder, f"the index lacks {', '.join(sorted(absent))}")
    if arrival_parts.MEMBER not in listed:
        raise _unbound(folder)
    found = {path.relative_to(folder).as_posix() for path, _ in folder.walk()}
    strangers = sorted(found - set(listed) - outside)
    if strangers:
        raise _broken(code, folder, f"holds {', '.join(strangers)}, which the index does not list")


def _unbound(folder: InsidePath) -> ArrivalError:
    return ArrivalError(
        Code.S5_BUNDLE_INDEX_INVALID,
        f"{folder} lacks {arrival_parts.MEMBER}: it does not say which part files it is about, so it vouches for none",
        hint="an earlier version made it: run `arrivals validate RUN_ROOT`",
        path=folder,
    )


def _add(digest: Any, folder: InsidePath, relative: str) -> tuple[str, bytes]:
    """Add a member's bytes to the bundle's digest; return the member's own, and the bytes if they are looked into."""
    path = folder / relative
    with reading("bundle member", path):
        kind = path.kind()
    if kind != "file":
        raise _broken(Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH, path, "is missing")
    own, kept = hashlib.sha256(), bytearray()
    bytes_max = _LISTING_BYTES_MAX if relative == arrival_parts.MEMBER else _MEMBER_BYTES_MAX
    with reading("bundle member", path), path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            own.update(chunk)
            digest.update(chunk)
            if relative in READ_WHOLE:
                kept += chunk
            if len(kept) > bytes_max:
                raise _broken(Code.S5_BUNDLE_INDEX_INVALID, path, f"is larger than {bytes_max} bytes")
    return own.hexdigest(), bytes(kept)


def _check_flag(path: InsidePath, status: str, manifest_fingerprint: str, digest: str) -> None:
    code = Code.S5_FLAG_SCHEMA_VIOLATION
    if status != PASS:
        if path.exists():
            raise _broken(code, path, f"stands in a bundle whose status is {status}")
        return
    if not path.is_file():
        raise _broken(code, path, "is missing from a bundle that has passed")
    flag = _document(code, path, "validation_passed_flag_5B", manifest_fingerprint, _READ_BYTES)
    if flag["bundle_digest_sha256"] != digest:
        raise _broken(
            Code.S5_BUNDLE_DIGEST_MISMATCH, path, f"says {flag['bundle_digest_sha256']}, the bundle gives {digest}"
        )


def _broken(code: Code, path: InsidePath, what: str) -> ArrivalError:
    return ArrivalError(
        code,
        f"{path}: {what}" if not what.startswith("is ") else f"{path} {what}",
        hint="run `arrivals validate RUN_ROOT` again",
        path=path,
    )
