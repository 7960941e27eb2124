"""Read staged part files back before they are published."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reason, refusal
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.arrivals.parts import PartReceipt

_CHECK_DISK = "check the disk; nothing was published"


def verify_staged(directory: InsidePath, schema: pa.Schema, parts: Sequence[PartReceipt]) -> None:
    """Each part on disk has the contract's schema, its rows, its size and its digest; no other file is there.

    Raises SCHEMA_VIOLATION, IO_WRITE_FAILED.
    """
    names = sorted(path.name for path in directory.iterdir())
    if names != [part.name for part in parts]:
        raise _damaged(directory, f"holds {len(names)} files instead of {len(parts)} parts")
    for part in parts:
        verify_part(directory, schema, part)


def verify_part(directory: InsidePath, schema: pa.Schema, part: PartReceipt) -> None:
    """One part on disk has the contract's schema, its rows, its size and its digest. Raises as `verify_staged` does."""
    path = directory / part.name
    try:
        file = PartFile.at(path)
        found, rows, digest = file.schema(), file.rows(), file.digest()
    except (OSError, ValueError, pa.ArrowException) as failure:
        message = f"{path} cannot be read back: {reason(failure)}"
        raise refusal(Code.IO_WRITE_FAILED, message, failure, _CHECK_DISK, path=path) from failure
    if not found.equals(schema):
        raise ArrivalError(
            Code.SCHEMA_VIOLATION,
            f"{path} was written with a schema that is not the contract's",
            hint="this is a defect of the engine; please report it",
        )
    if (rows, digest, path.stat().st_size) != (part.rows, part.digest, part.bytes):
        raise _damaged(path, f"has {rows} rows and digest {digest}; {part.rows} and {part.digest} were written")


def _damaged(path: InsidePath, problem: str) -> ArrivalError:
    return ArrivalError(
        Code.IO_WRITE_FAILED,
        f"{path} {problem}",
        hint=_CHECK_DISK,
        path=str(path),
    )
