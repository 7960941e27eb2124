"""Contracts of the arrival engine: error codes, identity, dataset dictionary, schemas, table checks, forms.

Importing this package loads neither pyarrow nor jsonschema; names that need them load them on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrival_engine.contracts.dictionary import Dataset, bundle_index, dataset, datasets
from arrival_engine.contracts.errors import ArrivalError, Code, Notice, unforeseen
from arrival_engine.contracts.forms import compact_json, indented_json, receipt_json
from arrival_engine.contracts.identity import Identity, check_token

if TYPE_CHECKING:
    from arrival_engine.contracts.schemas import check_document, json_schema
    from arrival_engine.contracts.tables import arrow_schema, conform

__all__ = [
    "ArrivalError",
    "Code",
    "Dataset",
    "Identity",
    "Notice",
    "arrow_schema",
    "bundle_index",
    "check_document",
    "check_token",
    "compact_json",
    "conform",
    "dataset",
    "datasets",
    "indented_json",
    "json_schema",
    "receipt_json",
    "unforeseen",
]

_LATE = {
    "arrow_schema": "arrival_engine.contracts.tables",
    "conform": "arrival_engine.contracts.tables",
    "check_document": "arrival_engine.contracts.schemas",
    "json_schema": "arrival_engine.contracts.schemas",
}


def __getattr__(name: str) -> object:
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
