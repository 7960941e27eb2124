"""A description of an export in Croissant, the JSON-LD vocabulary of data sets for machine learning (mlcommons.org)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from glob import escape
from typing import Any

import pyarrow as pa

from arrival_engine.contracts import indented_json
from arrival_engine.engine.exporting.facts import PREFIX, Facts
from arrival_engine.engine.exporting.sink import FileFacts, Layout

__all__ = ["croissant", "files_described"]

_VERSION = "http://mlcommons.org/croissant/1.1"
_PARQUET, _DUCKDB = "application/x-parquet", "application/vnd.duckdb"
_FILES, _ROWS = "data-files", "arrivals"
# The terms of Croissant, as its specification lists them, and those of this engine under a name of their own.
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrivals": "urn:arrivals:",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def croissant(layout: Layout, facts: Facts, root: str, files: Sequence[FileFacts]) -> bytes:
    """The description of an export, the same for the same export.

    root: what file names have before them, seen from the description. No date is stated, and a licence only if the
    facts have one.
    """
    data_files = [file for file in files if file.name.endswith(".parquet")]
    source = {"fileSet": {"@id": _FILES}} if data_files else {"fileObject": {"@id": root + files[0].name}}
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _VERSION,
        "name": f"Arrivals of {facts.scenario_id}",
        "description": f"{layout.about} Make it again with: {facts.command}",
        **({"license": facts.license} if facts.license else {}),
        "isLiveDataset": False,
        **{name.replace(PREFIX, "arrivals:"): value for name, value in facts.properties().items()},
        "distribution": [
            *(_file_object(root, file) for file in files),
            *([_file_set(root, data_files)] if data_files else []),
        ],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": _ROWS,
                "name": _ROWS,
                "description": layout.about,
                "key": [{"@id": f"{_ROWS}/merchant_id"}, {"@id": f"{_ROWS}/arrival_seq"}],
                "field": [_field(field, source) for field in layout.schema],
            }
        ],
    }
    return indented_json(document)


def _file_object(root: str, file: FileFacts) -> dict[str, Any]:
    name = root + file.name
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "contentUrl": name,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": _PARQUET if name.endswith(".parquet") else _DUCKDB,
        "sha256": file.sha256,
    }


def _file_set(root: str, files: Sequence[FileFacts]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": _FILES,
        "name": _FILES,
        "description": "The files with the rows.",
        "encodingFormat": _PARQUET,
        # By name, because a folder may have files of earlier versions of the table.
        "includes": [escape(root + file.name) for file in files],
    }


def _field(field: pa.Field, source: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{_ROWS}/{field.name}",
        "name": field.name,
        "description": (field.metadata or {}).get(b"description", b"").decode(),
        "dataType": _data_type(field.type),
        "source": {**source, "extract": {"column": field.name}},
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        return "sc:DateTime"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_decimal(kind):
        return "sc:Integer"
    integers = {pa.uint64(): "cr:UInt64", pa.int64(): "cr:Int64", pa.int32(): "cr:Int32"}
    return integers.get(kind, "sc:Text")


def files_described(document: bytes, facts: Facts, root: str) -> list[FileFacts] | None:
    """The files that a description lists; None if it is not one of this export."""
    try:
        told = json.loads(document)
        found = Facts.parse({name.replace("arrivals:", PREFIX): value for name, value in told.items()})
        if found != facts:
            return None
        return [
            FileFacts(entry["@id"].removeprefix(root), int(entry["contentSize"].removesuffix(" B")), entry["sha256"])
            for entry in told["distribution"]
            if entry["@type"] == "cr:FileObject"
        ]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None
