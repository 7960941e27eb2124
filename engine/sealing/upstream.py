"""Verifies the validation bundles of the segments upstream, each by its own law.

| segment    | index entries       | digest over                                 | paths below    | flag |
|------------|---------------------|---------------------------------------------|----------------|------|
| 1A, 1B, 2A | a list, or `files`  | the listed files' bytes, by path            | the bundle     | text |
| 2B         | a list, or `files`  | the listed files' bytes, by path            | the run root   | text |
| 3A         | `members`           | the members' hashes as text, by logical id  | bundle or root | text |
| 3B         | `members`           | the members' bytes, by path                 | the bundle     | text |
| 5A         | `entries`           | the entries' bytes, by path                 | the bundle     | JSON |

A text flag is the line `sha256_hex = <digest>`; a JSON flag has exactly a manifest_fingerprint and a
bundle_digest_sha256.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from errno import ENAMETOOLONG
from typing import Any, NamedTuple

from arrival_engine.contracts import ArrivalError, Code, bundle_index, check_document, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.openat import UnsafePathError
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.rundir.hashing import content_sha256
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.strict_json import parse_json, read_json

PASS, FAIL, MISSING = "PASS", "FAIL", "MISSING"
_FLAG_LINE = re.compile(rb"sha256_hex = ([a-f0-9]{64})\n?")
_FLAG_BYTES_MAX = 4096
_CODE = Code.UPSTREAM_HASHGATE_NOT_PASSED


class _Law(NamedTuple):
    key: str
    from_run_root: bool = False
    over_hashes: bool = False
    json_flag: bool = False


_LAWS = {
    "1A": _Law("files"),
    "1B": _Law("files"),
    "2A": _Law("files"),
    "2B": _Law("files", from_run_root=True),
    "3A": _Law("members", over_hashes=True),
    "3B": _Law("members"),
    "5A": _Law("entries", json_flag=True),
}
SEGMENTS = tuple(_LAWS)


@dataclass(frozen=True)
class Upstream:
    """The state of one segment's gate; paths are relative to the run root, `reason` says why it is not PASS."""

    segment: str
    status: str
    bundle_path: str
    flag_path: str
    bundle_digest: str = ""
    reason: str = ""

    def record(self) -> dict[str, str]:
        """The segment's entry in the gate receipt."""
        entry = {"status": self.status, "bundle_path": self.bundle_path, "flag_path": self.flag_path}
        if self.bundle_digest:
            entry["bundle_digest"] = self.bundle_digest
        return entry


class _BundleError(Exception):
    """Why a bundle does not pass."""


def _member(base: InsidePath, relative: str) -> InsidePath:
    """The file that an index names, below `base`."""
    parts = relative.split("/")
    if "\\" in relative or "\0" in relative or any(part in ("", ".", "..") for part in parts):
        raise _BundleError(f"the index names {relative!r}, which is not a plain relative path")
    try:
        relative.encode()
    except UnicodeEncodeError:
        raise _BundleError(f"the index names {relative!r}, which is not valid Unicode text") from None
    return base / relative


def _is_file(path: InsidePath) -> bool:
    try:
        return path.is_file()
    except UnsafePathError as refused:
        raise _BundleError(f"the index names a path that is refused: {refused.strerror}") from None
    except OSError as failure:
        if failure.errno != ENAMETOOLONG:
            raise
        raise _BundleError("the index names a path that is too long to be a file's") from None


def _entries(index: Any, law: _Law) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = index if isinstance(index, list) else index[law.key]
    order = "logical_id" if law.over_hashes else "path"
    keys = [entry.get(order) for entry in entries]
    if not keys:
        raise _BundleError("the index lists nothing")
    if any(key is None for key in keys):
        raise _BundleError(f"an index entry has no {order}")
    if len(set(keys)) != len(keys):
        raise _BundleError(f"the index repeats a {order}")
    return sorted(entries, key=lambda entry: str(entry[order]))


def _hash_text(entries: list[dict[str, Any]], bases: tuple[InsidePath, ...]) -> str:
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(entry["sha256_hex"].encode("ascii"))
        # A member may be a dataset in another place; one that is a file here must have the hash of the index.
        for path in (_member(base, entry["path"]) for base in bases):
            if _is_file(path) and content_sha256([path]) != entry["sha256_hex"]:
                raise _BundleError(f"{entry['path']} does not have the hash that the index gives")
    return digest.hexdigest()


def _hash_bytes(entries: list[dict[str, Any]], base: InsidePath) -> str:
    paths = [_member(base, entry["path"]) for entry in entries]
    for entry, path in zip(entries, paths, strict=True):
        if not _is_file(path):
            raise _BundleError(f"the index lists {entry['path']}, which is not there")
        stated = entry.get("sha256_hex")
        if stated is not None and content_sha256([path]) != stated:
            raise _BundleError(f"{entry['path']} does not have the hash that the index gives")
    return content_sha256(paths)


