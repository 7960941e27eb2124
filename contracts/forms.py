"""The three JSON serialisations that files on disk use; all are ASCII with sorted keys and reject NaN."""

from __future__ import annotations

import json


def compact_json(obj: object) -> bytes:
    """No spaces, no trailing newline: gate receipt, sealed inputs, validation report, index and flag, log lines."""
    return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def receipt_json(obj: object) -> bytes:
    """Default spacing, no trailing newline: run receipt, tz cache manifest, run-report lines."""
    return json.dumps(obj, sort_keys=True, ensure_ascii=True, allow_nan=False).encode("ascii")


def indented_json(obj: object) -> bytes:
    """Two-space indent and a trailing newline: alias index, universe hash, virtual routing policy."""
    return json.dumps(obj, sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False).encode("ascii") + b"\n"
