"""Values of options on the command line and in Python; importing them loads no package."""

from __future__ import annotations

from typing import Literal

BackendName = Literal["auto", "cpu", "cuda"]
ParityName = Literal["cpu", "cuda", "cudasim"]
FileFormat = Literal["parquet", "arrow"]
EventFormat = Literal["none", "parquet", "jsonl"]
FigureFormat = Literal["svg", "png"]
StreamFormat = Literal["jsonl", "arrow", "csv"]
IdForm = Literal["number", "string"]
ColumnSet = Literal["readable", "contract"]
IdType = Literal["int64", "uint64", "text", "decimal"]
ZoneSource = Literal["counts", "weights"]
MerchantIds = Literal["number", "text"]
DecimalMark = Literal[".", ","]
EpochUnit = Literal["s", "ms", "us", "ns"]
ThousandsMark = Literal[".", ",", "'", " "]
TableFormat = Literal["parquet", "delta", "iceberg", "duckdb"]
Clustering = Literal["merchant", "day"]