def _flagged_digest(path: InsidePath, law: _Law, manifest_fingerprint: str) -> str:
    with reading("flag", path), path.open("rb") as file:
        data = file.read(_FLAG_BYTES_MAX)
    if not law.json_flag:
        match = _FLAG_LINE.fullmatch(data)
        if match is None:
            raise _BundleError("the flag is not the one line `sha256_hex = <64 hex digits>`")
        return match[1].decode("ascii")
    try:
        flag = parse_json(data)
    except ValueError as error:
        raise _BundleError(f"the flag is not valid JSON: {error}") from None
    check_document("passed_flag", flag, code=_CODE, where=str(path))
    if flag["manifest_fingerprint"] != manifest_fingerprint:
        raise _BundleError(f"the flag is of manifest_fingerprint {flag['manifest_fingerprint']}")
    return str(flag["bundle_digest_sha256"])


@dataclass(frozen=True)
class _Places:
    bundle: InsidePath
    index: InsidePath
    flag: InsidePath


def _places(segment: str, receipt: Receipt) -> _Places:
    flag = receipt.path(f"validation_passed_flag_{segment}")
    index = receipt.path(bundle_index(segment).id)
    return _Places(bundle=index.parent, index=index, flag=flag)


def bundle_digest(segment: str, receipt: Receipt) -> str:
    """The digest of a segment's bundle by its law; UPSTREAM_HASHGATE_NOT_PASSED for a broken bundle."""
    places = _places(segment, receipt)
    try:
        return _digest(segment, places, receipt)
    except _BundleError as fault:
        raise ArrivalError(
            _CODE,
            f"bundle of {segment} at {places.bundle}: {fault}",
            hint=f"restore the validation bundle of {segment}",
            segment=segment,
            path=places.bundle,
        ) from None


def _digest(segment: str, places: _Places, receipt: Receipt) -> str:
    law = _LAWS[segment]
    if not places.index.is_file():
        raise _BundleError(f"there is no {places.index.name}")
    index = read_json(places.index, what="bundle index", code=_CODE, hint=f"restore the bundle of {segment}")
    check_document(bundle_index(segment).schema, index, code=_CODE, where=str(places.index))
    entries = _entries(index, law)
    if law.over_hashes:
        return _hash_text(entries, (places.bundle, receipt.run_root))
    return _hash_bytes(entries, receipt.run_root if law.from_run_root else places.bundle)


def _judge(segment: str, places: _Places, receipt: Receipt) -> tuple[str, str, str]:
    """Status, digest and reason."""
    if not places.index.is_file() and not places.flag.is_file():
        return MISSING, "", f"there is no {places.index.name} and no {places.flag.name} in {places.bundle}"
    digest = ""
    try:
        digest = _digest(segment, places, receipt)
        if not places.flag.is_file():
            return FAIL, digest, f"there is no {places.flag.name}, which only a passed segment has"
        flagged = _flagged_digest(places.flag, _LAWS[segment], receipt.identity.manifest_fingerprint)
    except _BundleError as fault:
        return FAIL, digest, str(fault)
    except ArrivalError as error:
        # A read error says nothing about the segment.
        if error.code is not _CODE:
            raise
        return FAIL, digest, error.message
    if flagged != digest:
        return FAIL, digest, f"the flag says {flagged}, the bundle gives {digest}"
    return PASS, digest, ""


def members_by_run_root(receipt: Receipt) -> Iterator[str]:
    """The paths below the run root that bundle indexes name, as written; a broken index gives none.

    For callers that fetch the files before the bundles are checked.
    """
    for segment, law in _LAWS.items():
        places = _places(segment, receipt)
        if not (law.from_run_root or law.over_hashes) or not places.index.is_file():
            continue
        try:
            index = parse_json(places.index.read_bytes())
            entries = _entries(index, law)
        except (ValueError, TypeError, KeyError, AttributeError, _BundleError):
            continue
        yield from (str(entry.get("path")) for entry in entries)


def check_upstream(receipt: Receipt) -> Iterator[Upstream]:
    """The state of each segment for this run's manifest_fingerprint, in the order of `SEGMENTS`.

    A bad bundle is a status, not an error. Raises IO_READ_FAILED if a file cannot be read.
    """
    for segment in SEGMENTS:
        places = _places(segment, receipt)
        status, digest, reason = _judge(segment, places, receipt)
        bundle, flag = (
            dataset(f"{name}_{segment}").relative(receipt.identity.tokens())
            for name in ("validation_bundle", "validation_passed_flag")
        )
        yield Upstream(segment, status, bundle, flag, digest, reason)
