"""Run directories in object stores: s3://, gs://, and file:// or plain paths as their local twin.

open_store(url)          a Store: list, read, upload, copy, delete below one place; picklable
published_parts(place)   what readers of published arrivals are to read
"""

from __future__ import annotations

from engine.storage.store import Object, Store, Transfer, open_store
from engine.storage.url import Place, StoreUrl, is_url, parse_place

__all__ = ["Object", "Place", "Store", "StoreUrl", "Transfer", "is_url", "open_store", "parse_place"]
