"""The table that an export fills: its columns, and what is said of it."""

from __future__ import annotations

import pyarrow as pa

from arrival_engine.engine.exporting.chunks import Columns
from arrival_engine.engine.exporting.files import PARTITION
from arrival_engine.engine.exporting.options import ExportOptions
from arrival_engine.engine.exporting.sink import Layout
from arrival_engine.engine.readable.reshaping import Reshaper
from arrival_engine.engine.readable.shapes import Shape, plain
from arrival_engine.engine.readable.source import Source

__all__ = ["layout_of"]


def layout_of(source: Source, options: ExportOptions) -> tuple[Columns, Layout]:
    """The columns of an export of a source, and the table that they make."""
    reshaper = Reshaper(Shape(options.columns, options.id_type), source.facts)
    told = reshaper.descriptions
    schema = pa.schema([field.with_metadata({"description": told[field.name]}) for field in plain(reshaper.schema)])
    order = "UTC day, merchant_id and arrival_seq" if options.cluster_by == "day" else "merchant_id and arrival_seq"
    about = (
        f"Synthetic arrivals of scenario {source.scenario_id}: one row per arrival of a customer at a merchant, "
        f"ordered by {order}."
    )
    if options.id_type == "int64":
        about += " Ids are the 64 bits of unsigned numbers as int64: add 2^64 to a negative one."
    return Columns(reshaper), Layout(schema, about, PARTITION if options.partitioned else None)
