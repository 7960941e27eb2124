"""Page indexes and page headers that hide rows, or lead to others, kind 8: readers that skip pages go by them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from tests.support.forged_footers import word
from tests.support.forging import parts_of, rename_parts, write_part
from tests.support.relaid import Change, Chunk, Laid, relaid, unchanged
from tests.validation.forgeries.registry import tampering

NULL_PAGES, MINS, MAXES, ORDER, NULL_COUNTS = range(1, 6)
LOCATIONS, FIRST_ROW = 1, 3
_PAGE_ROWS = 64


def repaged(
    run_root: Path, *, pages: Change = unchanged, index: Change = unchanged, footer: Change = unchanged
) -> None:
    """Write each part again in small pages with an index, and change what is stated of them."""
    paths = parts_of(run_root)
    for path in paths:
        file = pq.ParquetFile(path)
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
        file.close()
        write_part(path, iter(groups), pq.read_schema(path), page_rows=_PAGE_ROWS)
        relaid(path, pages=pages, index=index, footer=footer)
    rename_parts(paths)


def _each(name: str, change: Callable[[Chunk], object]) -> Change:
    """Change all chunks of a column."""

    def changed(laid: Laid) -> None:
        for chunk in laid.chunks:
            if chunk.name == name:
                change(chunk)

    return changed


@tampering("files", slow=True)
def the_page_index_hides_times(run_root: Path) -> None:
    """Bounds far in the past: a reader that prunes by time finds no row."""

    def hide(chunk: Chunk) -> None:
        pages = len(chunk.pages)
        chunk.column_index |= {MINS: [word(1)] * pages, MAXES: [word(1)] * pages, ORDER: 0}

    repaged(run_root, index=_each("ts_utc", hide))


@tampering("files", slow=True)
def the_page_index_hides_the_last_rows_of_merchants(run_root: Path) -> None:
    def hide(chunk: Chunk) -> None:
        chunk.column_index |= {MAXES: chunk.column_index[MINS]}

    repaged(run_root, index=_each("arrival_seq", hide))


@tampering("files", slow=True)
def the_page_index_takes_merchants_for_signed_numbers(run_root: Path) -> None:
    """An id with the highest bit set is then less than all others."""

    def turn(chunk: Chunk) -> None:
        low, high = chunk.column_index[MINS][0], chunk.column_index[MAXES][0]
        chunk.column_index[MINS][0], chunk.column_index[MAXES][0] = word(1 << 63), min(low, high)

    repaged(run_root, index=_each("merchant_id", turn))


@tampering("files", slow=True)
def the_page_index_counts_nulls_that_are_none(run_root: Path) -> None:
    def count(chunk: Chunk) -> None:
        chunk.column_index[NULL_COUNTS][0] += 1

    repaged(run_root, index=_each("bucket_index", count))


@tampering("files", slow=True)
def the_page_index_takes_a_page_for_nulls(run_root: Path) -> None:
    def empty(chunk: Chunk) -> None:
        for field, value in ((NULL_PAGES, True), (MINS, b""), (MAXES, b"")):
            chunk.column_index[field][0] = value

    repaged(run_root, index=_each("ts_utc", empty))


@tampering("files", slow=True)
def the_page_index_says_that_numbers_descend(run_root: Path) -> None:
    """A reader that halves its way finds nothing in the other half."""
    repaged(run_root, index=_each("arrival_seq", lambda chunk: chunk.column_index.update({ORDER: 2})))


@tampering("files", slow=True)
def the_page_index_leads_to_another_page(run_root: Path) -> None:
    def swap(chunk: Chunk) -> None:
        places = chunk.offset_index[LOCATIONS]
        first, last = places[0], places[-1]
        places[0], places[-1] = {**last, FIRST_ROW: first[FIRST_ROW]}, {**first, FIRST_ROW: last[FIRST_ROW]}

    repaged(run_root, index=_each("tzid_primary", swap))


@tampering("files", slow=True)
def the_page_index_counts_rows_from_another_one(run_root: Path) -> None:
    def move(chunk: Chunk) -> None:
        for place in chunk.offset_index[LOCATIONS][1:]:
            place[FIRST_ROW] -= 1

    repaged(run_root, index=_each("site_id", move))


@tampering("files", slow=True)
def page_headers_state_times_that_no_row_has(run_root: Path) -> None:
    def lie(chunk: Chunk) -> None:
        chunk.pages[0].statistics.update({5: word(1), 6: word(1)})

    repaged(run_root, pages=_each("ts_utc", lie))


@tampering("files", slow=True)
def row_groups_are_said_to_begin_elsewhere(run_root: Path) -> None:
    """Readers that share a file take the row groups that begin in their share."""

    def move(laid: Laid) -> None:
        for group in laid.footer[4]:
            group[5] = 4

        laid.footer[4][0][5] = 5

    repaged(run_root, footer=move)
