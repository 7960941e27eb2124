"""Standard output and standard error of a command.

Closed ones are opened, and failures to write them are told by name. Characters that a terminal obeys are written as
escapes, whatever prints them. Only what is written to `unescaped` passes: a console's own colours, a shell's script.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO, cast

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.oserrors import reason
from arrival_engine.contracts.safe_text import visible

__all__ = ["OUTPUT_HINT", "TolerantStream", "output_failure", "standard_streams", "unescaped"]

OUTPUT_HINT = "check what standard output is connected to: a full disk, a closed terminal"
_STANDARD = 3


def output_failure(failure: Exception) -> ArrivalError:
    """IO_WRITE_FAILED for a failure to write standard output."""
    return ArrivalError(Code.IO_WRITE_FAILED, f"standard output cannot be written: {reason(failure)}", hint=OUTPUT_HINT)


class _Stream:
    """What print, click and rich ask of a text stream, from the stream underneath."""

    def __init__(self, stream: TextIO) -> None:
        # Where a stream is made over another one, the outer escapes.
        self._stream = unescaped(stream)

    def write(self, text: str) -> int:
        """Write `text` with unsafe characters as escapes, except line ends; return its length."""
        self.put(visible(text, keep="\n"))
        return len(text)

    def put(self, text: str) -> None:
        """Write `text` as it is."""
        raise NotImplementedError

    def flush(self) -> None:
        """Hand what was written to the system."""
        raise NotImplementedError

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """The stream's descriptor."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return self._stream.encoding or "utf-8"

    @property
    def errors(self) -> str:
        """How characters outside the encoding are written."""
        return "backslashreplace"

    def _encodable(self, text: str) -> str:
        """`text` with what the encoding lacks as escapes: a name must not stop the sentence it stands in."""
        return text.encode(self.encoding, "backslashreplace").decode(self.encoding)


class _Unescaped:
    """The same stream, except that all characters pass."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text` as it is; return its length."""
        self._stream.put(text)
        return len(text)

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def unescaped(stream: TextIO) -> TextIO:
    """A stream that passes what `stream`, one of this module's, would escape; any other stream itself.

    For texts that are entirely ours, or whose foreign parts are escaped already.
    """
    return cast("TextIO", _Unescaped(stream)) if isinstance(stream, _Stream) else stream


class ResultStream(_Stream):
    """Standard output. Raises BrokenPipeError if its reader is gone, IO_WRITE_FAILED if it cannot be written."""

    def put(self, text: str) -> None:
        """Write `text` as it is."""
        with _named_failure():
            self._stream.write(self._encodable(text))

    def flush(self) -> None:
        """Hand what was written to the system."""
        with _named_failure():
            self._stream.flush()


class TolerantStream(_Stream):
    """A text stream whose reader may disappear: text that cannot be written is dropped, and the run continues."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._broken = False

    def put(self, text: str) -> None:
        """Write `text` as it is, unless the stream is broken."""
        if not self._broken:
            try:
                self._stream.write(self._encodable(text))
            except (OSError, ValueError):
                self._broken = True

    def flush(self) -> None:
        """Flush unless the stream is broken."""
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._broken = True

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return not self._broken and super().isatty()


@contextmanager
def _named_failure() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as failure:
        # ValueError: the stream was closed.
        raise output_failure(failure) from failure


@contextmanager
def standard_streams() -> Iterator[None]:
    """Inside, `sys.stdout` names its failures and `sys.stderr` drops what cannot be written.

    A closed stream is a wish for no output: it becomes the null device. At the end, streams that cannot be written are
    detached, because Python flushes them once more when it exits, complains, and changes the exit code.
    """
    _open_closed_descriptors()
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = cast("TextIO", ResultStream(out)), cast("TextIO", TolerantStream(err))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        for stream in (out, err):
            try:
                stream.flush()
            except (OSError, ValueError):
                _detach(stream)


def _open_closed_descriptors() -> None:
    # A data file that is opened with the number of a closed standard stream would receive what libraries print.
    null = os.open(os.devnull, os.O_RDWR)
    while null < _STANDARD:
        null = os.open(os.devnull, os.O_RDWR)
    os.close(null)
    # Python has no stream object for a stream that was closed when it started.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - lives as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _detach(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
