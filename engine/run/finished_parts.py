"""Parts that a killed run finished, compared with the arrivals that this run expands for them.

A part that came from elsewhere can state the digest, the rows and the schema of the honest one. Only its content tells.
Parquet parts of this machine are compared byte for byte, all others row by row. A resumed run states sums of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.pages.framing import Buffer
from arrival_engine.engine.rundir.hashing import content_sha256

START_OVER = "run again without --resume to start over"
_HINT = f"check the disk, then {START_OVER}"


def compare_file(path: InsidePath, sha256: str, expected: Iterable[Buffer]) -> None:
    """Refuse a part that is not, byte for byte, the file that this run makes; `expected`: its pieces, in order.

    Raises IO_READ_FAILED.
    """
    with reading("arrivals", path, hint=_HINT):
        _check_content(path, sha256)
        with path.open("rb") as file:
            same = all(file.read(len(piece)) == piece for piece in expected) and not file.read(1)
    if not same:
        raise damaged_run(path, "is not the file that this run makes")


def compare_part(path: InsidePath, sha256: str, schema: pa.Schema, expected: Iterator[pa.RecordBatch]) -> None:
    """Refuse a part that is not the file of the ledger, or that does not hold the expected arrivals.

    `schema`: the contract's, with the file's metadata. `expected`: the row groups. Raises IO_READ_FAILED.
    """
    with reading("arrivals", path, hint=_HINT, also=(pa.ArrowException, ValueError)):
        _check_content(path, sha256)
        file = PartFile.at(path)
        if not file.schema().equals(schema, check_metadata=True):
            raise damaged_run(path, "states other columns or another run than this one")
        groups = file.groups()
        for number, wanted in enumerate(expected):
            if not _holds(next(groups, None), wanted):
                raise damaged_run(path, f"does not hold the arrivals of this run, from its row group {number} on")
        if next(groups, None) is not None:
            raise damaged_run(path, "holds more arrivals than this run makes")


def _check_content(path: InsidePath, sha256: str) -> None:
    found = content_sha256([path]) if path.is_file() else "no file"
    if found != sha256:
        raise damaged_run(path, f"was finished with SHA-256 {sha256}, now {found}")


def damaged_run(path: InsidePath, problem: str) -> ArrivalError:
    """The error for a staging directory that cannot be resumed."""
    return ArrivalError(
        Code.IO_READ_FAILED, f"the run to resume is damaged: {path} {problem}", hint=_HINT, path=str(path)
    )


def _holds(group: pa.Table | None, wanted: pa.RecordBatch) -> bool:
    if group is None or group.num_rows != wanted.num_rows:
        return False
    # Arrow does not look at the buffers of its own files as it reads them.
    group.validate()
    first = 0
    for piece in group.to_batches():
        pairs = zip(piece.columns, wanted.slice(first, piece.num_rows).columns, strict=True)
        if not all(_same(found, made) for found, made in pairs):
            return False
        first += piece.num_rows
    return True


def _same(found: pa.Array, made: pa.Array) -> bool:
    """Whether two columns of one type have the same values, whichever texts their dictionaries hold, and how."""
    if not pa.types.is_dictionary(made.type):
        if pa.types.is_string(made.type):
            found.validate(full=True)
        return bool(found.equals(made))
    found.dictionary.validate(full=True)
    if found.dictionary.equals(made.dictionary):
        return bool(found.indices.equals(made.indices))
    codes = pc.index_in(found.dictionary, value_set=made.dictionary)
    # The expected nulls are in the indices. A text of no expected arrival would become a null here.
    return codes.null_count == 0 and bool(codes.take(found.indices).equals(made.indices))
