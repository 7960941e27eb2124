"""The three JSON forms of files on disk; all are ASCII with sorted keys and refuse NaN."""

from __future__ import annotations

import json


def compact_json(obj: object) -> bytes:
    """No spaces, no trailing newline: gate receipt, sealed inputs, validation report, index, flag, logs."""
    return _dump(obj, separators=(",", ":"))


def receipt_json(obj: object) -> bytes:
    """Default spacing, no trailing newline: run receipt, tz cache manifest, run-report lines."""
    return _dump(obj)


def indented_json(obj: object) -> bytes:
    """Two-space indent and a trailing newline: alias index, universe hash, virtual routing policy."""
    return _dump(obj, indent=2) + b"\n"


def _dump(obj: object, *, indent: int | None = None, separators: tuple[str, str] | None = None) -> bytes:
    # json.dumps escapes to ASCII unless told otherwise, so encoding cannot fail.
    text = json.dumps(obj, sort_keys=True, allow_nan=False, indent=indent, separators=separators)
    return text.encode("ascii")
