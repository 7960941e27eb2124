"""Publication: a staged scenario becomes visible by rename, whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from contracts import ArrivalError, Code
from cpu_fallback.digest import Digest
from engine.output.parts import FileFormat, part_name, read_part_digest
from engine.staging import publish_folder

Outcome = Literal["published", "identical", "replaced"]


@dataclass(frozen=True)
class Published:
    """What stands at the published path, by its part files' own statements."""

    format: FileFormat
    digest: Digest


def read_published(directory: Path) -> Published | None:
    """What a partition directory holds; None where there is none or it is empty.

    Raises IO_WRITE_CONFLICT when its parts cannot be read as ours.
    """
    parts = sorted(path for path in directory.glob("part-*") if path.is_file()) if directory.is_dir() else []
    if not parts:
        return None
    file_format: FileFormat = "parquet" if parts[0].suffix == ".parquet" else "arrow"
    if [path.name for path in parts] != [part_name(index, file_format) for index in range(len(parts))]:
        raise _conflict(directory, "its part files are not numbered 0, 1, 2, ... in one format")
    digest = Digest()
    for path in parts:
        try:
            digest += read_part_digest(path)
        except (OSError, ValueError, pa.ArrowException) as failure:
            raise _conflict(directory, f"{path.name} states no arrival digest") from failure
    return Published(file_format, digest)


def publish_events(staged: Path, final: Path, expected: Published, *, replace: bool, retired: Path) -> Outcome:
    """Put staged arrivals in place.

    An existing partition of the same digest and format stays as it is; a different one is IO_WRITE_CONFLICT unless
    `replace`, which moves it to `retired` in the same step.
    """
    if not final.is_dir() or not any(final.iterdir()):
        publish_folder(staged, final, retired)
        return "published"
    try:
        standing = read_published(final)
    except ArrivalError:
        if not replace:
            raise
        standing = None
    if standing == expected:
        return "identical"
    if not replace:
        found = f"{standing.format} arrivals with digest {standing.digest}" if standing else "other files"
        raise _conflict(final, f"it holds {found}; this run made {expected.format} with digest {expected.digest}")
    publish_folder(staged, final, retired)
    return "replaced"


def _conflict(directory: Path, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_CONFLICT,
        f"{directory} already exists: {problem}",
        hint="pass --replace to put the new arrivals in its place, or move it away",
        path=str(directory),
    )
