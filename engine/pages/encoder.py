"""One batch of codes to the bytes of a Parquet part (docs/reference/part-files.md)."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.jit import is_cached
from arrival_engine.cpu_fallback.pages.codes import lay_codes, lay_runs
from arrival_engine.cpu_fallback.pages.digits import INSTANT_SIZE, WALL_SIZE
from arrival_engine.cpu_fallback.pages.frame import put_footer, put_pages
from arrival_engine.cpu_fallback.pages.layout import Cut, Runs, Twin
from arrival_engine.cpu_fallback.pages.numbers import lay_deltas
from arrival_engine.cpu_fallback.spread import spread_codes
from arrival_engine.cpu_fallback.tables import I32, I64, Columns, empty_columns, empty_row_totals
from arrival_engine.engine.arrivals.part_file import is_time
from arrival_engine.engine.expand.backend import BatchResult
from arrival_engine.engine.expand.planning import Batch
from arrival_engine.engine.pages.cuts import cut_into_pages, with_nulls, without_nulls
from arrival_engine.engine.pages.dictionaries import dictionaries_of
from arrival_engine.engine.pages.footer import FooterEnds
from arrival_engine.engine.pages.framing import Buffer, Framing
from arrival_engine.engine.pages.programs import frame_of
from arrival_engine.engine.pages.sections import Section, sections_of
from arrival_engine.engine.pages.sheet import Form, Same, Sheet, Workspace
from arrival_engine.engine.world.load import World

# A file, piece by piece; each is valid until the next one is asked for.
Pieces = Generator[Buffer, None, None]

PAGE_ROWS = 8192
# Readers prune by merchant, time and sequence. Numbers, 1 signed and 2 unsigned.
_BOUNDED = {"merchant_id": 2, "bucket_index": 1, "arrival_seq": 1, "ts_utc": 1}


def nothing() -> BatchResult:
    """A batch without arrivals."""
    batch = Batch(index=0, segments=(0, 0), rows=(0, 0), arrivals=0)
    return BatchResult(batch, empty_row_totals(0), Digest(0, 0, 0), 0, 0, empty_columns(0))


def kernels_are_cached() -> bool:
    """Whether the machine code of the kernels that most parts need is in the cache on disk."""
    return all(is_cached(kernel) for kernel in (lay_codes, lay_runs, lay_deltas, put_pages, put_footer))


class PageEncoder:
    """Encodes the batches of one scenario, on any number of threads.

    schema: the contract's, by the output policy; page_rows: about how many rows a page has.
    """

    def __init__(self, world: World, schema: pa.Schema, *, page_rows: int = PAGE_ROWS) -> None:
        self._world, self._schema, self._page_rows = world, schema, page_rows
        self._dictionaries = dictionaries_of(world)
        self._options = world.settings.output
        self._form = self._form_of(schema)
        # The null channel is the empty text, which sorts first.
        self._has_null_channel = world.channels[:1] == ("",)
        self._spare: deque[Workspace] = deque()

    def _form_of(self, schema: pa.Schema) -> Form:
        names = tuple(schema.names)
        times = list(filter(is_time, names))
        texts = {} if self._options.timestamp_encoding == "timestamp" else dict.fromkeys(times, WALL_SIZE)
        if texts:
            texts["ts_utc"] = INSTANT_SIZE
        deltas = self._options.encoding == "delta"
        packed = frozenset({"is_virtual", *texts, *(() if deltas else ("arrival_seq", *times))})
        codec = self._options.compression
        bounded = np.array([0 if name in texts else _BOUNDED.get(name, 0) for name in names], np.int32)
        single = np.array([name in self._dictionaries.constants for name in names], np.int32)
        frame = frame_of(schema, bounded.tolist(), dict.fromkeys(packed, codec))
        return Form(names, single, bounded, codec, packed, texts, deltas, frame)

    def load_kernels(self) -> None:
        """Compile the kernels of this form, or load them from the cache."""
        deque(self.pieces(nothing(), np.zeros(1, np.int64), {}), maxlen=0)

    def pieces(self, result: BatchResult, groups: I64, metadata: Mapping[str, str]) -> Pieces:
        """The file of a batch.

        groups: int64[R + 1], arrivals before each row group. metadata: the file's key-value metadata.
        """
        ends = FooterEnds(self._schema.with_metadata(dict(metadata)))
        with self._workspace(int(np.diff(groups).max(initial=0))) as space:
            framing = Framing(self._form.frame, space.file)
            yield framing.begin()
            for section in sections_of(self._world, result, groups):
                sheet = Sheet(self._form, section.groups, cut_into_pages(section.groups, self._page_rows), space)
                self._lay_count_rows(sheet, section)
                self._lay_arrivals(sheet, section.columns)
                yield framing.pages(sheet.laid())
            yield from framing.end(result.batch.arrivals, ends)

    @contextmanager
    def _workspace(self, group_rows: int) -> Iterator[Workspace]:
        try:
            space = self._spare.pop()
        except IndexError:
            space = None
        if space is None or not space.fits(group_rows):
            space = Workspace(group_rows, self._page_rows, self._dictionaries.longest, self._form)
        yield space
        self._spare.append(space)

    def _lay_count_rows(self, sheet: Sheet, section: Section) -> None:
        """Columns that follow from the count rows."""
        found, fine = self._dictionaries, sheet.fine
        rows = int(fine.row[-1])
        for name, dictionary in found.constants.items():
            sheet.runs(name, Runs(np.zeros(1, np.int32), np.array([0, rows])), sheet.coarse, dictionary)
        sheet.runs("merchant_id", section.merchants, fine, found.merchants)
        sheet.runs("bucket_index", section.buckets, fine, found.buckets)
        sheet.codes("zone_representation", spread_codes(section.zone, section.columns.row), fine, found.zones)
        channel = spread_codes(section.channel, section.columns.row)
        cut = without_nulls(fine)
        if self._has_null_channel:
            has_channel = channel > 0
            channel, (cut, _) = channel[has_channel], with_nulls(fine, has_channel)
        sheet.codes("channel_group", channel, cut, found.channels)

    def _lay_arrivals(self, sheet: Sheet, columns: Columns) -> None:
        """Columns of the arrivals themselves."""
        found, fine, virtual = self._dictionaries, sheet.fine, columns.is_virtual
        of_virtual, of_physical = with_nulls(fine, virtual)
        index = np.flatnonzero(virtual)
        sheet.numbers("arrival_seq", columns.arrival_seq, fine)
        twin = self._lay_times(sheet, "ts_utc", columns.ts_us, fine)
        sheet.codes("tzid_primary", columns.primary, fine, found.zones)
        self._lay_times(sheet, "ts_local_primary", columns.local_us, fine, twin)
        settlement, operational = self._clocks(columns, index)
        cut = without_nulls(fine) if self._options.mirror_dual_clock else of_virtual
        sheet.codes("tzid_operational", operational[0], cut, found.zones)
        self._lay_times(sheet, "ts_local_operational", operational[1], cut, twin)
        sheet.codes("tzid_settlement", settlement[0], cut, found.zones)
        if twin is None and self._options.mirror_dual_clock:
            # Texts take the most time by far, and physical arrivals mirror one clock in the other.
            same = Same("ts_local_operational", np.diff(of_virtual.value) == 0)
            sheet.texts("ts_local_settlement", settlement[1], cut, same)
        else:
            self._lay_times(sheet, "ts_local_settlement", settlement[1], cut, twin)
        sheet.flags("is_virtual", virtual, fine)
        physical = columns.place if index.size == 0 else columns.place[~virtual]
        sheet.codes("site_id", physical, of_physical, found.sites)
        sheet.codes("edge_id", columns.place[index], of_virtual, found.edges)

    def _clocks(self, columns: Columns, index: NDArray[np.intp]) -> tuple[tuple[I32, I64], tuple[I32, I64]]:
        """Zones and local times of settlement and of operations: those of virtual arrivals, or with mirrors, of all."""
        zone, local_us = columns.settlement, columns.settlement_local_us
        if not self._options.mirror_dual_clock:
            return (zone[index], local_us[index]), (columns.primary[index], columns.local_us[index])
        virtual = columns.is_virtual
        settlement = np.where(virtual, zone, columns.primary), np.where(virtual, local_us, columns.local_us)
        return settlement, (columns.primary, columns.local_us)

    def _lay_times(self, sheet: Sheet, name: str, values: I64, cut: Cut, twin: Twin | None = None) -> Twin | None:
        if name in self._form.texts:
            sheet.texts(name, values, cut)
            return None
        return sheet.numbers(name, values, cut, twin)
