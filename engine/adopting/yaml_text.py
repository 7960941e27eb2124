"""A policy as YAML that its reader reads back digit for digit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from arrival_engine.config.strict import parse_yaml

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./]*")


def yaml_bytes(document: Mapping[str, Any], comment: str) -> bytes:
    """The document as one YAML file below a comment; mappings in blocks, lists in lines."""
    data = "".join([*(f"# {line}\n" for line in comment.splitlines()), *_block(document, "")]).encode()
    if parse_yaml(data) != document:
        raise ValueError("a policy is not read as it is written")
    return data


def _block(document: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield f"{indent}{_scalar(key)}:\n"
            yield from _block(value, f"{indent}  ")
        else:
            yield f"{indent}{_scalar(key)}: {_line(value)}\n"


def _line(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_line(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_scalar(key)}: {_line(item)}" for key, item in value.items()) + "}"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, Decimal):
        # Without an exponent, which other readers of YAML take for text; with a point, so that it stays a decimal.
        text = f"{value:f}"
        return text if "." in text else f"{text}.0"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and isinstance(_reread(value), str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _reread(text: str) -> object:
    return parse_yaml(f"[{text}]".encode())[0]
