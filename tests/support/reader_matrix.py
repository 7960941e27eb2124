"""The reader matrix: what each library's default call makes of arrivals. docs/reference/readers.md shows it.

A call is an expression, on the page as here. It may use the names that `PLACES` gives a place, and those that the
reader imports.
"""

from __future__ import annotations

from dataclasses import dataclass

from arrival_engine.engine.readable.shapes import DESCRIPTIONS, Shape, plain

IMPORTS = {
    "pandas": "import pandas as pd",
    "Polars": "import polars as pl",
    "DuckDB": "import duckdb",
    "pyarrow": "import pyarrow as pa, pyarrow.parquet as pq, pyarrow.dataset as ds",
    "Dask": "import dask.dataframe as dd",
    "fastparquet": "from fastparquet import ParquetFile",
    "DataFusion": "from datafusion import SessionContext",
    "deltalake": "from deltalake import DeltaTable",
    "pyiceberg": "from pyiceberg.catalog import load_catalog",
    "Spark": "spark = pyspark.sql.SparkSession.builder.getOrCreate()",
}
# Distributions whose versions the page names: those of constraints.txt.
DISTRIBUTIONS = {
    "pandas": "pandas",
    "Polars": "polars",
    "DuckDB": "duckdb",
    "pyarrow": "pyarrow",
    "Dask": "dask",
    "fastparquet": "fastparquet",
    "DataFusion": "datafusion",
    "deltalake": "deltalake",
    "pyiceberg": "pyiceberg",
    "Spark": "pyspark",
}
SLOW = frozenset({"Spark"})

OPENED = "load_catalog('arrivals', type='sql', uri='sqlite:///FOLDER/catalog.sqlite').load_table('arrivals.events')"

# The places that are read: the heading of their table, how they are made, and the form of ids there.
PLACES = {
    "object": "The object: `arrivals = read_arrivals(RUN_ROOT)` or `arrivals = expand_counts(...)`",
    "parquet": "An export to Parquet: `arrivals export RUN_ROOT FOLDER`",
    "days": "An export with a folder per day: `arrivals export RUN_ROOT FOLDER --cluster-by day --partitioned`",
    "delta": "A Delta table: `arrivals export RUN_ROOT FOLDER --to delta`",
    "iceberg": f"An Iceberg table: `arrivals export RUN_ROOT FOLDER --to iceberg`, opened by `table = {OPENED}`",
    "duckdb": "A DuckDB file: `arrivals export RUN_ROOT FILE --to duckdb`",
    "scenario": "The contract's folder of one scenario: `.../arrival_events/seed=.../.../scenario_id=...`",
    "contract": "The contract's folder of all seeds and scenarios: `RUN_ROOT/data/layer2/5B/arrival_events`",
}
SIGNED = frozenset({"delta", "iceberg"})
CONTRACT = frozenset({"scenario", "contract"})


@dataclass(frozen=True)
class Case:
    """A call and what comes of it.

    changed: columns whose values come in another type, such as floats or a path's integers, and the words for it.
    raises: the error's type and a part of its message. instead: a call that gives every value.
    """

    reader: str
    place: str
    call: str
    changed: tuple[str, ...] = ()
    words: str = ""
    raises: tuple[str, str] | None = None
    instead: str = ""


SEED = "`seed` is the path's integer, which is signed"
FLOAT = "`settlement_utc_offset_minutes` is float64; its numbers are exact"
OFFSET = ("settlement_utc_offset_minutes",)
TIMES = ("ts_utc", "ts_local_primary", "ts_local_settlement", "ts_local_operational")
DELTAS = "**other times**, without an error, after neighbours that are more than 268 s apart"
OBJECT = "read_arrivals(RUN_ROOT, columns='contract').to_pandas()"
MERGE = ("ArrowTypeError", "Field seed has incompatible types")

