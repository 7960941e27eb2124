"""Tables of a run in pieces of bounded size, checked against their schemas and the run's identity."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from arrival_engine.contracts import ArrivalError, Code, Dataset, Identity, dataset
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.parquet_footer import RowGroup, row_groups
from arrival_engine.contracts.tables import conform
from arrival_engine.engine.rundir.arrow_files import open_parquet, parquet_metadata
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.rundir.sealed_files import InputFile
from arrival_engine.engine.rundir.table_limits import check_sizes

# Row groups are read together up to these sizes, so that the work per piece does not grow with the number of groups,
# and a larger row group is read in tables of that many rows.
PIECE_ROWS = 1 << 20
PIECE_BYTES = 1 << 28
# Each row group is a chunk, and what is done once per chunk costs as much as 10,000 rows.
_CHUNKS = 16


@dataclass(frozen=True)
class TablePiece:
    """Adjacent row groups of a file of a dataset, to be read on any thread; an empty file is also one piece.

    footer: of the file, parsed once for all its pieces. first_row: number of rows of the file before the piece.
    """

    identity: Identity
    dataset_id: str
    file: InputFile
    footer: pq.FileMetaData
    groups: range
    first_row: int
    columns: tuple[str, ...]
    tokens: Mapping[str, str]

    def read(self) -> pa.Table:
        """All tables of the piece as one."""
        return pa.concat_tables(self.tables())

    def tables(self) -> Iterator[pa.Table]:
        """The columns asked for, with the declared types, checked against schema and identity.

        One table unless a row group has more than PIECE_ROWS rows. Raises the dataset's `on_invalid` code,
        PARTITION_OR_PK_VIOLATION, IO_READ_FAILED.
        """
        entry = dataset(self.dataset_id)
        first_row = self.first_row
        path, names = self.file.path, self.footer.schema.to_arrow_schema().names
        identity = [name for name in (*self.identity.columns(), *self.tokens) if name in names]
        wanted = [*self.columns, *(name for name in identity if name not in self.columns)]
        # A column that the schema allows a file to omit is all null.
        for table in self._stored([name for name in wanted if name in names]):
            where = f"{path} from row {first_row}" if first_row else str(path)
            checked = conform(entry.id, table, where=where, columns=wanted)
            _check_identity(self.identity, entry, checked, path, self.tokens)
            first_row += table.num_rows
            yield checked.select(list(self.columns))

    def _stored(self, names: Sequence[str]) -> Iterator[pa.Table]:
        rows = sum(self.footer.row_group(group).num_rows for group in self.groups)
        schema = self.footer.schema.to_arrow_schema()
        texts = [name for name in names if _is_text(schema.field(name).type)]
        with (
            readable(self.file.path),
            open_parquet(self.file, metadata=self.footer, read_dictionary=texts) as file,
        ):
            if rows <= PIECE_ROWS:
                yield _sound(file.read_row_groups(list(self.groups), columns=names))
                return
            for batch in file.iter_batches(PIECE_ROWS, row_groups=list(self.groups), columns=names):
                rows -= batch.num_rows
                yield _sound(pa.Table.from_batches([batch]))
            if rows:
                raise pa.ArrowInvalid(f"the footer states {rows} rows more than the row group has")


def holding(pieces: Sequence[TablePiece], column: str, values: Collection[int]) -> list[TablePiece]:
    """The parts of the pieces whose row groups may hold any of the unsigned values, by their statistics if any.

    Raises IO_READ_FAILED.
    """
    stated: dict[InsidePath, list[RowGroup]] = {}
    for piece in pieces:
        path = piece.file.path
        if path not in stated:
            with readable(path), piece.file.open() as source:
                stated[path] = row_groups(source)
    return [part for piece in pieces for part in _parts_holding(piece, stated[piece.file.path], column, values)]


def _parts_holding(
    piece: TablePiece, stated: Sequence[RowGroup], column: str, values: Collection[int]
) -> list[TablePiece]:
    if not piece.groups:
        return [piece]
    runs: list[TablePiece] = []
    first_row = piece.first_row
    for group in piece.groups:
        if _may_hold(stated[group] if group < len(stated) else None, column, values):
            if runs and runs[-1].groups.stop == group:
                runs[-1] = replace(runs[-1], groups=range(runs[-1].groups.start, group + 1))
            else:
                runs.append(replace(piece, groups=range(group, group + 1), first_row=first_row))
        first_row += piece.footer.row_group(group).num_rows
    return runs


def _may_hold(group: RowGroup | None, column: str, values: Collection[int]) -> bool:
    if group is None or column not in group.chunks:
        return True
    return any(map(group.chunks[column].may_hold, values))


def table_pieces(
    receipt: Receipt, dataset_id: str, files: Sequence[InsidePath], columns: Sequence[str], tokens: Mapping[str, str]
) -> list[TablePiece]:
    """The pieces of a dataset's files in file and row order; reads every file's footer and checks its schema once."""
    pieces = []
    for path in files:
        file = receipt.input(path)
        with readable(path):
            footer = parquet_metadata(file)
            conform(dataset_id, footer.schema.to_arrow_schema().empty_table(), where=str(path))
            check_sizes(dataset_id, file, {*columns, *receipt.identity.columns(), *tokens}, PIECE_ROWS)
        first_row = 0
        for groups, rows in _cut(footer):
            pieces.append(
                TablePiece(receipt.identity, dataset_id, file, footer, groups, first_row, tuple(columns), tokens)
            )
            first_row += rows
    return pieces


def _cut(footer: pq.FileMetaData) -> Iterator[tuple[range, int]]:
    """Row groups that are read together, with the number of their rows; one empty range for a file without any."""
    first, rows, size = 0, 0, 0
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        if number > first and (rows + group.num_rows > PIECE_ROWS or size + group.total_byte_size > PIECE_BYTES):
            yield range(first, number), rows
            first, rows, size = number, 0, 0
        rows += group.num_rows
        size += group.total_byte_size
    yield range(first, footer.num_row_groups), rows


def readable(path: InsidePath) -> AbstractContextManager[None]:
    """Name a failure to read the file of a table: the system's, or Arrow's of damage."""
    hint = "the file is damaged, truncated or not readable; restore it and seal again"
    return reading("file", path, hint=hint, also=(pa.ArrowException, UnicodeDecodeError))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _sound(table: pa.Table) -> pa.Table:
    # Damaged pages may decode to invalid UTF-8, which Parquet itself does not check.
    validate_fully(table)
    if max((column.num_chunks for column in table.columns), default=0) > _CHUNKS:
        return table.unify_dictionaries().combine_chunks()
    return table


def validate_fully(table: pa.Table) -> None:
    """Raise pa.ArrowInvalid for what `table.validate(full=True)` refuses, at a third of the cost for valid codes."""
    try:
        table.validate()
        sound = all(_is_sound(chunk) for column in table.columns for chunk in column.chunks)
    except pa.ArrowInvalid:
        sound = False
    if not sound:
        table.validate(full=True)


def _is_sound(array: pa.Array) -> bool:
    if not pa.types.is_dictionary(array.type):
        array.validate(full=True)
        return True
    array.dictionary.validate(full=True)
    array.indices.validate(full=True)
    # If every code is null, there are no extremes.
    least, most = (extreme.as_py() for extreme in pc.min_max(array.indices).values())
    return least is None or bool(0 <= least <= most < len(array.dictionary))


def _check_identity(
    identity: Identity, entry: Dataset, table: pa.Table, path: InsidePath, tokens: Mapping[str, str]
) -> None:
    for name, expected in {**identity.columns(), **tokens}.items():
        if name not in table.column_names or _is_constant(table.column(name), expected):
            continue
        for found in pc.unique(table.column(name)).to_pylist():
            if found != expected:
                raise of_another_run(entry, path, name, found, expected)


def _is_constant(column: pa.ChunkedArray, value: object) -> bool:
    """Whether every row is certain to hold `value`; false if only the text of each row could tell."""
    if column.null_count:
        return False
    if pa.types.is_dictionary(column.type):
        return all(len(chunk.dictionary) == 1 and chunk.dictionary[0].as_py() == value for chunk in column.chunks)
    if pa.types.is_integer(column.type):
        return bool(pc.min_max(column).as_py() == {"min": value, "max": value})
    return False


def of_another_run(entry: Dataset, path: InsidePath, name: str, found: object, expected: object) -> ArrivalError:
    """The error for a value of the identity that is not the run's."""
    return ArrivalError(
        Code.PARTITION_OR_PK_VIOLATION,
        f"{path}: {name} is {found!r}, but the run and the path say {expected!r}",
        hint="the file belongs to another run; restore the right one or correct the receipt",
        dataset=entry.id,
        path=str(path),
        column=name,
    )
