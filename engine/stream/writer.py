"""A writer on its own thread, so that no signal splits a row."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from arrival_engine.engine.stream.encode import Encoded
from arrival_engine.engine.stream.sink import Sink

__all__ = ["Writer"]

# The capacity of a pipe; between two such pieces, the thread checks whether it must stop.
_PIECE_BYTES = 65_536


class Writer:
    """Writes chunks to a sink, one after the other.

    Signals reach only Python's main thread, so they do not interrupt this thread's writes, and the number of bytes
    written is always known. At most one chunk waits while another is written, so a slow reader slows down `put`.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._changed = threading.Condition()
        self._next: Encoded | None = None
        self._closing = False
        self._stopping = False
        self._ended = False
        self._error: Exception | None = None
        self._rows = 0
        # A daemon, so that the process can end even if the reader takes nothing more.
        self._thread = threading.Thread(target=self._run, name="arrivals-writer", daemon=True)
        self._thread.start()

    @property
    def rows(self) -> int:
        """Rows that the sink has taken completely."""
        return self._rows

    def put(self, chunk: Encoded) -> None:
        """Queue a chunk, waiting while another is queued. Raises the sink's failure."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is None or self._ended)
            self._raise_error()
            self._next = chunk
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until everything is handed over. Raises the sink's failure."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended)
            self._raise_error()

    def stop(self, seconds: float) -> bool:
        """Finish only the row being written; False if the reader takes nothing for `seconds`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._ended, seconds)

    def _raise_error(self) -> None:
        if isinstance(self._error, OSError):
            raise self._sink.failure(self._error) from self._error
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while (chunk := self._taken()) is not None:
                self._write(chunk)
            if not self._stopping:
                self._sink.finish()
        except Exception as error:  # noqa: BLE001 - raised again on the thread that waits for this one
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _taken(self) -> Encoded | None:
        """The next chunk; None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or self._closing or self._stopping)
            chunk, self._next = self._next, None
            self._changed.notify_all()
            return None if self._stopping else chunk

    def _write(self, chunk: Encoded) -> None:
        """Write a chunk; when stopped, only to the end of the current row, or all of it if it cannot be divided."""
        position, before = 0, self._rows
        while position < len(chunk.data):
            last = min(position + _PIECE_BYTES, len(chunk.data))
            if self._stopping and chunk.ends is not None:
                last = min(last, _end_of_row(chunk.ends, position))
                if position == last:
                    return
            position += self._sink.write(chunk.data[position:last])
            if chunk.ends is not None:
                self._rows = before + int(np.searchsorted(chunk.ends, position, side="right"))
        self._rows = before + chunk.rows


def _end_of_row(ends: NDArray[np.int64], position: int) -> int:
    """The end of the row that contains `position`; `position` itself between two rows."""
    return int(ends[np.searchsorted(ends, position)]) if position else 0