CASES = (
    Case("pandas", "object", "arrivals.to_pandas()"),
    Case("pandas", "object", "pa.table(arrivals).to_pandas()"),
    Case("Polars", "object", "arrivals.to_polars()"),
    Case("Polars", "object", "pl.DataFrame(arrivals)"),
    Case("DuckDB", "object", "duckdb.sql('FROM arrivals')"),
    Case("pyarrow", "object", "pa.table(arrivals)"),
    Case("pyarrow", "object", "arrivals.to_arrow()"),
    Case("Dask", "object", "dd.from_pandas(arrivals.to_pandas(), npartitions=2)"),
    Case("DataFusion", "object", "SessionContext().from_arrow(arrivals)"),
    Case(
        "Spark",
        "object",
        "spark.createDataFrame(arrivals.to_arrow())",
        raises=("PySparkTypeError", "uint64 is not supported"),
        instead="spark.read.parquet(arrivals.write('FOLDER').target)",
    ),
    Case("pandas", "parquet", "pd.read_parquet('FOLDER')"),
    Case("Polars", "parquet", "pl.read_parquet('FOLDER')"),
    Case("Polars", "parquet", "pl.scan_parquet('FOLDER').collect()"),
    Case("DuckDB", "parquet", "duckdb.sql(\"FROM 'FOLDER/*.parquet'\")"),
    Case("pyarrow", "parquet", "ds.dataset('FOLDER').to_table()"),
    Case("pyarrow", "parquet", "pq.read_table('FOLDER')"),
    Case("Dask", "parquet", "dd.read_parquet('FOLDER')"),
    Case("fastparquet", "parquet", "ParquetFile('FOLDER').to_pandas()"),
    Case("DataFusion", "parquet", "SessionContext().read_parquet('FOLDER')"),
    Case("Spark", "parquet", "spark.read.parquet('FOLDER')"),
    Case("pandas", "days", "pd.read_parquet('FOLDER')"),
    Case("Polars", "days", "pl.read_parquet('FOLDER')"),
    Case("DuckDB", "days", "duckdb.sql(\"FROM 'FOLDER/**/*.parquet'\")"),
    Case("pyarrow", "days", "ds.dataset('FOLDER').to_table()"),
    Case("Dask", "days", "dd.read_parquet('FOLDER')"),
    Case("fastparquet", "days", "ParquetFile('FOLDER').to_pandas()"),
    Case("DataFusion", "days", "SessionContext().read_parquet('FOLDER')"),
    Case("Spark", "days", "spark.read.parquet('FOLDER')"),
    Case("deltalake", "delta", "DeltaTable('FOLDER').to_pyarrow_table()"),
    Case("deltalake", "delta", "DeltaTable('FOLDER').to_pandas()", OFFSET, FLOAT),
    Case("Polars", "delta", "pl.read_delta('FOLDER')"),
    Case("Dask", "delta", "dd.read_parquet('FOLDER')"),
    Case("pyiceberg", "iceberg", "table.scan().to_arrow()"),
    Case("pyiceberg", "iceberg", "table.scan().to_pandas()", OFFSET, FLOAT),
    Case("Polars", "iceberg", "pl.from_arrow(table.scan().to_arrow())"),
    Case("DuckDB", "iceberg", "table.scan().to_duckdb('arrivals').sql('FROM arrivals')"),
    Case("DuckDB", "duckdb", "duckdb.connect('FILE', read_only=True).sql('FROM arrivals')"),
    Case("pandas", "duckdb", "duckdb.connect('FILE', read_only=True).sql('FROM arrivals').df()"),
    Case("Polars", "duckdb", "duckdb.connect('FILE', read_only=True).sql('FROM arrivals').pl()"),
    Case("pandas", "scenario", "pd.read_parquet('FOLDER')"),
    Case("Polars", "scenario", "pl.read_parquet('FOLDER')"),
    Case(
        "DuckDB",
        "scenario",
        "duckdb.sql(\"FROM 'FOLDER/*.parquet'\")",
        ("seed",),
        SEED,
        instead="duckdb.sql(\"FROM read_parquet('FOLDER/*.parquet', hive_partitioning=false)\")",
    ),
    Case("pyarrow", "scenario", "ds.dataset('FOLDER').to_table()"),
    Case("pyarrow", "scenario", "pq.read_table('FOLDER')"),
    Case(
        "Dask",
        "scenario",
        "dd.read_parquet('FOLDER')",
        raises=MERGE,
        instead="dd.read_parquet('FOLDER', dataset={'partitioning': None}, dtype_backend='pyarrow')",
    ),
    Case("fastparquet", "scenario", "ParquetFile('FOLDER').to_pandas()", TIMES, DELTAS, instead=OBJECT),
    Case("DataFusion", "scenario", "SessionContext().read_parquet('FOLDER')"),
    Case("Spark", "scenario", "spark.read.parquet('FOLDER')"),
    Case(
        "pandas",
        "contract",
        "pd.read_parquet('FOLDER')",
        raises=MERGE,
        instead="pd.read_parquet('FOLDER', partitioning=None)",
    ),
    Case("Polars", "contract", "pl.read_parquet('FOLDER')"),
    Case(
        "DuckDB",
        "contract",
        "duckdb.sql(\"FROM 'FOLDER/**/*.parquet'\")",
        ("seed",),
        SEED,
        instead="duckdb.sql(\"FROM read_parquet('FOLDER/**/*.parquet', hive_partitioning=false)\")",
    ),
    Case("pyarrow", "contract", "ds.dataset('FOLDER').to_table()"),
    Case(
        "pyarrow",
        "contract",
        "pq.read_table('FOLDER')",
        raises=MERGE,
        instead="pq.read_table('FOLDER', partitioning=None)",
    ),
    Case(
        "Dask",
        "contract",
        "dd.read_parquet('FOLDER')",
        raises=MERGE,
        instead="dd.read_parquet('FOLDER', dataset={'partitioning': None}, dtype_backend='pyarrow')",
    ),
    Case(
        "fastparquet",
        "contract",
        "ParquetFile('FOLDER').to_pandas()",
        (*TIMES, "seed"),
        f"{DELTAS}; `seed` is a category from the path",
        instead=OBJECT,
    ),
    Case("DataFusion", "contract", "SessionContext().read_parquet('FOLDER')"),
    Case("Spark", "contract", "spark.read.parquet('FOLDER')", ("seed",), SEED),
)


