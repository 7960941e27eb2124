"""The dataset dictionary: the path, keys, order and error code of each dataset.

Only `dictionary.yaml` states paths and partitions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.identity import check_token
from arrival_engine.contracts.inside import InsidePath, inside
from arrival_engine.contracts.oserrors import reading

Format = Literal["parquet", "json", "jsonl", "binary", "text", "yaml", "folder"]
_FORMATS = ("parquet", "json", "jsonl", "binary", "text", "yaml", "folder")
_ROLES = ("dataset", "document", "log", "member", "policy", "validation_bundle", "validation_flag")
_STATUSES = ("REQUIRED", "OPTIONAL")
_NEEDS = ("always", "if_present", "never")
_READ_SCOPES = ("ROW_LEVEL", "METADATA_ONLY")
_TOKEN = re.compile(r"\{([a-z_]+)\}")
# Places are found below a directory of the user's own or, where files are opened, below a root.
Root = TypeVar("Root", Path, InsidePath)


@dataclass(frozen=True)
class Dataset:
    """One dictionary entry. `path` has unfilled `{tokens}`; a directory's path ends in `/`.

    status: the contract's word for an inventory row; need: whether this engine reads the dataset.
    """

    id: str
    path: str
    partitions: tuple[str, ...]
    format: Format
    kind: Literal["file", "directory"]
    part_name: str
    primary_key: tuple[str, ...]
    order: tuple[str, ...]
    schema: str
    schema_ref: str
    manifest_key: str
    owner_layer: str
    owner_segment: str
    owner_team: str
    role: str
    status: Literal["REQUIRED", "OPTIONAL"]
    need: Literal["always", "if_present", "never"]
    read_scope: Literal["ROW_LEVEL", "METADATA_ONLY"]
    sealed: bool
    on_invalid: Code

    def relative(self, tokens: Mapping[str, str]) -> str:
        """The path below the run root, with every token checked and filled in."""

        def fill(match: re.Match[str]) -> str:
            name = match.group(1)
            if name not in tokens:
                raise ArrivalError(
                    Code.PARTITION_OR_PK_VIOLATION,
                    f"path of {self.id} needs the token {name}, which was not given",
                    hint=f"pass {name} along with the run identity's tokens",
                    dataset=self.id,
                    token=name,
                )
            return check_token(name, tokens[name])

        return _TOKEN.sub(fill, self.path)

    def locate(self, run_root: Root, tokens: Mapping[str, str]) -> Root:
        """The dataset's file or directory. Raises PARTITION_OR_PK_VIOLATION for a missing or unsafe token."""
        return run_root / self.relative(tokens)

    def folder(self, run_root: Root, tokens: Mapping[str, str]) -> Root:
        """The dataset's directory, or the directory of its file."""
        target = self.locate(run_root, tokens)
        return target if self.kind == "directory" else target.parent

    def part(self, run_root: Root, tokens: Mapping[str, str], index: int) -> Root:
        """The path of part file `index` (from 0) of a directory dataset that names its parts by numbers alone."""
        if not self.part_name or "{token}" in self.part_name:
            raise ArrivalError(
                Code.UNEXPECTED_INTERNAL_ERROR,
                f"{self.id} has no part files that are named by their numbers alone",
                hint="use Dataset.locate for single-file datasets, contracts.part_names for arrivals",
                dataset=self.id,
            )
        return self.locate(run_root, tokens) / self.part_name.format(index=index)

    def files(self, run_root: Path | InsidePath, tokens: Mapping[str, str]) -> list[InsidePath]:
        """The dataset's existing files, sorted by path.

        Parquet: every `*.parquet` in the partition directory, also for single-file datasets. Other directories, and
        the folder of a validation bundle whose path is that of its index: all files below, by relative path. Raises
        IO_READ_FAILED if a directory cannot be listed, or holds a link where a file is expected.
        """
        root = inside(run_root)
        target = self.locate(root, tokens)
        with reading(self.id, target):
            if self.role == "validation_bundle":
                return _files_below(self.folder(root, tokens))
            if self.format == "parquet":
                folder = self.folder(root, tokens)
                found = folder.entries() if folder.is_dir() else []
                return [path for path, kind in found if path.suffix == ".parquet" and kind != "directory"]
            if self.kind == "directory":
                return _files_below(target)
            return [target] if target.is_file() else []


def dataset(dataset_id: str) -> Dataset:
    """The entry with this id. Raises UNEXPECTED_INTERNAL_ERROR if there is none."""
    try:
        return _entries()[dataset_id]
    except KeyError:
        raise ArrivalError(
            Code.UNEXPECTED_INTERNAL_ERROR,
            f"the dataset dictionary has no entry {dataset_id!r}",
            hint="contracts/dictionary.yaml lists every dataset and policy",
            dataset=dataset_id,
        ) from None


def datasets() -> tuple[Dataset, ...]:
    """All entries, in dictionary order."""
    return tuple(_entries().values())


def bundle_index(segment: str) -> Dataset:
    """The entry of the index of a segment's validation bundle; 2B's bundle is listed by its index."""
    bundle = dataset(f"validation_bundle_{segment}")
    return bundle if bundle.kind == "file" else dataset(f"validation_bundle_index_{segment}")


def _files_below(folder: InsidePath) -> list[InsidePath]:
    # Links are listed as files are: who opens them refuses them by name.
    return [entry.path for entry in folder.walk()] if folder.is_dir() else []


@cache
def _entries() -> dict[str, Dataset]:
    import yaml

    text = files("arrival_engine.contracts").joinpath("dictionary.yaml").read_text(encoding="utf-8")
    # The C parser is about ten times faster, but not every PyYAML build has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(text, Loader=loader)  # noqa: S506 - both are safe loaders
    entries: dict[str, Dataset] = {}
    for group in document["groups"]:
        for own in group["entries"]:
            entry = _entry({**group["common"], **own})
            if entry.id in entries:
                raise _broken(entry.id, "is listed twice")
            entries[entry.id] = entry
    return entries


_OPTIONAL_FIELDS: dict[str, Any] = {
    "part_name": "",
    "primary_key": [],
    "order": [],
    "schema": "",
    "need": "if_present",
}


def _entry(raw: Mapping[str, Any]) -> Dataset:
    identifier = str(raw.get("id", "?"))
    values: dict[str, Any] = {**_OPTIONAL_FIELDS, **raw}
    values["kind"] = "directory" if str(values.get("path", "")).endswith("/") else "file"
    names = {item.name for item in fields(Dataset)}
    if values.keys() != names:
        raise _broken(identifier, f"has wrong fields {sorted(values.keys() ^ names)}")
    for name in ("partitions", "primary_key", "order"):
        values[name] = tuple(values[name])
    if values["format"] not in _FORMATS or values["role"] not in _ROLES:
        raise _broken(identifier, "has an unknown format or role")
    if values["status"] not in _STATUSES or values["read_scope"] not in _READ_SCOPES:
        raise _broken(identifier, "has an unknown status or read scope")
    if values["need"] not in _NEEDS:
        raise _broken(identifier, "has an unknown need")
    if tuple(_TOKEN.findall(values["path"])) != values["partitions"]:
        raise _broken(identifier, "has partitions that differ from the tokens of its path")
    values["on_invalid"] = Code[values["on_invalid"]]
    return Dataset(**values)


def _broken(identifier: str, what: str) -> ArrivalError:
    return ArrivalError(
        Code.UNEXPECTED_INTERNAL_ERROR,
        f"dictionary entry {identifier} {what}",
        hint="contracts/dictionary.yaml was changed by mistake; reinstall the package",
        dataset=identifier,
    )
