"""Run directories in object stores: s3://, gs://, and file:// or plain paths as their local twin.

open_store(url)            a Store: list, read, upload, copy, delete below one place; picklable
published_parts(place, s)  the parts of a scenario's arrivals, for readers
run_directory(place, r)    a run directory to work on, local or in a store
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrival_engine.engine.storage.store import Object, Store, Transfer, open_store
from arrival_engine.engine.storage.url import Place, StoreUrl, is_url, parse_place

if TYPE_CHECKING:
    from arrival_engine.engine.storage.directory import RunDirectory, Shipping, published_parts, run_directory

__all__ = [
    "Object",
    "Place",
    "RunDirectory",
    "Shipping",
    "Store",
    "StoreUrl",
    "Transfer",
    "is_url",
    "open_store",
    "parse_place",
    "published_parts",
    "run_directory",
]

# Loaded on demand: parsing a URL on the command line must not load the modules of a run.
_LATE = frozenset({"RunDirectory", "Shipping", "published_parts", "run_directory"})


def __getattr__(name: str) -> object:
    if name in _LATE:
        from arrival_engine.engine.storage import directory

        return getattr(directory, name)
    raise AttributeError(f"module 'arrival_engine.engine.storage' has no attribute {name!r}")
