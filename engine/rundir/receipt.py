"""The run receipt: a run's identity, the places of its datasets, and further folders for its policies."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import ENOTDIR
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from arrival_engine.contracts import ArrivalError, Code, Identity, check_document, dataset
from arrival_engine.contracts.inside import InsidePath, inside
from arrival_engine.contracts.oserrors import reading, reason
from arrival_engine.engine.rundir.sealed_files import InputFile, SealedFiles, changed
from arrival_engine.engine.rundir.strict_json import read_json

if TYPE_CHECKING:
    from arrival_engine.config.policies import Policy

_RUN_ID = re.compile(r"[a-f0-9]{32}")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_HINT = "write a receipt with `arrivals synth`, or correct the one that is there"
_LISTED = 10
_ANY = {"scenario_id": "any", "utc_day": "2000-01-01"}


@dataclass(frozen=True)
class Receipt:
    """A checked `run_receipt.json`; `external_roots` are absolute, in the order they are searched.

    sealed: the inputs as a seal check has found them, which are then the only ones to be read; None before a check, and
    for readers that make none.
    """

    run_root: InsidePath
    identity: Identity
    external_roots: tuple[Path, ...]
    created_utc: str
    document: Mapping[str, Any]
    sealed: SealedFiles | None = field(default=None, repr=False, compare=False)

    def input(self, path: InsidePath) -> InputFile:
        """A file of an input; with `sealed`, one whose bytes are checked. Raises S0_GATE_MISSING_OR_INVALID."""
        if self.sealed is None:
            return InputFile(path)
        blocks = self.sealed.blocks.get(path.relative_to(self.run_root).as_posix())
        if blocks is None:
            raise changed(path)
        return InputFile(path, blocks)

    def open(self, path: InsidePath) -> IO[bytes]:
        """The bytes of a file of an input, as `input`. Raises OSError."""
        return self.input(path).open()

    def policy(self, policy_id: str) -> Policy:
        """The policy in force: with `sealed` that of the seal check, else resolved now, with the policy's errors."""
        if self.sealed is not None:
            return self.sealed.policies[policy_id]
        from arrival_engine.config.policies import resolve_policy

        return resolve_policy(policy_id, run_root=self.run_root, external_roots=self.external_roots)

    def path(self, dataset_id: str, **tokens: str) -> InsidePath:
        """A dataset's file or directory in this run; `tokens` are those that the identity lacks."""
        return dataset(dataset_id).locate(self.run_root, self.identity.tokens(**tokens))

    def part(self, dataset_id: str, index: int, **tokens: str) -> InsidePath:
        """Part file `index` (from 0) of a directory dataset with numbered parts."""
        return dataset(dataset_id).part(self.run_root, self.identity.tokens(**tokens), index)

    def files(self, dataset_id: str, **tokens: str) -> list[InsidePath]:
        """The dataset's existing files as `Dataset.files` lists them; with `sealed`, those of the seal check."""
        entry = dataset(dataset_id)
        if self.sealed is not None and entry.sealed:
            known = [self.run_root / path for path in self.sealed.of_dataset.get(dataset_id, ())]
            filled = self.identity.tokens(**tokens)
            tables = entry.format == "parquet" or entry.role == "validation_bundle"
            place = entry.folder(self.run_root, filled) if tables else entry.locate(self.run_root, filled)
            return [path for path in known if path.is_relative_to(place)]
        return entry.files(self.run_root, self.identity.tokens(**tokens))

    def partitions(
        self, dataset_id: str, by: Literal["scenario_id", "utc_day"] = "scenario_id"
    ) -> dict[str, InsidePath]:
        """The dataset's existing directories `<by>=<value>` by value, ascending.

        Raises IO_READ_FAILED if they cannot be listed, or if one of them is a link.
        """
        partition = self.path(dataset_id, **{by: _ANY[by]})
        # The template may put further levels below the partition's.
        while not partition.name.startswith(f"{by}="):
            partition = partition.parent
        folder, prefix = partition.parent, f"{by}="
        with reading("directory", folder):
            found = [child for child in folder.glob(f"{prefix}*") if child.is_dir()] if folder.is_dir() else []
        return {child.name.removeprefix(prefix): child for child in found}


