"""Documents with one long array: the same values and refusals as the whole document, whatever the window."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.rundir import strict_json
from arrival_engine.engine.rundir.strict_json import SIZE_LIMIT, _Scan, _scan_object, check_size, read_json_rows

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FACTS = st.dictionaries(TEXTS.filter(lambda name: name != "rows"), VALUES, max_size=3)


class Trickle(io.BytesIO):
    """A file that hands out at most `step` bytes per read."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(data)
        self._step = step

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._step if size is None or size < 0 else min(size, self._step))


def scanned(data: bytes, step: int):
    rows = []
    document = _scan_object(_Scan(Trickle(data, step)), "rows", rows.extend)
    return document, rows


@given(FACTS, FACTS, st.lists(VALUES, max_size=5), st.sampled_from([None, 0, 3]), st.integers(1, 9), st.booleans())
def test_every_document_is_read_as_json_loads_reads_it(before, after, rows, indent, step, ascii_only):
    whole = {**before, "rows": rows, **after}
    data = json.dumps(whole, indent=indent, ensure_ascii=ascii_only).encode()
    assert scanned(data, step) == ({**whole, "rows": []}, rows)


@given(st.lists(VALUES, max_size=3), st.data(), st.integers(1, 9))
def test_every_cut_document_is_refused(rows, data, step):
    text = json.dumps({"a": 1, "rows": rows, "b": 12}).encode()
    kept = data.draw(st.integers(0, len(text) - 1))
    with pytest.raises(ValueError):  # noqa: PT011 - the command gives it a code
        scanned(text[:kept], step)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[1]", "no {"),
        (b"", "no {"),
        (b'{"rows": [1, 2,]}', "Expecting value at character 15"),
        (b'{"rows": [1 2]}', "no , or ] at character 12"),
        (b'{"rows": []} x', "extra data at character 13"),
        (b'{"rows": [], "rows": []}', "key 'rows' appears twice"),
        (b'{"rows": [{"a": 1, "a": 2}]}', "key 'a' appears twice"),
        (b'{"rows": [NaN]}', "NaN is not JSON"),
        (b"{'rows': []}", "no property name at character 1"),
        (b'{"rows": ["\xff"]}', "can't decode byte 0xff"),
        (b'{"rows": [' + b"[" * 200_000, "nested too deeply"),
        (b'{"rows": ["' + b"x" * (SIZE_LIMIT + 2**21) + b'"]}', "longer than 16777216 characters"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_text_that_is_not_strict_json_is_refused_with_its_place(tmp_path, text, says):
    path = tmp_path / "index.json"
    path.write_bytes(text)
    with pytest.raises(ArrivalError) as caught:
        read_json_rows(
            path, "rows", lambda _rows: None, what="index", code=Code.SITE_RESOLUTION_FAILED, hint="restore it"
        )
    assert caught.value.code is Code.SITE_RESOLUTION_FAILED
    assert says in caught.value.message
    assert str(path) in caught.value.message


def test_rows_arrive_in_pieces_and_no_piece_grows_with_the_document(tmp_path):
    path = tmp_path / "index.json"
    path.write_text(json.dumps({"rows": list(range(20_000))}))
    sizes: list[int] = []
    read_json_rows(
        path, "rows", lambda rows: sizes.append(len(rows)), what="i", code=Code.SITE_RESOLUTION_FAILED, hint=""
    )
    assert sum(sizes) == 20_000
    assert max(sizes) == strict_json._PIECE_ROWS


def test_a_document_is_not_written_that_would_not_be_read():
    check_size(bytes(SIZE_LIMIT), what="sealed_inputs_5B")
    with pytest.raises(ArrivalError, match="sealed_inputs_5B would take 16777217 bytes") as caught:
        check_size(bytes(SIZE_LIMIT + 1), what="sealed_inputs_5B")
    assert caught.value.code is Code.LIMIT_EXCEEDED
