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
ZoneSource = Literal["counts", "weights"]
DecimalMark = Literal[".", ","]
ThousandsMark = Literal[".", ",", "'", " "]
