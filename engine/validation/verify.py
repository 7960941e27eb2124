"""Verification of a validation bundle: index, members, digest over them, and flag."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, check_document, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.rundir.flag import flag_of
from arrival_engine.engine.rundir.receipt import Receipt, read_receipt
from arrival_engine.engine.rundir.strict_json import parse_json
from arrival_engine.engine.validation.delivered import PolicyDifference, stated
from arrival_engine.engine.validation.revocation import without_flag

PASS, FAIL = "PASS", "FAIL"
_READ_BYTES = 1 << 20
_INDEX_BYTES_MAX = 1 << 24


@dataclass(frozen=True)
class Bundle:
    """A consistent bundle: its digest, its members in order, and whether it has passed.

    policy_differences: the keys in which the validation policy differed from the delivered one, as the report says.
    """

    folder: Path
    manifest_fingerprint: str
    status: str
    digest: str
    members: tuple[str, ...]
    policy_differences: tuple[PolicyDifference, ...]


def verify(run_root: Path | str) -> Bundle:
    """Hash the validation bundle of a run again and compare it with its index and flag.

    Raises S5.BUNDLE_INDEX_INVALID, S5.BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH, S5.BUNDLE_DIGEST_MISMATCH,
    S5.FLAG_SCHEMA_VIOLATION, S5.IO_READ_FAILED.
    """
    receipt = read_receipt(Path(run_root))
    folder = receipt.path("validation_bundle_5B")
    if not folder.is_dir():
        raise _without_bundle(receipt, folder)
    flag = flag_of(receipt)
    if not flag.exists():
        raise without_flag(receipt, flag)
    return verify_bundle(folder, receipt.identity.manifest_fingerprint)


def _without_bundle(receipt: Receipt, folder: InsidePath) -> ArrivalError:
    failed = receipt.path("validation_failed_bundle_5B")
    if failed.is_dir():
        message = f"{receipt.run_root} has no bundle of a validation that passed: the last one failed, see {failed}"
        hint = "mend what it lists, then run `arrivals validate RUN_ROOT`"
    else:
        message = f"{receipt.run_root} has no validation bundle: it has not been validated"
        hint = "make one with `arrivals validate RUN_ROOT`"
    return ArrivalError(Code.S5_BUNDLE_INDEX_INVALID, message, hint=hint, path=folder)


def verify_bundle(folder: InsidePath, manifest_fingerprint: str) -> Bundle:
    """The same for a bundle in any directory; one whose status is FAIL must have no flag."""
    names = {kind: _name(kind) for kind in ("bundle_index", "passed_flag")}
    index = _index(folder / names["bundle_index"], manifest_fingerprint)
    listed = [entry["path"] for entry in index["entries"]]
    _check_listing(folder, listed, set(names.values()))
    digest = hashlib.sha256()
    for entry in index["entries"]:
        if _add(digest, folder, entry["path"]) != entry["sha256_hex"]:
            raise _broken(
                Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH,
                folder / entry["path"],
                "does not have the hash that the index gives",
            )
    report = _document(
        Code.S5_BUNDLE_INDEX_INVALID,
        folder / _name("report"),
        "validation_report_5B",
        manifest_fingerprint,
        _INDEX_BYTES_MAX,
    )
    _check_policy(folder / names["bundle_index"], index, report)
    status = str(index.get("status", PASS))
    _check_flag(folder / names["passed_flag"], status, manifest_fingerprint, digest.hexdigest())
    return Bundle(folder.outside, manifest_fingerprint, status, digest.hexdigest(), tuple(listed), stated(report))


def _name(kind: str) -> str:
    """The name of one of the bundle's own documents."""
    return PurePosixPath(dataset(f"validation_{kind}_5B").path).name


def _index(path: InsidePath, manifest_fingerprint: str) -> dict[str, Any]:
    code = Code.S5_BUNDLE_INDEX_INVALID
    if not path.is_file():
        raise _broken(code, path, "is missing")
    return _document(code, path, "validation_bundle_index_5B", manifest_fingerprint, _INDEX_BYTES_MAX)


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
    found = {path.relative_to(folder).as_posix() for path, _ in folder.walk()}
    strangers = sorted(found - set(listed) - outside)
    if strangers:
        raise _broken(code, folder, f"holds {', '.join(strangers)}, which the index does not list")


def _check_policy(path: InsidePath, index: dict[str, Any], report: dict[str, Any]) -> None:
    """The index repeats what the report says about the validation policy."""
    if index.get("summary", {}).get("validation_policy") != report.get("validation_policy"):
        raise _broken(
            Code.S5_BUNDLE_INDEX_INVALID, path, "does not say what the report says about the validation policy"
        )


def _add(digest: Any, folder: InsidePath, relative: str) -> str:
    """Add a member's bytes to the bundle's digest; return the member's own."""
    path = folder / relative
    with reading("bundle member", path):
        kind = path.kind()
    if kind != "file":
        raise _broken(Code.S5_BUNDLE_MEMBER_MISSING_OR_HASH_MISMATCH, path, "is missing")
    own = hashlib.sha256()
    with reading("bundle member", path), path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            own.update(chunk)
            digest.update(chunk)
    return own.hexdigest()


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
        hint="move the bundle away and run `arrivals validate RUN_ROOT` again",
        path=path,
    )
