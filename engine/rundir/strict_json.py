"""Strict reading of JSON: bounded size and depth, no repeated keys, no NaN, no infinity, whole characters."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Callable, Iterator
from typing import IO, Any

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.contracts.plainness import nested_deeper, repeated, unpaired_surrogate

# The largest document read as a whole, an inventory of a few dozen rows, takes about 40 KB. What grows with the number
# of merchants is read by `read_json_rows`, for which this limits a single value.
SIZE_LIMIT = 16 * 2**20
# Several times what any document of a run has, and far from what recursive readers of it could not follow.
DEPTH_LIMIT = 64
_READ_BYTES = 2**20
_PIECE_ROWS = 8192
_SPACE = " \t\n\r"
_AFTER_VALUE = frozenset(_SPACE + ",]}:")


Opener = Callable[[InsidePath], IO[bytes]]


def opened_file(path: InsidePath) -> IO[bytes]:
    """The bytes of a file that no seal covers."""
    return path.open("rb")


def _single(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError(f"key {repeated(name for name, _ in pairs)} appears twice")
    return document


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is too large")
    return value


def parse_json(data: bytes) -> Any:
    """The value of a UTF-8 JSON text; raises ValueError for anything else, repeated keys and NaN included."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_single, parse_constant=_no_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return _plain(value)


def _plain(value: Any) -> Any:
    if nested_deeper(value, DEPTH_LIMIT):
        raise ValueError(f"nested more than {DEPTH_LIMIT} levels deep")
    if unpaired_surrogate(value):
        raise ValueError("a text holds half of a surrogate pair")
    return value


def read_json(path: InsidePath, *, what: str, code: Code, hint: str, opened: Opener = opened_file) -> Any:
    """The value in a JSON file; `opened` gives its bytes.

    Raises `code` for text that is not strict JSON, IO_READ_FAILED.
    """
    with reading(what, path), opened(path) as file:
        data = file.read(SIZE_LIMIT + 1)
    fault = f"larger than {SIZE_LIMIT} bytes" if len(data) > SIZE_LIMIT else ""
    if not fault:
        try:
            return parse_json(data)
        except ValueError as error:
            fault = str(error)
    raise ArrivalError(code, f"{what} {path} is not valid JSON: {fault}", hint=hint, path=path)


def check_size(data: bytes, *, what: str) -> None:
    """Refuse to write a document that `read_json` would refuse. Raises LIMIT_EXCEEDED."""
    if len(data) > SIZE_LIMIT:
        raise ArrivalError(
            Code.LIMIT_EXCEEDED,
            f"{what} would take {len(data)} bytes; a document may take {SIZE_LIMIT}",
            hint="divide the world: give each run fewer merchants or scenarios",
            bytes=len(data),
            limit=SIZE_LIMIT,
        )


def read_json_rows(
    path: InsidePath,
    key: str,
    take: Callable[[list[Any]], None],
    *,
    what: str,
    code: Code,
    hint: str,
    opened: Opener = opened_file,
) -> dict[str, Any]:
    """The object in a JSON file of any size, with an empty list at `key`: `take` gets the rows of that list in pieces.

    `opened` gives the file's bytes. Raises `code` for text that is not strict JSON or not an object, IO_READ_FAILED,
    and what `take` raises.
    """
    with reading(what, path), opened(path) as file:
        scan = _Scan(file)
        try:
            return _scan_object(scan, key, take)
        except RecursionError:
            fault = "nested too deeply"
        except ValueError as error:
            fault = str(error)
    raise ArrivalError(code, f"{what} {path} is not valid JSON: {fault}", hint=hint, path=path)


def _scan_object(scan: _Scan, key: str, take: Callable[[list[Any]], None]) -> dict[str, Any]:
    pairs: list[tuple[str, Any]] = []
    for _ in scan.items("{", "}"):
        if scan.peek() != '"':
            raise ValueError(f"no property name at character {scan.position}")
        name = scan.value()
        scan.take(":")
        if name == key and scan.peek() == "[":
            _scan_rows(scan, take)
            pairs.append((name, []))
        else:
            pairs.append((name, scan.value()))
    if scan.peek():
        raise ValueError(f"extra data at character {scan.position}")
    return _single(pairs)


def _scan_rows(scan: _Scan, take: Callable[[list[Any]], None]) -> None:
    rows: list[Any] = []
    for _ in scan.items("[", "]"):
        rows.append(scan.value())
        if len(rows) == _PIECE_ROWS:
            take(rows)
            rows = []
    take(rows)


class _Scan:
    """A file of UTF-8 JSON text, read value by value through a window."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")
        self._parse = json.JSONDecoder(
            object_pairs_hook=_single, parse_constant=_no_constant, parse_float=_finite
        ).raw_decode
        self._before = 0
        self._text = ""
        self._at = 0
        self._ended = False

    @property
    def position(self) -> int:
        """Characters of the file before the next one."""
        return self._before + self._at

    def _more(self) -> bool:
        """Lengthen the window, from the next character on; false at the end of the file."""
        if self._ended:
            return False
        if len(self._text) - self._at > SIZE_LIMIT:
            raise ValueError(f"the value at character {self.position} is longer than {SIZE_LIMIT} characters")
        # Twice as much each time, because the value is parsed again from its start.
        window = len(self._text) - self._at
        data = self._file.read(min(max(window, _READ_BYTES), SIZE_LIMIT + _READ_BYTES - window))
        self._ended = not data
        self._before += self._at
        self._text = self._text[self._at :] + self._utf8.decode(data, final=self._ended)
        self._at = 0
        return True

    def peek(self) -> str:
        """The next character that is not white space, not taken; empty at the end of the file."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _SPACE:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, choices: str) -> str:
        """Take the next character that is not white space, one of `choices`."""
        found = self.peek()
        if not found or found not in choices:
            raise ValueError(f"no {' or '.join(choices)} at character {self.position}")
        self._at += 1
        return found

    def items(self, first: str, last: str) -> Iterator[None]:
        """Take an opening bracket, stop before each item for the caller to take it, and take the closing bracket."""
        self.take(first)
        if self.peek() == last:
            self.take(last)
            return
        yield
        while self.take("," + last) == ",":
            yield

    def value(self) -> Any:
        """Take the next value."""
        self.peek()
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                # It may continue beyond the window.
                if self._more():
                    continue
                raise ValueError(f"{error.msg} at character {self._before + error.pos}") from None
            # So may a number that seems complete: 1, if the window ends in "1e".
            if self._text[end : end + 1] in _AFTER_VALUE or not self._more():
                self._at = end
                return _plain(value)