def _neighbours(run_root: InsidePath) -> list[InsidePath]:
    """Child directories that have a receipt."""
    name = dataset("run_receipt").path
    return [path for path, kind in run_root.entries() if kind == "directory" and (path / name).kind() == "file"]


def _missing(run_root: InsidePath, path: InsidePath) -> ArrivalError:
    children = _neighbours(run_root)
    if children:
        shown = ", ".join(str(child) for child in children[:_LISTED])
        more = f" and {len(children) - _LISTED} more" if len(children) > _LISTED else ""
        hint = f"RUN_ROOT is the run directory itself; these below it have a receipt: {shown}{more}"
    else:
        hint = "give the run directory itself as RUN_ROOT, or make one with `arrivals synth RUN_ROOT`"
    return ArrivalError(
        Code.S0_GATE_MISSING_OR_INVALID,
        f"{run_root} has no run receipt {path.name}",
        hint=hint,
        path=path,
        candidates=[child.outside for child in children],
    )


def _identity(document: Mapping[str, Any], path: InsidePath) -> Identity:
    try:
        return Identity(
            manifest_fingerprint=document["manifest_fingerprint"],
            parameter_hash=document["parameter_hash"],
            seed=document["seed"],
            run_id=document["run_id"],
        )
    except ArrivalError as error:
        raise ArrivalError(
            error.code, f"{path}: {error.message}", hint=error.hint, **{**error.context, "path": path}
        ) from error


def _refuse_url(run_root: Path) -> None:
    # A path has lost one of the slashes. The rest is not told, because it may hold a key.
    if (url := _URL.match(str(run_root))) and not run_root.exists():
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"the run directory is given as a URL ({url[1]}://...), and a local directory is needed here",
            hint="download it first; seal, run, forecast and validate take URLs",
        )


def _refuse_nameless(run_root: Path) -> None:
    # Arrow and DuckDB accept only UTF-8 paths, and would fail in the middle of a run, each in its own way.
    try:
        os.fspath(run_root.absolute()).encode()
    except UnicodeEncodeError as error:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"the path of the run directory is not UTF-8: {os.fsencode(run_root)!r}",
            hint="rename the directory whose name has other bytes",
        ) from error


def read_receipt(run_root: Path | InsidePath) -> Receipt:
    """Read RUN_ROOT/run_receipt.json, check it against its schema, and take the run's identity from it.

    Raises S0_GATE_MISSING_OR_INVALID if it is missing or breaks its schema, PARTITION_OR_PK_VIOLATION if a value cannot
    be part of a path or the run id is not that of the directory's name, OPTION_INVALID for a URL, IO_READ_FAILED if it
    is unreadable.
    """
    root = inside(run_root)
    _refuse_nameless(root.outside)
    _refuse_url(root.outside)
    path = dataset("run_receipt").locate(root, {})
    with reading("run directory", root):
        if not root.outside.is_dir():
            raise NotADirectoryError(ENOTDIR, "not a directory" if root.outside.exists() else "no such directory")
        if not path.exists():
            raise _missing(root, path)
    code = Code.S0_GATE_MISSING_OR_INVALID
    document = read_json(path, what="run receipt", code=code, hint=_HINT)
    check_document("run_receipt", document, code=code, where=str(path))
    identity = _identity(document, path)
    folder = root.outside.resolve().name
    if _RUN_ID.fullmatch(folder) and folder != identity.run_id:
        raise ArrivalError(
            Code.PARTITION_OR_PK_VIOLATION,
            f"{path} belongs to run {identity.run_id}, but its directory is named {folder}",
            hint="put the receipt back into the directory of its run, or rename the directory",
            path=path,
            run_id=identity.run_id,
            directory=folder,
        )
    try:
        roots = tuple((root.outside / other).resolve() for other in document.get("external_roots", ()))
        for place in roots:
            str(place).encode()
    except (OSError, RuntimeError, ValueError) as failure:
        raise ArrivalError(
            code, f"{path}: an external root is not the path of a directory: {reason(failure)}", hint=_HINT, path=path
        ) from failure
    return Receipt(root, identity, roots, document["created_utc"], document)