def column_table() -> str:
    """The part of the page that lists the columns for people, as Markdown."""
    lines = ["| column | type | null | what it holds |", "|---|---|---|---|"]
    for field in plain(Shape().schema(has_names=True)):
        kind = "id" if field.name in ("merchant_id", "place_id") else f"`{field.type}`"
        null = "possible" if field.nullable else ""
        lines.append(f"| `{field.name}` | {kind} | {null} | {DESCRIPTIONS[field.name]} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def page_tables(versions: dict[str, str]) -> str:
    """The part of the page that says what was found, as Markdown."""
    lines = ["| reader | version | set up |", "|---|---|---|"]
    lines += [f"| {reader} | {versions[reader]} | `{setup}` |" for reader, setup in IMPORTS.items()]
    for place, heading in PLACES.items():
        cases = [case for case in CASES if case.place == place]
        calls_instead = any(case.instead for case in cases)
        title, _, how = heading.partition(": ")
        lines += ["", f"### {title}", "", f"{how}.", ""]
        lines += ["| reader | call | result |" + (" call that gives every value |" if calls_instead else "")]
        lines += ["|---|---|---|" + ("---|" if calls_instead else "")]
        lines += [_row(case, calls_instead) for case in cases]
    return "\n".join(lines) + "\n"


def _row(case: Case, calls_instead: bool) -> str:
    cells = [case.reader, f"`{case.call}`", _result(case)]
    if calls_instead:
        cells.append(f"`{case.instead}`" if case.instead else "")
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _result(case: Case) -> str:
    if case.raises:
        kind, text = case.raises
        return f"raises `{kind}`: {text}"
    return case.words or "every value"
