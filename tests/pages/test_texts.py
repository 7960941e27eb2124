"""Pages of times as text, decoded in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.cpu_fallback.pages import layout
from arrival_engine.cpu_fallback.pages.digits import INSTANT_SIZE, WALL_SIZE
from arrival_engine.cpu_fallback.pages.layout import REQUIRED, WHERE_CLEAR, WHERE_SET, Cut, Described, new_room
from arrival_engine.cpu_fallback.pages.texts import lay_texts, new_texts
from tests.support import page_decoding as decode

LEAST, MOST = (int(np.datetime64(text, "us").astype(np.int64)) for text in ("1677-12-31", "2262-01-02"))
TIMES = st.integers(LEAST, MOST)
# Steps between neighbours: the same time, the next microsecond, and as far as the next hour, day or year.
STEPS = st.one_of(st.just(0), *(st.integers(0, 10**power) for power in (1, 4, 6, 8, 10, 12, 14)))
BEFORE = 5  # bytes of the body that are another column's


def laid(values, valid, pages, *, size, plain, levels=WHERE_SET):
    """Bytes and description of each page. values: by row; valid: by row, or None; pages: rows before each."""
    rows = np.array(pages, np.int64)
    flags = np.append(np.ones(len(values)) if valid is None else valid, np.zeros(7)).astype(np.uint8)
    has = flags[: len(values)].astype(bool)
    before = np.append(0, np.cumsum(has))[rows]
    if levels == WHERE_CLEAR:
        flags[: len(values)] ^= 1
    cut = Cut(rows, before, np.array([0, rows.size - 1]), np.int64(levels), flags)
    most = int(np.diff(rows).max())
    body = np.full(BEFORE + 56 * len(values) + 1024 * rows.size, 0xA5, np.uint8)
    described = Described(np.zeros((rows.size - 1, layout.PAGE_FIELDS), np.int64), np.zeros((1, 4), np.int64))
    text = new_texts(size, plain=plain, values=most)
    for array in (text.own, text.sizes):
        array.view(np.uint8)[:] = 0x5A
    end = lay_texts(np.array(values, np.int64)[has], cut, text, body, np.int64(BEFORE), new_room(most, 1), described)
    facts = described.pages
    assert facts[:, layout.BEGIN].tolist() == [BEFORE, *np.cumsum(facts[:-1, layout.SIZE]) + BEFORE]
    assert facts[-1, layout.BEGIN] + facts[-1, layout.SIZE] == end
    assert (body[:BEFORE] == 0xA5).all()
    return [(body[page[layout.BEGIN] :][: page[layout.SIZE]].tobytes(), page) for page in facts]


def wanted_texts(values, size):
    stamps = np.array(values, "datetime64[us]")
    texts = np.datetime_as_string(stamps, "us").tolist() if len(values) else []
    return [(f"{text}Z" if size == INSTANT_SIZE else text).encode() for text in texts]


def check(values, valid, pages, *, size, plain, levels):
    found = laid(values, valid, pages, size=size, plain=plain, levels=levels)
    for (data, facts), first, last in zip(found, pages[:-1], pages[1:], strict=True):
        flags, at = [1] * (last - first), 0
        if levels != REQUIRED:
            flags, at = decode.levels(data, 0, last - first)
            assert flags == [1] * (last - first) if valid is None else list(valid[first:last])
        own = [value for value, flag in zip(values[first:last], flags, strict=True) if flag]
        texts, end = decode.plain_texts(data, at, len(own)) if plain else decode.front_coded(data, at)
        assert end == len(data)
        assert texts == wanted_texts(own, size)
        assert facts[layout.ENCODING] == (layout.PLAIN if plain else layout.DELTA_BYTE_ARRAY)
        assert facts[layout.PLAIN_SIZE] == len(data)
        assert (facts[layout.VALUES], facts[layout.NULLS]) == (last - first, last - first - len(own))


@given(
    TIMES,
    st.lists(STEPS, max_size=300),
    st.sampled_from(
        [(REQUIRED, INSTANT_SIZE), (REQUIRED, WALL_SIZE), (WHERE_SET, WALL_SIZE), (WHERE_CLEAR, WALL_SIZE)]
    ),
    st.booleans(),
    st.data(),
)
def test_pages_hold_the_texts(first, steps, form, plain, data):
    levels, size = form
    values = np.minimum(np.cumsum([first, *steps]), MOST).tolist()
    inner = data.draw(st.sets(st.integers(1, max(1, len(values) - 1)), max_size=4))
    pages = sorted({0, len(values), *(row for row in inner if row < len(values))})
    valid = None
    if levels != REQUIRED and data.draw(st.booleans()):
        valid = data.draw(st.lists(st.integers(0, 1), min_size=len(values), max_size=len(values)))
    check(values, valid, pages, size=size, plain=plain, levels=levels)


@pytest.mark.parametrize("plain", [False, True])
def test_pages_of_one_time_and_of_nulls_alone(plain):
    check([0], None, [0, 1], size=WALL_SIZE, plain=plain, levels=WHERE_SET)
    check([0] * 9, [0] * 9, [0, 9], size=WALL_SIZE, plain=plain, levels=WHERE_SET)
    check([7] * 20, [0] * 9 + [1] + [0] * 10, [0, 9, 10, 20], size=WALL_SIZE, plain=plain, levels=WHERE_CLEAR)


def test_neighbours_share_characters_up_to_the_minute():
    """And never more: texts whose own characters begin alike compress better."""
    second = 1_000_000
    values = [0, 0, 1, 10, second, 60 * second, 3_600 * second, 86_400 * second, 31 * 86_400 * second]
    ((data, _),) = laid(values, None, [0, len(values)], size=WALL_SIZE, plain=False, levels=REQUIRED)
    shared, at = decode.deltas(data, 0)
    own, at = decode.deltas(data, at)
    assert shared == [0, 17, 17, 17, 17, 15, 12, 9, 6]
    assert own == [26 - same for same in shared]
    assert len(data) - at == sum(own)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("span", [10**8, 10**11, MOST - LEAST])
def test_a_full_page_of_times_in_any_order(plain, span):
    values = np.random.default_rng(1).integers(LEAST, LEAST + span, 8192).tolist()
    check(values, None, [0, 8192], size=INSTANT_SIZE, plain=plain, levels=REQUIRED)
