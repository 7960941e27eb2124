"""Find, read and check policies: the run's own file first, then external roots, then the packaged file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from arrival_engine.config.rules import first_fault
from arrival_engine.config.strict import FormatError, parse_json, parse_yaml
from arrival_engine.contracts.dictionary import Dataset, dataset, datasets
from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.schemas import check_document, json_schema

SIZE_MAX = 1 << 20
_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)")

Origin = Literal["run", "external", "packaged"]


@dataclass(frozen=True)
class Policy:
    """A checked policy: its place, the SHA-256 of its bytes, and its content with exact decimals."""

    id: str
    path: str
    sha256: str
    version: str
    origin: Origin
    document: Mapping[str, Any]


def policy_ids() -> tuple[str, ...]:
    """The ids of all policies, in dictionary order."""
    return tuple(entry.id for entry in datasets() if entry.role == "policy")


def packaged_bytes(policy_id: str) -> bytes:
    """The bytes of the packaged policy."""
    return files("arrival_engine.config").joinpath(*_packaged_parts(_entry(policy_id))).read_bytes()


def resolve_policy(policy_id: str, *, run_root: Path | None = None, external_roots: Sequence[Path] = ()) -> Policy:
    """The first existing file among RUN_ROOT/config/..., each external root's config/..., and the packaged policy.

    Numbers with a fraction or exponent are Decimal, exactly as written. Raises IO_READ_FAILED for a file that cannot
    be read, else the policy's `on_invalid` code, naming the file and the key.
    """
    entry = _entry(policy_id)
    roots: list[tuple[Origin, Path]] = [("external", Path(root)) for root in external_roots]
    if run_root is not None:
        roots.insert(0, ("run", Path(run_root)))
    for origin, root in roots:
        path = root / entry.path
        data = _read(entry, path)
        if data is not None:
            return _policy(entry, data, str(path), origin)
    return _policy(entry, packaged_bytes(policy_id), entry.path, "packaged")


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


def _read(entry: Dataset, path: Path) -> bytes | None:
    """The file's bytes, or None if the path does not exist. A path that exists but cannot be read is an error."""
    with reading("policy", path, hint="make the file readable, or remove it to use the packaged policy"):
        if not (path.exists() or path.is_symlink()):
            return None
        with path.open("rb") as stream:
            data = stream.read(SIZE_MAX + 1)
    if len(data) > SIZE_MAX:
        raise _invalid(entry, str(path), f"is larger than {SIZE_MAX} bytes")
    return data


def _policy(entry: Dataset, data: bytes, path: str, origin: Origin) -> Policy:
    try:
        document = parse_json(data) if entry.format == "json" else parse_yaml(data)
    except FormatError as error:
        raise _invalid(entry, path, str(error)) from error
    version = _accepted_version(entry, document, path)
    check_document(entry.schema, document, code=entry.on_invalid, where=path)
    fault = first_fault(entry.id, document)
    if fault is not None:
        raise _invalid(entry, path, f"{fault[0]} {fault[1]}", key=fault[0])
    return Policy(entry.id, path, hashlib.sha256(data).hexdigest(), version, origin, document)


def _accepted_version(entry: Dataset, document: object, path: str) -> str:
    """The document's version, if the implemented version is a dotted prefix of it (without a leading v)."""
    if not isinstance(document, dict):
        raise _invalid(entry, path, f"is {type(document).__name__}, not a mapping of keys")
    version = document.get("version")
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise _invalid(entry, path, f"version {version!r} is not of the form v1.2.3", key="version")
    wanted = json_schema(entry.schema)["x-accepts-version"]
    # An empty prefix: the two sealed layer-1 policies must have a version, but any is accepted.
    if wanted and match.group(1).split(".")[: len(wanted.split("."))] != wanted.split("."):
        what = f"version {version!r} is not accepted; this engine implements v{wanted}"
        raise _invalid(entry, path, what, key="version")
    return str(version)


def _invalid(entry: Dataset, path: str, what: str, *, key: str = "") -> ArrivalError:
    return ArrivalError(
        entry.on_invalid,
        f"{path}: {what}",
        hint=f"correct the file; contracts/schemas/{entry.schema}.schema.json describes {entry.id}",
        policy=entry.id,
        path=path,
        key=key,
    )
