"""The two alias blobs among the inputs of a run, each decoded and verified against its index."""

from __future__ import annotations

from arrival_engine.contracts import arrow_schema
from arrival_engine.engine.alias_blobs.decode import AliasSlices, decode_2b, decode_3b
from arrival_engine.engine.alias_blobs.index import read_site_index
from arrival_engine.engine.rundir.inputs import locate_files, read_bytes, read_table
from arrival_engine.engine.rundir.receipt import Receipt


def site_slices(receipt: Receipt) -> AliasSlices:
    """2B's blob. Raises SITE_RESOLUTION_FAILED for a missing or damaged blob or index, IO_READ_FAILED."""
    (index_path,) = locate_files(receipt, "s2_alias_index")
    (path,) = locate_files(receipt, "s2_alias_blob")
    return decode_2b(
        read_bytes(receipt, path), read_site_index(index_path, receipt.open), f"{path} by {index_path.name}"
    )


def edge_slices(receipt: Receipt) -> AliasSlices:
    """3B's blob. Raises EDGE_RESOLUTION_FAILED for a missing or damaged blob or index, IO_READ_FAILED."""
    index = read_table(receipt, "edge_alias_index_3B", arrow_schema("edge_alias_index_3B").names)
    (path,) = locate_files(receipt, "edge_alias_blob_3B")
    return decode_3b(read_bytes(receipt, path), index, str(path))
