"""JSON of another program: refused within bounds of time, depth and length of the message, whatever it holds.

A size is such that work which grows with its square would take minutes.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.rundir import strict_json
from arrival_engine.engine.rundir.hashing import Row
from arrival_engine.engine.rundir.strict_json import DEPTH_LIMIT, SIZE_LIMIT, _Scan, _scan_object, parse_json
from arrival_engine.engine.sealing import stored

MANY = 200_000


def nested(levels: int) -> bytes:
    return (
        b'{"a":' * (levels // 2) + b"[" * (levels - levels // 2) + b"]" * (levels - levels // 2) + b"}" * (levels // 2)
    )


def test_many_repeated_keys_are_refused_and_a_few_are_named():
    text = "{" + ",".join(f'"k{i}":1,"k{i}":2' for i in range(MANY)) + "}"
    with pytest.raises(ValueError, match=f"^key 'k0', .* and {MANY - 5} more appears twice$"):
        parse_json(text.encode())


def test_a_repeated_key_of_any_length_is_named_in_a_short_message():
    key = json.dumps("k" * 10**6)
    with pytest.raises(ValueError, match="twice") as caught:
        parse_json(f"{{{key}:1,{key}:2}}".encode())
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("read", [parse_json, lambda data: _Scan(io.BytesIO(data)).value()], ids=["whole", "rows"])
def test_documents_nest_to_a_limit(read):
    assert read(nested(DEPTH_LIMIT))
    for levels in (DEPTH_LIMIT + 1, 900, 10**6):
        with pytest.raises((ValueError, RecursionError), match=r"nested|recursion"):
            read(nested(levels))


class Counted(io.BytesIO):
    """A file that counts its reads."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        return super().read(size)


def test_a_long_value_is_parsed_a_few_times_however_long_it_is(monkeypatch):
    monkeypatch.setattr(strict_json, "_READ_BYTES", 2**10)
    file = Counted(b'{"a": "' + b"x" * (SIZE_LIMIT - 100) + b'"}')
    assert len(_scan_object(_Scan(file), "rows", [].extend)["a"]) == SIZE_LIMIT - 100
    assert file.reads < 40
    longer = Counted(b'{"a": "' + b"x" * (SIZE_LIMIT + 2**12) + b'"}')
    with pytest.raises(ValueError, match="longer than"):
        _scan_object(_Scan(longer), "rows", [].extend)


def test_an_inventory_that_repeats_its_rows_is_refused():
    row = {"manifest_fingerprint": "f", "parameter_hash": "p"}
    rows: list[Row] = [{**row, "artifact_id": f"a{number // 2}"} for number in range(MANY)]
    with pytest.raises(ArrivalError, match=f"lists more than once: 'a0', .* and {MANY // 2 - 5} more") as caught:
        stored._check_rows(rows, row, InsidePath(Path("inventory.json")))
    assert caught.value.code == Code.S0_GATE_MISSING_OR_INVALID
