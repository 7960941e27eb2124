"""A writer on its own thread, so that no signal cuts a row in two."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from arrival_engine.engine.stream.encode import Encoded
from arrival_engine.engine.stream.sink import Sink

__all__ = ["Writer"]

# What a pipe holds; between two such pieces the thread looks whether it is to stop.
_PIECE_BYTES = 65_536


class Writer:
    """Hands chunks to a sink, one after the other.

    Signals reach Python's main thread alone: an interruption there leaves this thread's writes whole and their number
    of bytes known. At most one chunk waits while another is written, so a slow reader slows `put` down.
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
        # A daemon: when the reader takes nothing any more, the process must be able to end without it.
        self._thread = threading.Thread(target=self._run, name="arrivals-writer", daemon=True)
        self._thread.start()

    @property
    def rows(self) -> int:
        """Rows that the sink has taken whole."""
        return self._rows

    def put(self, chunk: Encoded) -> None:
        """Queue a chunk, waiting while another is queued. Raises what the sink makes of its error."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is None or self._ended)
            self._raise_error()
            self._next = chunk
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until everything is handed over. Raises what the sink makes of its error."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended)
            self._raise_error()

    def stop(self, seconds: float) -> bool:
        """Finish the row that is being written and no more; False where the reader takes nothing for so long."""
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
        """The next chunk; None when there is to be none."""
        with self._changed:
            self._changed.wait_for(lambda: self._next is not None or self._closing or self._stopping)
            chunk, self._next = self._next, None
            self._changed.notify_all()
            return None if self._stopping else chunk

    def _write(self, chunk: Encoded) -> None:
        """Write a chunk; when stopped, as far as the row that has been begun, or all of it if it has no rows apart."""
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
    """Where the row that `position` is inside of ends; `position` itself between two rows."""
    return int(ends[np.searchsorted(ends, position)]) if position else 0
