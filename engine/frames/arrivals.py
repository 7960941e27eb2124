"""Arrivals of one scenario as an Arrow stream that data frames and databases take."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from arrival_engine.contracts import ArrivalError, Code, Identity, Notice
from arrival_engine.contracts.options import TableFormat
from arrival_engine.engine.frames.preview import as_html, as_text
from arrival_engine.engine.process import human
from arrival_engine.engine.readable.reshaping import Reshaper
from arrival_engine.engine.readable.shapes import Shape
from arrival_engine.engine.readable.source import Source

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from arrival_engine.engine.exporting import ExportResult

__all__ = ["Arrivals"]

_SHOWN = 5


class Arrivals:
    """The arrivals of one scenario, in output order: an Arrow stream (`__arrow_c_stream__`) that can be read again.

    Nothing is computed or read before it is asked for. Each pass, whatever starts it, is a new one with bounded memory;
    letting go of it ends its threads. Methods raise ArrivalError as the source of the arrivals does: of
    published ones IO_READ_FAILED, also if another run replaces them meanwhile.
    """

    def __init__(self, source: Source, shape: Shape | None = None, notices: Sequence[Notice] = ()) -> None:
        self._source = source
        self._shape = shape or Shape()
        self._notices = tuple(notices)

    @property
    def source(self) -> Source:
        """Where the arrivals come from."""
        return self._source

    @property
    def shape(self) -> Shape:
        """Columns, and the form of ids."""
        return self._shape

    @property
    def notices(self) -> tuple[Notice, ...]:
        """What is to be noticed of the tables that the arrivals were made from."""
        return self._notices

    @property
    def scenario_id(self) -> str:
        """The scenario."""
        return self._source.scenario_id

    @property
    def identity(self) -> Identity:
        """The identity of the world."""
        return self._source.identity

    @property
    def digest(self) -> str:
        """The digest of all arrivals: that of `arrivals run` on the same inputs, whatever the columns are.

        Arrivals that are not stored are expanded for it, unless a whole pass has been made.
        """
        return self._source.digest()

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of every batch; texts are dictionaries."""
        return self._reshaper.schema

    @property
    def descriptions(self) -> dict[str, str]:
        """What each column holds, in a sentence, in the order of the schema."""
        return self._reshaper.descriptions

    @cached_property
    def _reshaper(self) -> Reshaper:
        return Reshaper(self._shape, self._source.facts)

    def __len__(self) -> int:
        return self._source.rows

    def batches(self) -> Generator[pa.RecordBatch, None, None]:
        """Yield all arrivals in record batches; closing the generator ends the pass."""
        reshaper = self._reshaper
        with closing(self._source.batches()) as rows:
            for batch in rows:
                yield reshaper.batch(batch)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A new pass, as a capsule of Arrow's C stream interface."""
        reader = pa.RecordBatchReader.from_batches(self.schema, self._streamed())
        return reader.__arrow_c_stream__(requested_schema)

    def _streamed(self) -> Generator[pa.RecordBatch, None, None]:
        """As `batches`. C streams end with a text, so the text of a failure says what to do."""
        try:
            yield from self.batches()
        except ArrivalError as error:
            raise pa.ArrowInvalid(f"{error}; {error.hint}") from None

    def to_reader(self) -> pa.RecordBatchReader:
        """A new pass, as a reader of Arrow; `del` of the reader ends it, its `close` does not."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def to_arrow(self) -> pa.Table:
        """All arrivals in memory; one dictionary per text column."""
        return pa.Table.from_batches(self.batches(), self.schema).unify_dictionaries()

    def to_pandas(self) -> pd.DataFrame:
        """All arrivals as a pandas DataFrame in which no value has changed.

        Ids stay uint64 or int64. Columns of integers with nulls have pandas' nullable types (UInt64, Int32), decimal
        ids Arrow's. Times are datetime64[us], with UTC where they have a zone; texts are categories. Raises
        DEPENDENCY_MISSING without pandas.
        """
        _require("pandas", "Arrivals.to_pandas")
        from arrival_engine.engine.frames.to_pandas import lossless

        return lossless(self.to_arrow())

    def to_polars(self) -> pl.DataFrame:
        """All arrivals as a Polars DataFrame; texts are Categorical. Raises DEPENDENCY_MISSING without Polars."""
        _require("polars", "Arrivals.to_polars")
        import polars as pl

        return pl.DataFrame(self.to_arrow())

    def write(self, target: Path | str, to: TableFormat = "parquet", **options: Any) -> ExportResult:
        """Write all arrivals to a table of another tool, whole or not at all, in the columns of this object.

        `target` is a path or the URL of an object store, `to` one of parquet, delta, iceberg and duckdb. `options` are
        those of `ExportOptions`, such as cluster_by, partitioned, replace, license, catalog and table. Ids keep their
        form; delta and iceberg, which have no unsigned integers, get uint64 as int64, the same 64 bits. Raises
        ValueError for options that do not go together, IO_WRITE_CONFLICT if the target holds anything else, and
        DEPENDENCY_MISSING without the packages of the format.
        """
        from arrival_engine.engine.exporting import ExportOptions, write_export

        own = None if self._shape.ids == "uint64" else self._shape.ids
        form = {"columns": self._shape.columns, "ids": own} | options
        return write_export(self._source, target, ExportOptions(to=to, **form))

    def __repr__(self) -> str:
        return self._shown(as_text)

    def _repr_html_(self) -> str:
        return self._shown(as_html)

    def _shown(self, form: Callable[[str, pa.Table], str]) -> str:
        try:
            head = self._head()
        except ArrivalError as error:
            # A debugger or a notebook must be able to show the object in any state.
            return form(f"{self._title()}, which cannot be read: {error.message}", pa.table({}))
        return form(self._title(), head)

    def _title(self) -> str:
        return f"{human.amount(len(self), 'arrivals')} of scenario {self.scenario_id}"

    def _head(self) -> pa.Table:
        """The first rows, for people."""
        with closing(self.batches()) as batches:
            first = next((batch for batch in batches if batch.num_rows), None)
        return pa.Table.from_batches([] if first is None else [first.slice(0, _SHOWN)], self.schema)


def _require(package: str, purpose: str) -> None:
    if find_spec(package) is None:
        raise ArrivalError(
            Code.DEPENDENCY_MISSING,
            f"{purpose} needs {package}, which this installation lacks",
            hint=f"pip install {package}",
        )
