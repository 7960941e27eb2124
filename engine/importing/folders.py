"""The files that a path stands for: a directory's, at any depth, with the partition keys of their directories."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import unquote

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.importing.formats import refuse_other_format
from arrival_engine.engine.importing.quoting import listed, shell_word

# What Hive, Spark, DuckDB and Arrow write for the null in a directory's name.
_NULL = "__HIVE_DEFAULT_PARTITION__"
# Files that programs leave beside the files of a table: no rows are lost without them.
_MARKERS = ("_success", "_metadata", "_common_metadata", "_committed_", "_started_")
_FORM = re.compile(
    r"(\.(csv|tsv|tab|psv|txt|dat)(\.(gz|bz2|zst|lz4))?|\.(parquet|parq|pq))\Z",
    re.IGNORECASE,
)
_DOCUMENT = re.compile(
    r"(readme|license|licence|notice|changelog|makefile|dockerfile)(\.txt)?"
    r"|.*\.(md|rst|pdf|html?|png|svg|log|sql|py|ipynb|r|sh|ya?ml|toml|ini|md5|sha256|crc)",
    re.IGNORECASE,
)
_NAMED_MAX = 5


@dataclass(frozen=True)
class TableFile:
    """A file, and the partition keys (KEY=VALUE) of its directories; a value of None is null.

    keys: of the directories below the path that the user gave. around: of that path itself, which may have other
    reasons to have such a name.
    """

    path: Path
    keys: Mapping[str, str | None] = field(default_factory=dict)
    around: Mapping[str, str | None] = field(default_factory=dict)


def files_of(paths: Sequence[Path], table: str) -> tuple[list[TableFile], list[Notice]]:
    """The files at the paths, and notices about files that are left out; a directory stands for its files.

    Raises IO_READ_FAILED for a directory without files, and SCHEMA_VIOLATION for a file that is given twice, a
    directory that only another program can read, and one with two values of a key.
    """
    found: list[TableFile] = []
    notices: list[Notice] = []
    for path in paths:
        with reading("table", path):
            is_directory = path.is_dir()
            _refuse_table_formats(path)
            around = _keys(path if is_directory else path.parent, path)
            if not is_directory:
                found.append(TableFile(path, {}, around))
                continue
            left_out: list[str] = []
            inside = sorted(_walk(path, around, left_out), key=lambda file: file.path.parts)
        if not inside:
            raise ArrivalError(
                Code.IO_READ_FAILED,
                f"{path} contains no CSV or Parquet file for {table}",
                hint="give files, or a directory that contains them",
                directory=path,
            )
        if left_out:
            more = f" and {len(left_out) - _NAMED_MAX} more" if len(left_out) > _NAMED_MAX else ""
            message = f"{path} contains {listed(sorted(left_out)[:_NAMED_MAX])}{more}, not read for the {table}"
            notices.append(Notice("FILES_LEFT_OUT", message, {"directory": str(path), "files": sorted(left_out)}))
        found += inside
    seen: set[str] = set()
    for file in found:
        place = os.path.realpath(file.path)
        if place in seen:
            _refuse(file.path, f"is given twice for the {table}", "give each file once")
        seen.add(place)
    return found, notices


def _walk(root: Path, around: Mapping[str, str | None], left_out: list[str]) -> Iterator[TableFile]:
    """The files below a directory; names of those that are not read go to `left_out`."""
    pending: list[tuple[Path, dict[str, str | None], frozenset[tuple[int, int]]]] = [(root, {}, frozenset())]
    while pending:
        folder, keys, above = pending.pop()
        with reading("table", folder):
            status = folder.stat()
            place = (status.st_dev, status.st_ino)
            children = sorted(child for child in folder.iterdir() if not child.name.startswith("."))
        if place in above:
            _refuse(folder, "leads back to a directory that contains it", f"remove the link: rm {_word(folder)}")
        _refuse_unfinished(folder)
        stems: dict[str, Path] = {}
        for path in children:
            name, is_directory = path.name, path.is_dir()
            if _is_marker(name, is_directory):
                continue
            if (name.startswith("_") and not (is_directory and "=" in name)) or (
                not is_directory and _DOCUMENT.fullmatch(name)
            ):
                left_out.append(path.relative_to(root).as_posix() + "/" * is_directory)
            elif is_directory:
                _refuse_format_of(path)
                pending.append((path, {**keys, **_key(name, {**around, **keys}, path)}, above | {place}))
            elif "." not in name or _FORM.search(name):
                _refuse_twin(path, stems.setdefault(_FORM.sub("", name), path))
                yield TableFile(path, keys, around)
            else:
                # Such as counts.csv.bak, whose rows would count twice.
                refuse_other_format(path)
                _refuse(path, "is not named like a CSV or Parquet file", "move it elsewhere, or give files by name")


def _refuse_twin(path: Path, first: Path) -> None:
    if path != first:
        _refuse(
            path,
            f"has the name of {first.name} in another format, and the rows of one table would count twice",
            "move one of them elsewhere, or give files by name",
        )


def _is_marker(name: str, is_directory: bool) -> bool:
    return not is_directory and name.lower().startswith(_MARKERS)


# --- Partition keys ---------------------------------------------------------------------------------


def _keys(folder: Path, given: Path) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in folder.parts:
        found |= _key(name, found, given)
    return found


def _key(name: str, before: Mapping[str, str | None], path: Path) -> dict[str, str | None]:
    """The partition key of a directory's name, if it has one; signs that paths cannot hold are percent-encoded."""
    encoded, sign, text = name.partition("=")
    if not (encoded and sign):
        return {}
    try:
        key, value = unquote(encoded, errors="strict"), None if text == _NULL else unquote(text, errors="strict")
    except UnicodeDecodeError:
        _refuse(path, f"has the partition {name!r}, which is not UTF-8", "write the table again, or rename it")
    if key in before and before[key] != value:
        _refuse(path, f"has two values of the partition key {key!r}: {before[key]!r} and {value!r}", "keep one of them")
    return {key: value}


