"""The published scenarios of a run, and SQL for the arrivals of one, in any form they were written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.dataset
import pyarrow.ipc

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.safe_text import shell_word
from arrival_engine.engine.arrivals.part_file import PartFile
from arrival_engine.engine.arrivals.reading import part_files, reading_arrivals
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.validation.database import Cursor, parquet


@dataclass(frozen=True)
class Published:
    """One scenario's part files in name order, their size, and whether their times are texts."""

    scenario_id: str
    parts: tuple[InsidePath, ...]
    bytes: int
    text_times: bool

    @property
    def format(self) -> str:
        """`parquet` or `arrow`."""
        return self.parts[0].suffix.removeprefix(".")

    @contextmanager
    def relation(self, cursor: Cursor) -> Iterator[str]:
        """FROM item over all parts: their columns, with `ts_us` and `local_us` in µs."""
        times = ", ".join(
            f"{self._microseconds(column)} AS {alias}"
            for column, alias in (("ts_utc", "ts_us"), ("ts_local_primary", "local_us"))
        )
        with ExitStack() as held:
            files = held.enter_context(cursor.opened(self.parts))
            if self.format == "parquet":
                yield f"(SELECT *, {times} FROM {parquet(files)})"
                return
            cursor.attach("arrow_parts", pyarrow.dataset.dataset(files, format="ipc"))
            held.callback(cursor.detach, "arrow_parts")
            yield f"(SELECT *, {times} FROM arrow_parts)"

    def _microseconds(self, column: str) -> str:
        return f"epoch_us(rtrim({column}, 'Z')::TIMESTAMP)" if self.text_times else f"epoch_us({column})"


def published_scenarios(receipt: Receipt) -> tuple[str, ...]:
    """Scenarios with at least one part file, ascending."""
    return tuple(name for name, folder in receipt.partitions("arrival_events_5B").items() if part_files(folder))


def find_published(receipt: Receipt, wanted: Sequence[str]) -> tuple[Published, ...]:
    """The scenarios asked for, or all that are published. Raises OPTION_INVALID, IO_READ_FAILED."""
    known = published_scenarios(receipt)
    if not known:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"{receipt.run_root} has no published arrivals: there is nothing to report on",
            hint="run `arrivals run RUN_ROOT` first",
            path=receipt.path("arrival_events_5B", scenario_id="any").parent,
        )
    unknown = [scenario for scenario in wanted if scenario not in known]
    if unknown:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"no published arrivals of scenario {', '.join(unknown)}; published: {', '.join(known)}",
            hint=f"name a published one, or run `arrivals run RUN_ROOT --scenario {shell_word(unknown[0])}` first",
            scenarios=list(known),
        )
    return tuple(_published(receipt, scenario) for scenario in dict.fromkeys(wanted or known))


def _published(receipt: Receipt, scenario_id: str) -> Published:
    parts = part_files(receipt.path("arrival_events_5B", scenario_id=scenario_id))
    suffixes = {path.suffix for path in parts}
    if len(suffixes) > 1:
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"{parts[0].parent} holds parts of several formats",
            hint="run `arrivals run RUN_ROOT --replace`",
            path=parts[0].parent,
        )
    with reading_arrivals(parts[0], KeyError, ValueError):
        size = sum(path.stat().st_size for path in parts)
        kind = PartFile.at(parts[0]).schema().field("ts_utc").type
    return Published(scenario_id, tuple(parts), size, not pa.types.is_timestamp(kind))
