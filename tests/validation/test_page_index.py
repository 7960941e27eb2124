"""What a page index and page headers state: true statements pass, false ones are named, damaged ones end nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts.inside import InsidePath
from arrival_engine.engine.rundir.arrow_files import parquet_metadata
from arrival_engine.engine.validation.file_order import stream_part
from arrival_engine.engine.validation.footers import footer_faults
from arrival_engine.engine.validation.statements import read_statements
from tests.support.forged_footers import word
from tests.support.relaid import Change, Chunk, Laid, Struct, encoded, relaid
from tests.support.validating import Arrivals

ROWS, PAGE_ROWS = 60, 10
NULL_PAGES, MINS, MAXES, ORDER, NULL_COUNTS, REPETITIONS, DEFINITIONS = range(1, 8)
LOCATIONS, TEXT_BYTES = 1, 2


def _table() -> pa.Table:
    numbers = list(range(ROWS))
    some = [None if number // PAGE_ROWS == 2 or number % 7 == 3 else number for number in numbers]
    texts = [None if number is None else f"text {number:03}" for number in some]
    return pa.table(
        {
            "u64": pa.array([(1 << 63) - 30 + number for number in numbers], pa.uint64()),
            "i64": pa.array([-number for number in numbers]),
            "some": pa.array(some, pa.int64()),
            "text": pa.array(texts),
            "coded": pa.array(texts).dictionary_encode(),
            "flag": pa.array([None if number is None else number > 30 for number in some]),
            "real": pa.array([None if number is None else number / 8 - 3 for number in some]),
            "time": pa.array(some, pa.timestamp("us", tz="UTC")),
            "none": pa.nulls(ROWS, pa.int64()),
            "nest": pa.array([{"a": number} for number in some]),
        }
    )


def _written(path: Path, **options: object) -> Path:
    """A file of two row groups with three pages each, and an index of all columns."""
    options = {"write_page_index": True, "row_group_size": ROWS // 2, **options}
    pq.write_table(_table(), path, max_rows_per_page=PAGE_ROWS, write_batch_size=PAGE_ROWS, **options)
    return path


def _faults(path: Path) -> list[str]:
    return [str(fault["fault"]) for fault in footer_faults(InsidePath.of_user(path))]


def _led_astray(path: Path) -> list[str]:
    """What the file states wrongly of its own layout, which may keep Arrow from reading it."""
    return [fault.words for fault in read_statements(InsidePath.of_user(path)).faults]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"write_page_index": False},
        {"write_page_checksum": True},
        {"compression": "zstd"},
        {"use_dictionary": False},
    ],
    ids=["index", "headers", "checksums", "codec", "plain"],
)
def test_true_statements_of_pages_pass(options: dict[str, object], tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet", **options)
    assert pq.read_metadata(path).num_row_groups == 2
    assert _faults(path) == []
    pages: list[int] = []
    relaid(path, pages=lambda laid: pages.extend(len(chunk.pages) for chunk in laid.chunks))
    assert set(pages) == {3}
    assert _faults(path) == []


def test_a_table_without_rows_has_no_faults(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    pq.write_table(_table().slice(0, 0), path, write_page_index=True)
    assert _faults(path) == []


def _chunk(name: str, change: Callable[[Chunk], object]) -> Change:
    def changed(laid: Laid) -> None:
        change(laid.chunk(name))

    return changed


def _columns(name: str, change: Callable[[Struct], object]) -> Change:
    return _chunk(name, lambda chunk: change(chunk.column_index))


def _offsets(name: str, change: Callable[[list[Struct]], object]) -> Change:
    return _chunk(name, lambda chunk: change(chunk.offset_index[LOCATIONS]))


def _set(place: int, value: object, field: int) -> Callable[[Struct], None]:
    def change(index: Struct) -> None:
        index[field][place] = value

    return change


def _swapped(locations: list[Struct]) -> None:
    locations[0], locations[1] = {**locations[0], 1: locations[1][1]}, {**locations[1], 1: locations[0][1]}


def _with_other_texts(chunk: Chunk) -> None:
    chunk.offset_index[TEXT_BYTES] = [1, 2, 3]


def _with_a_tail(chunk: Chunk) -> None:
    chunk.tail = b"\0"


INDEX_LIES: dict[str, tuple[Change, str]] = {
    "least value": (_columns("u64", _set(1, word((1 << 63) - 1), MINS)), "states the least value"),
    "greatest value": (_columns("u64", _set(1, word((1 << 63) - 20), MAXES)), "states the greatest value"),
    "least value, too wide": (_columns("i64", _set(1, word(-1000), MINS)), "states the least value"),
    "value of four bytes": (_columns("i64", _set(0, b"\0\0\0\0", MINS)), "states the least value"),
    "greatest text": (_columns("text", _set(0, b"text 001", MAXES)), "states the greatest value"),
    "greatest truth": (_columns("flag", _set(1, b"\1", MAXES)), "states the greatest value"),
    "greatest fraction": (_columns("real", _set(0, b"\0" * 8, MAXES)), "states the greatest value"),
    "greatest instant": (_columns("time", _set(0, word(0), MAXES)), "states the greatest value"),
    "least nested value": (_columns("nest.a", _set(0, word(5), MINS)), "states the least value"),
    "page of nulls": (_columns("some", _set(0, True, NULL_PAGES)), "states that there are only nulls"),
    "page of values": (_columns("some", _set(2, False, NULL_PAGES)), "does not state that there are only nulls"),
    "extremes of nulls": (_columns("some", _set(2, word(1), MINS)), "states extremes of nulls"),
    "number of nulls": (_columns("some", _set(0, 0, NULL_COUNTS)), "other numbers of nulls"),
    "levels": (_columns("some", _set(0, 9, DEFINITIONS)), "other numbers of levels"),
    "ascending": (_columns("i64", lambda index: index.update({ORDER: 1})), "states that the pages ascend"),
    "descending": (_columns("text", lambda index: index.update({ORDER: 2})), "states that the pages descend"),
    "unknown order": (_columns("u64", lambda index: index.update({ORDER: 3})), "the unknown order 3"),
    "too few pages": (_columns("u64", lambda index: index[MINS].pop()), "is about 2 pages, there are 3"),
    "no order": (_columns("u64", lambda index: index.pop(ORDER)), "damaged: there is no field 4"),
    "bytes of texts": (
        _chunk("text", lambda chunk: chunk.offset_index.update({TEXT_BYTES: [1, 2, 3]})),
        "sizes of texts",
    ),
    "no offset index": (_chunk("u64", lambda chunk: chunk.offset_index.clear()), "without an offset index"),
    "another page": (_offsets("u64", _swapped), "its offset index states"),
    "rows moved": (_offsets("u64", lambda pages: pages[1].update({3: 9})), "from row 10 on; its offset index states"),
    "a byte less": (_offsets("u64", lambda pages: pages[2].update({2: pages[2][2] - 1})), "its offset index states"),
    "a page less": (_offsets("u64", lambda pages: pages.pop()), "has an offset index of 2 pages, has 3"),
    "no row": (_offsets("u64", lambda pages: pages[0].pop(3)), "its offset index states"),
    "a byte left over": (_chunk("u64", _with_a_tail), "damaged: 1 bytes are left over"),
}


@pytest.mark.parametrize("name", INDEX_LIES)
def test_a_page_index_that_lies_is_named(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet")
    lie, expected = INDEX_LIES[name]
    relaid(path, index=lie)
    faults = _faults(path)
    assert len(faults) == 1
    assert expected in faults[0]


def _entry(name: str, **changes: int) -> Change:
    """Add to fields of a column chunk's entry: at_4=1 adds 1 to field 4."""

    def change(laid: Laid) -> None:
        entry = laid.chunk(name).entry
        for field, difference in changes.items():
            entry[int(field[3:])] += difference

    return change


