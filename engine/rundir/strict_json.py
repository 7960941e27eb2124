"""Strict reading of JSON: bounded size, no repeated keys, no NaN."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import reading

# The largest document read here, an inventory of a few dozen rows, takes about 40 KB.
SIZE_LIMIT = 16 * 2**20


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"key {', '.join(map(repr, twice))} appears twice")
    return document


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def parse_json(data: bytes) -> Any:
    """The value of a UTF-8 JSON text; raises ValueError for anything else, repeated keys and NaN included."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_single, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_json(path: Path, *, what: str, code: Code, hint: str) -> Any:
    """The value in a JSON file; raises `code` for text that is not strict JSON, IO_READ_FAILED."""
    with reading(what, path), path.open("rb") as file:
        data = file.read(SIZE_LIMIT + 1)
    fault = f"larger than {SIZE_LIMIT} bytes" if len(data) > SIZE_LIMIT else ""
    if not fault:
        try:
            return parse_json(data)
        except ValueError as error:
            fault = str(error)
    raise ArrivalError(code, f"{what} {path} is not valid JSON: {fault}", hint=hint, path=path)


def read_json_lines(path: Path, *, what: str, where: str, code: Code, hint: str) -> list[dict[str, Any]]:
    """The values in a JSON Lines file; raises `code`, naming the file as `where`, for a line that is not JSON."""
    with reading(what, path):
        lines = path.read_bytes().splitlines()
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(parse_json(line))
        except ValueError as failure:
            message = f"{where}, line {number} is not JSON: {failure}"
            raise ArrivalError(code, message, hint=hint, path=path) from failure
    return records
