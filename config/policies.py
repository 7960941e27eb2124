"""Find, read and check policies: the run's own files first, then external roots, then the packaged file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from arrival_engine.config.forms import restated
from arrival_engine.config.rules import first_fault
from arrival_engine.config.strict import FormatError, parse_json, parse_yaml
from arrival_engine.contracts.dictionary import Dataset, dataset, datasets
from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath, inside
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.schemas import check_document, json_schema

SIZE_MAX = 1 << 20
_ADOPT = "translate it to version 2 with `arrivals adopt RUN_ROOT`, which carries its values over"
_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)")

Origin = Literal["run", "external", "packaged"]
# The first place of a run's own policies, and the reference implementation's only one; `config/...` is below it.
RUN_REFERENCE = "reference"


@dataclass(frozen=True)
class Policy:
    """A checked policy: its place, the SHA-256 of its bytes, and its content with exact decimals.

    `passed_over` are the places after it that hold other bytes.
    """

    id: str
    path: str
    sha256: str
    version: str
    origin: Origin
    document: Mapping[str, Any]
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyFile:
    """A policy's file as it is found, not checked."""

    path: InsidePath
    origin: Origin
    data: bytes


def policy_ids() -> tuple[str, ...]:
    """The ids of all policies, in dictionary order."""
    return tuple(entry.id for entry in datasets() if entry.role == "policy")


def packaged_bytes(policy_id: str) -> bytes:
    """The bytes of the packaged policy."""
    return files("arrival_engine.config").joinpath(*_packaged_parts(_entry(policy_id))).read_bytes()


def resolve_policy(
    policy_id: str, *, run_root: Path | InsidePath | None = None, external_roots: Sequence[Path] = ()
) -> Policy:
    """The first existing file of `policy_files`, else the packaged policy.

    Numbers with a fraction or exponent are Decimal, exactly as written. Raises IO_READ_FAILED for a file that cannot
    be read, else the policy's `on_invalid` code, naming the file and the key.
    """
    entry = _entry(policy_id)
    found = policy_files(policy_id, run_root=run_root, external_roots=external_roots)
    if not found:
        return _policy(entry, packaged_bytes(policy_id), entry.path, "packaged")
    first, *rest = found
    passed_over = tuple(str(file.path) for file in rest if file.data != first.data)
    return replace(_policy(entry, first.data, str(first.path), first.origin), passed_over=passed_over)


def policy_files(
    policy_id: str, *, run_root: Path | InsidePath | None = None, external_roots: Sequence[Path] = ()
) -> tuple[PolicyFile, ...]:
    """The policy's existing files, in the order in which they are looked up.

    RUN_ROOT/reference/config/..., RUN_ROOT/config/..., then config/... of each external root. Raises IO_READ_FAILED for
    a file that cannot be read, the policy's `on_invalid` code for one that is too large.
    """
    entry = _entry(policy_id)
    roots: list[tuple[Origin, InsidePath]] = [("external", InsidePath(root)) for root in external_roots]
    if run_root is not None:
        roots = [("run", inside(run_root) / RUN_REFERENCE), ("run", inside(run_root)), *roots]
    read = [(root / entry.path, origin, _read(entry, root / entry.path)) for origin, root in roots]
    return tuple(PolicyFile(path, origin, data) for path, origin, data in read if data is not None)


def _entry(policy_id: str) -> Dataset:
    entry = dataset(policy_id)
    if entry.role != "policy":
        raise ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"{policy_id} is not a policy",
            hint=f"policies are {', '.join(policy_ids())}",
            policy=policy_id,
        )
    return entry


def _packaged_parts(entry: Dataset) -> list[str]:
    # Dictionary paths start with "config/", the package itself.
    return entry.path.split("/")[1:]


def _read(entry: Dataset, path: InsidePath) -> bytes | None:
    """The file's bytes, or None if the path does not exist. A path that exists but cannot be read is an error."""
    with reading("policy", path, hint="make the file readable, or remove it to use the packaged policy"):
        if not path.exists():
            return None
        with path.open("rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    if len(data) > SIZE_MAX:
        raise _invalid(entry, str(path), f"is larger than {SIZE_MAX} bytes")
    return data


def checked_policy(policy_id: str, data: bytes, where: str) -> Policy:
    """The policy of these bytes, checked as a file of the run; `where` names them in messages."""
    return _policy(_entry(policy_id), data, where, "run")


def raw_document(policy_id: str, data: bytes, where: str) -> dict[str, Any]:
    """The keys and values of a policy's bytes, whatever its version. Raises the policy's `on_invalid` code."""
    entry = _entry(policy_id)
    try:
        document = parse_json(data) if entry.format == "json" else parse_yaml(data)
    except FormatError as error:
        raise _invalid(entry, where, str(error)) from error
    if not isinstance(document, dict):
        raise _invalid(entry, where, f"is {type(document).__name__}, not a mapping of keys")
    return document


def _policy(entry: Dataset, data: bytes, path: str, origin: Origin) -> Policy:
    document = restated(entry.id, raw_document(entry.id, data, path))
    version = _accepted_version(entry, document, path)
    check_document(entry.schema, document, code=entry.on_invalid, where=path, hint=_correct(entry))
    fault = first_fault(entry.id, document)
    if fault is not None:
        raise _invalid(entry, path, f"{fault[0]} {fault[1]}", key=fault[0])
    return Policy(entry.id, path, hashlib.sha256(data).hexdigest(), version, origin, document)


def _accepted_version(entry: Dataset, document: Mapping[str, Any], path: str) -> str:
    """The document's version, if the implemented version is a dotted prefix of it (without a leading v)."""
    schema = json_schema(entry.schema)
    key = "policy_version" if "policy_version" in schema["properties"] else "version"
    version = document.get(key)
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise _invalid(entry, path, f"{key} {version!r} is not of the form v1.2.3", key=key)
    wanted = schema["x-accepts-version"]
    # An empty prefix: the two sealed layer-1 policies must have a version, but any is accepted.
    if wanted and match.group(1).split(".")[: len(wanted.split("."))] != wanted.split("."):
        what = f"{key} {version!r} is not accepted; this engine implements v{wanted}"
        hint = _ADOPT if wanted == "2" and match.group(1).split(".")[0] == "1" else ""
        raise _invalid(entry, path, what, key=key, hint=hint)
    return str(version)


def _correct(entry: Dataset) -> str:
    schema = f"correct the file; contracts/schemas/{entry.schema}.schema.json says what is allowed there"
    # The seal has the hash of the policy.
    sealed = ". If the run is sealed, remove its seal, then run `arrivals seal RUN_ROOT`" if entry.sealed else ""
    return f"{schema}{sealed}"


def _invalid(entry: Dataset, path: str, what: str, *, key: str = "", hint: str = "") -> ArrivalError:
    return ArrivalError(
        entry.on_invalid,
        f"{path}: {what}",
        hint=hint or _correct(entry),
        policy=entry.id,
        path=path,
        key=key,
    )
