"""Commands that show the first rows of an export, as they can be pasted."""

from __future__ import annotations

from arrival_engine.contracts.options import TableFormat
from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.storage.store import Store
from arrival_engine.engine.storage.url import Place, StoreUrl

__all__ = ["first_rows"]

_PROGRAMS: dict[TableFormat, str] = {
    "parquet": "import polars; print(polars.scan_parquet({place!r}).head().collect())",
    "delta": "from deltalake import DeltaTable; print(DeltaTable({table}).to_pyarrow_dataset().head(5).to_pandas())",
    "iceberg": "from pyiceberg.catalog import load_catalog; print({table}.scan(limit=5).to_pandas())",
    "duckdb": "import duckdb; duckdb.connect({place!r}, read_only=True).sql('FROM arrivals LIMIT 5').show()",
}


def first_rows(place: Place, options: ExportOptions) -> str:
    """A shell command that prints the first rows."""
    program = _PROGRAMS[options.to].format(place=str(place), table=_table(place, options))
    return f"python -c {shell_word(program)}"


def _table(place: Place, options: ExportOptions) -> str:
    """How Python names the table, of the formats that have one in the library's own terms."""
    if options.to == "iceberg":
        from arrival_engine.engine.exporting.iceberg_catalog import opening

        return opening(place, options.catalog, options.table)
    if options.to == "delta" and isinstance(place, StoreUrl):
        from arrival_engine.engine.exporting.store_options import delta_options

        return f"{str(place)!r}, storage_options={delta_options(Store(place))!r}"
    return repr(str(place))