def _in_each_others_place(laid: Laid) -> None:
    laid.chunk("u64").entry[6] = laid.chunk("i64").entry[6]


def _fact(field: int, value: object) -> Change:
    return _chunk("u64", lambda chunk: chunk.facts.update({field: value}))


def _fact_more(field: int, by: int) -> Change:
    return _chunk("u64", lambda chunk: chunk.facts.update({field: chunk.facts[field] + by}))


def _group(field: int) -> Change:
    return lambda laid: laid.footer[4][1].update({field: laid.footer[4][1][field] + 1})


FOOTER_LIES: dict[str, tuple[Change, str]] = {
    "an index within the pages": (lambda laid: laid.chunk("u64").entry.update({4: 100}), "others have them too"),
    "the index of another column": (_in_each_others_place, "others have them too"),
    "an index outside the file": (_entry("u64", at_6=1 << 40), "the file has none there"),
    "an index without length": (_chunk("u64", lambda chunk: chunk.entry.pop(5)), "has an offset index that is damaged"),
    "an index cut off": (_entry("u64", at_7=-1), "has a column index that is damaged"),
    "an index that begins late": (_entry("u64", at_4=1, at_5=-1), "has an offset index that is damaged"),
    "pages that begin late": (
        _chunk("u64", lambda chunk: chunk.facts.update({9: chunk.facts[9] + 1})),
        "it states data at",
    ),
    "pages of another chunk": (
        _chunk("u64", lambda chunk: chunk.facts.update({7: chunk.facts[7] + 9})),
        "have them too",
    ),
    "negative bytes": (_fact(7, -5), "the file has none there"),
    "no encoding": (_fact(2, [3]), "does not state the encoding 8 of its pages"),
    "a further encoding": (_fact(2, [0, 3, 5, 8]), "states the encoding 5, which"),
    "encodings of pages": (_fact(13, [{1: 2, 2: 0, 3: 1}, {1: 0, 2: 8, 3: 2}]), "states other encodings"),
    "the place of a row group": (_group(5), "states that it begins at"),
    "the bytes of a row group": (_group(6), "states that it has bytes"),
    "the place of a chunk": (_entry("i64", at_2=77), "states a chunk at 77"),
    "values": (_fact(5, 29), "states 29 values, its pages have 30"),
}


