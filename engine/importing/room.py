"""The memory that the rows of a table need, compared with what there is before the rows are read."""

from __future__ import annotations

from dataclasses import dataclass

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.process import human
from arrival_engine.engine.process.machine import memory_in_use_bytes, memory_limit_bytes

# The columns, and the keys and orders by which rows are joined: 129 were measured for 16 million count rows.
BYTES_PER_ROW = 128


@dataclass(frozen=True)
class Room:
    """The memory of this process in bytes: its limit, what sets that, and what was in use before the first row."""

    limit: int
    source: str
    held: int

    @classmethod
    def here(cls) -> Room:
        """The room that there is now."""
        limit, source = memory_limit_bytes()
        return cls(limit, source, memory_in_use_bytes(source))

    def check(self, rows: int, name: str) -> None:
        """Refuse more rows than fit. Raises RESOURCES_INSUFFICIENT with the numbers; `name` is the file's."""
        needed = rows * BYTES_PER_ROW
        if self.held + needed <= self.limit:
            return
        fitting = max((self.limit - self.held) // BYTES_PER_ROW, 0)
        raise ArrivalError(
            Code.RESOURCES_INSUFFICIENT,
            f"{name}: {rows:,} rows need about {human.size(needed)} besides the {human.size(self.held)} in use; this "
            f"process may have {human.size(self.limit)} ({self.source})",
            hint=f"import fewer merchants or a shorter period at once (about {fitting:,} rows fit), leave out rows "
            "that repeat or count nothing, or raise the limit",
            rows=rows,
            needed_bytes=self.held + needed,
            limit_bytes=self.limit,
        )
