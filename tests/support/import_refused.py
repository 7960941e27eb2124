"""Imports that must fail: good tables to spoil, and what a refusal has to say."""

from __future__ import annotations

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.importing import ImportRequest, import_world

COUNTS_BAD, SITES_BAD = Code.S1_OR_S3_OUTPUT_MISSING, Code.SITE_RESOLUTION_FAILED
LIMIT_BAD, OPTION_BAD = Code.LIMIT_EXCEEDED, Code.OPTION_INVALID
SCHEMA_BAD, TIME_BAD, ZONE_BAD = Code.SCHEMA_VIOLATION, Code.TIME_GRID_MISMATCH, Code.DST_MAPPING_FAILED
MODE_BAD, EDGES_BAD, UNREADABLE = Code.ROUTING_POLICY_INVALID, Code.EDGE_RESOLUTION_FAILED, Code.IO_READ_FAILED

GOOD = {
    "counts": (
        "merchant_id,tz,channel,bucket_start,count\n"
        "1,Europe/Berlin,card,2026-03-29T00:00:00Z,3\n"
        "1,Europe/Berlin,,2026-03-29T01:00:00Z,4\n"
        "2,Europe/London,web,2026-03-29T01:00:00Z,5\n"
        "3,Europe/Dublin,web,2026-03-29T02:00:00Z,6\n"
    ),
    "sites": (
        "merchant_id,tz,country,site_order,weight\n"
        "1,Europe/Berlin,DE,1,0.5\n"
        "1,Europe/Berlin,DE,2,1\n"
        "2,Europe/London,GB,1,1\n"
    ),
    "virtual_merchants": "merchant_id,mode,settlement_tz\n2,HYBRID,Europe/London\n3,VIRTUAL_ONLY,\n",
    "edges": (
        "merchant_id,tz,country,edge_order,weight\n"
        "2,Europe/London,GB,1,1\n"
        "3,Europe/Dublin,IE,1,2\n"
        "3,Europe/Madrid,ES,2,1\n"
    ),
}


def request_of(folder, tables, **options):
    """An import of these texts (or bytes) as CSV files; a table may be left out."""
    files = {}
    for name, text in tables.items():
        if text is not None:
            path = folder / f"{name}.csv"
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            files[name] = [path]
    return ImportRequest(folder / "world", **{**files, **options})


def refused(request, code, *says):
    """The error of an import that must fail, and that leaves nothing behind."""
    with pytest.raises(ArrivalError) as caught:
        import_world(request)
    error = caught.value
    told = f"{error.message} -> {error.hint}"
    assert error.code == code, told
    assert error.hint, "every refusal says what to do"
    for text in says:
        assert text in told, told
    assert not request.run_root.exists()
    return error


def edited(**tables):
    """The good tables with some replaced, or left out (None)."""
    return {**GOOD, **tables}