@pytest.mark.parametrize("name", FOOTER_LIES)
def test_a_footer_that_leads_elsewhere_is_named(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet")
    lie, expected = FOOTER_LIES[name]
    relaid(path, footer=lie)
    assert any(expected in fault for fault in _led_astray(path))


def _element(number: int, **changes: object) -> Change:
    """Set fields of an element of the schema: _3=2 sets field 3."""

    def change(laid: Laid) -> None:
        laid.footer[2][number].update({int(field[1:]): value for field, value in changes.items()})

    return change


SCHEMA_LIES: dict[str, tuple[Change, str]] = {
    "two types": (_element(1, _6=18), "column 'u64' has two types"),
    "a unit and another": (_element(8, _6=9), "column 'time' has two types"),
    "repetition": (_element(3, _3=2), "not a tree of columns without repetition"),
    "repetition of the root": (_element(0, _3=1), "the root of the schema is not one row"),
    "a name that is no text": (_element(1, _4=b"\xff64"), "invalid start byte"),
    "more columns": (_element(10, _5=2), "not a tree of columns"),
    "fewer columns": (_element(0, _5=5), "not a tree of columns"),
    "another column": (_chunk("u64", lambda chunk: chunk.facts.update({3: [b"i64"]})), "other columns than the schema"),
    "another physical type": (_fact(1, 1), "other columns than the schema"),
}


@pytest.mark.parametrize("name", SCHEMA_LIES)
def test_a_schema_that_is_not_one_is_refused(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet")
    lie, expected = SCHEMA_LIES[name]
    relaid(path, footer=lie)
    with pytest.raises(pa.ArrowInvalid, match=expected):
        read_statements(InsidePath.of_user(path))


def test_a_column_whose_name_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet")
    relaid(path, footer=_element(1, _4=b"\xff64"))
    with pytest.raises(pa.ArrowInvalid, match="a column's name is not UTF-8"):
        parquet_metadata(InsidePath.of_user(path))


def _header(name: str, change: Callable[[Struct], object]) -> Change:
    return _chunk(name, lambda chunk: change(chunk.pages[1].header))


def test_statistics_in_page_headers_are_compared(tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet", write_page_index=False)

    def lies(laid: Laid) -> None:
        laid.chunk("i64").pages[1].statistics[6] = word(-10)
        laid.chunk("text", 1).pages[2].statistics[5] = b"text 000"
        laid.chunk("some").pages[1].statistics[3] = 0

    relaid(path, pages=lies)
    assert sorted(_faults(path)) == [
        "states 0 nulls, has 2 (header of page 1)",
        "states the greatest value 0x7465787420303030, it is 'text 058' (header of page 2)",
        "states the least value 0xf6ffffffffffffff, it is -19 (header of page 1)",
    ]


HEADER_LIES: dict[str, tuple[Change, str]] = {
    "distinct values": (_chunk("some", lambda chunk: chunk.pages[1].statistics.update({4: 1})), "of distinct values"),
    "checksum": (_header("i64", lambda header: header.update({4: 1234})), "states another checksum"),
    "kind of page": (_header("i64", lambda header: header.update({1: 3})), "is of type 3 instead of 0"),
    "levels": (_header("i64", lambda header: header[5].update({3: 4})), "states levels of another encoding"),
    "no values": (_header("i64", lambda header: header[5].update({1: 0})), "has no values"),
    "sorted dictionary": (_chunk("i64", lambda chunk: chunk.dictionary[0].header[7].update({3: True})), "to be sorted"),
}


@pytest.mark.parametrize("name", HEADER_LIES)
def test_a_page_header_that_lies_is_named(name: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet", write_page_index=False)
    lie, expected = HEADER_LIES[name]
    relaid(path, pages=lie)
    assert any(expected in fault for fault in _led_astray(path))


def test_pages_that_several_chunks_state_as_theirs_are_followed_once(tmp_path: Path) -> None:
    """A footer that names the same bytes a thousand times would otherwise have them read as often."""
    path = _written(tmp_path / "table.parquet")

    def repeated(laid: Laid) -> None:
        laid.footer[4] = [laid.footer[4][0]] * 100
        laid.footer[3] = 100 * ROWS // 2

    relaid(path, footer=repeated)
    faults = _faults(path)
    assert sum("others have them too" in fault for fault in faults) == 99 * 3 * 10


def _damaged(data: bytes, spots: list[int], draw: Random, number: int) -> list[bytes]:
    flips = [(at, bit) for at in spots for bit in range(8)]
    return [data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for at, bit in draw.sample(flips, number)]


@pytest.mark.parametrize("number", [60, pytest.param(2500, marks=pytest.mark.slow)])
def test_each_flipped_bit_of_an_index_is_noticed_or_says_less(number: int, sound: Path, tmp_path: Path) -> None:
    """Only a flip that states less passes: that pages that ascend are in no order, or that there is no index."""
    path = tmp_path / Arrivals(sound).paths[-1].name
    data = Arrivals(sound).paths[-1].read_bytes()
    regions: list[tuple[int, int]] = []
    path.write_bytes(data)
    assert stream_part(InsidePath.of_user(path)).statements == []

    def note(laid: Laid) -> None:
        regions.extend(
            (chunk.entry[at], chunk.entry[at + 1]) for chunk in laid.chunks for at in (4, 6) if at in chunk.entry
        )

    relaid(path, footer=note)
    spots = [at for begin, size in regions for at in range(begin, begin + size)]
    passed = 0
    for damaged in _damaged(data, spots, Random(15), number):
        path.write_bytes(damaged)
        passed += not stream_part(InsidePath.of_user(path)).statements
    assert passed <= number // 50


def test_encoded_structs_are_those_that_were_read(tmp_path: Path) -> None:
    path = _written(tmp_path / "table.parquet")
    data = path.read_bytes()
    relaid(path)
    assert path.read_bytes() == data
    assert encoded({1: True, 3: 5}, {1: 1, 3: 6}) == b"\x11\x26\x0a\x00"
