"""Worlds from a user's own tables: counts, sites, and optional virtual merchants, edges and group weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from arrival_engine.engine.importing.request import ImportRequest
    from arrival_engine.engine.importing.world import ImportResult
    from arrival_engine.engine.process.progress import Reporter

__all__ = ["ImportRequest", "ImportResult", "import_world"]


def import_world(request: ImportRequest, reporter: Reporter | None = None) -> ImportResult:
    """Turn the tables that `request` names into a world in the contract layout, ready to seal and run.

    The same tables give the same world and the same arrivals, in any row order, split into any files, as CSV or
    Parquet. A directory that holds exactly this world is left unchanged. Raises SCHEMA_VIOLATION for an invalid file,
    column or value, TIME_GRID_MISMATCH for times and grid, DST_MAPPING_FAILED for time zones,
    S1_OR_S3_OUTPUT_MISSING for counts, SITE_RESOLUTION_FAILED for sites and group weights, ROUTING_POLICY_INVALID for
    virtual merchants, EDGE_RESOLUTION_FAILED for edges, PARTITION_OR_PK_VIOLATION for a seed or scenario that is not
    valid in a path, LIMIT_EXCEEDED for more than the policies allow, OPTION_INVALID for an option that is not valid or
    that the tables contradict, IO_WRITE_CONFLICT for a directory with other contents, IO_READ_FAILED, IO_WRITE_FAILED.
    """
    from arrival_engine.engine.importing.world import make_world

    return make_world(request, reporter)


def __getattr__(name: str) -> object:
    homes = {
        "ImportRequest": "arrival_engine.engine.importing.request",
        "ImportResult": "arrival_engine.engine.importing.world",
    }
    if name in homes:
        import importlib

        return getattr(importlib.import_module(homes[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
