"""A file around the pages of sheets: headers, page index and footer."""

from __future__ import annotations

import numpy as np

from arrival_engine.contracts.thrift import MAGIC
from arrival_engine.cpu_fallback.pages import layout
from arrival_engine.cpu_fallback.pages.frame import put_footer, put_pages
from arrival_engine.cpu_fallback.pages.layout import Frame, Laid, Located
from arrival_engine.cpu_fallback.tables import U8, Index
from arrival_engine.engine.pages.footer import FooterEnds

Buffer = bytes | memoryview
# Headers and entries in page index and footer, of a page and of a chunk.
_PAGE_FRAME, _CHUNK_FRAME = 160, 600
_NOTHING = np.empty(0, np.uint8)


class FileBuffer:
    """Memory for pieces of a file, one after the other."""

    def __init__(self) -> None:
        self._data = np.empty(0, np.uint8)

    def of(self, size: int) -> U8:
        """`size` bytes at least; what they held is lost."""
        if self._data.size < size:
            self._data = np.empty(size + size // 4, np.uint8)
        return self._data


class Framing:
    """Frames sheets, in the order of their row groups. Pieces are valid until the next one is asked for."""

    def __init__(self, frame: Frame, buffer: FileBuffer) -> None:
        self._frame, self._buffer = frame, buffer
        self._size = len(MAGIC)
        self._sheets: list[tuple[Laid, Located]] = []

    @staticmethod
    def begin() -> Buffer:
        """What a file begins with."""
        return MAGIC

    def pages(self, laid: Laid) -> Buffer:
        """The pages of a sheet, behind what is in the file already."""
        (columns, pages), row_groups = laid.pages.shape[:2], laid.dictionaries.shape[1]
        located = Located(
            self._size,
            np.empty((columns, pages, layout.LOCATION_FIELDS), np.int64),
            np.empty((row_groups, columns, layout.CHUNK_FIELDS), np.int64),
            np.empty((row_groups, layout.GROUP_FIELDS), np.int64),
        )
        # Pages that two columns share are in the file twice.
        size = int(laid.pages[:, :, layout.SIZE].sum() + laid.dictionaries[:, :, layout.DICT_SIZE].clip(0).sum())
        out = self._buffer.of(size + _frame_bytes(laid))
        size = int(put_pages(laid, self._frame, out, 0, located))
        self._size += size
        self._sheets.append((laid._replace(body=_NOTHING), located))
        return memoryview(out[:size].data)

    def end(self, rows: int, ends: FooterEnds) -> list[Buffer]:
        """Page index and footer of a file of `rows` rows."""
        space = sum(_frame_bytes(laid) for laid, _ in self._sheets)
        out = self._buffer.of(space)
        end: Index = 0
        for what in (layout.COLUMN_INDEXES, layout.OFFSET_INDEXES, layout.ROW_GROUPS):
            begin = end
            for laid, located in self._sheets:
                end = put_footer(laid, located._replace(base=self._size), self._frame, out, end, what)
        row_groups = sum(laid.dictionaries.shape[1] for laid, _ in self._sheets)
        return [memoryview(out[:begin].data), ends.file_end(rows, row_groups, out[begin:end].tobytes())]


def _frame_bytes(laid: Laid) -> int:
    """At most so much is said of the pages, besides the pages themselves."""
    columns, pages = laid.pages.shape[:2]
    return int(columns * (pages * _PAGE_FRAME + laid.dictionaries.shape[1] * _CHUNK_FRAME))
