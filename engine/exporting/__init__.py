"""Tables of arrivals for other tools: Parquet, Delta, Iceberg, DuckDB."""

from arrival_engine.engine.exporting.job import ExportResult, export, write_export
from arrival_engine.engine.exporting.options import ExportOptions

__all__ = ["ExportOptions", "ExportResult", "export", "write_export"]