# --- Directories that are more than their files -----------------------------------------------------


def _refuse_table_formats(path: Path) -> None:
    """Refuse a path within a table of which some files may be outdated or hold deleted rows."""
    place = Path(os.path.realpath(path))
    for folder in (place, *place.parents):
        _refuse_format_of(folder)


def _refuse_format_of(folder: Path) -> None:
    if _is_directory(folder / "_delta_log"):
        _refuse_format(folder, "a Delta table", "delta_scan")
    if _is_directory(folder / ".hoodie"):
        _refuse_format(folder, "a Hudi table", "")
    metadata = folder / "metadata"
    if _is_directory(metadata) and any(name.endswith(".metadata.json") for name in _names(metadata)):
        _refuse_format(folder, "an Iceberg table", "iceberg_scan")


def _refuse_format(folder: Path, what: str, scan: str) -> NoReturn:
    quoted = "'" + str(folder).replace("'", "''") + "'"
    example = f", for example with DuckDB's {scan}({quoted})" if scan else ""
    _refuse(
        folder,
        f"is {what}: its files may hold rows that were deleted or replaced since",
        f"export its current rows as Parquet{example}, and give that file",
    )


def _refuse_unfinished(folder: Path) -> None:
    for name, what, hint in (
        ("_temporary", "is the output of a job that did not finish", "run the job again, or give its finished files"),
        (
            "_spark_metadata",
            "is written by a Spark stream, whose log says which of its files count",
            "export its rows with Spark, and give that file",
        ),
    ):
        if _is_directory(folder / name):
            _refuse(folder, f"{what} (it contains {name})", hint)


def _is_directory(path: Path) -> bool:
    # A directory above the user's own that cannot be read does not concern the table.
    with suppress(OSError):
        return path.is_dir()
    return False


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return [path.name for path in folder.iterdir()]
    return []


def _word(path: Path) -> str:
    return shell_word(str(path))


def _refuse(path: Path, what: str, hint: str) -> NoReturn:
    raise ArrivalError(Code.SCHEMA_VIOLATION, f"{path} {what}", hint=hint, file=str(path))
