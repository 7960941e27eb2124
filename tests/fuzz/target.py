"""What is fuzzed, and how an input is judged: a reader gives a value, or refuses by a foreseen code."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from arrival_engine.contracts import ArrivalError, Code
from tests.fuzz.mutation import Mutate
from tests.support.paths import LAYERS

# A defect, or a machine too small, is no answer to a small input.
_UNFORESEEN = frozenset(
    {Code.UNEXPECTED_INTERNAL_ERROR, Code.S5_UNEXPECTED_INTERNAL_ERROR, Code.RESOURCES_INSUFFICIENT}
)
_SECONDS_MAX = 20.0
_OURS = tuple(f"{LAYERS}/{folder}/" for folder in ("config", "contracts", "cpu_fallback", "engine"))


class Opened(NamedTuple):
    """A target at work. `read` gives a word for what it read, raises ArrivalError, or has found something."""

    samples: Sequence[bytes]
    mutate: Mutate
    read: Callable[[bytes], str]


class Target(NamedTuple):
    """A reader of foreign bytes; `open` prepares it in an empty folder of its own."""

    name: str
    reads: str
    open: Callable[[Path], Opened]


class Finding(NamedTuple):
    """What went wrong, and where: the exception and the line of the product that raised it."""

    what: str
    where: str


def demand(holds: object, what: str) -> None:
    """Find something unless this holds."""
    if not holds:
        raise AssertionError(what)


class _Hang(BaseException):
    """An input took longer than any small input may."""


def judge(read: Callable[[bytes], str], data: bytes) -> str | Finding:
    """The outcome of an input: what was read, or the code and place of the refusal; else a finding."""
    try:
        with _limited():
            return f"read {read(data)}"
    except ArrivalError as error:
        return _judged(error)
    except _Hang as hang:
        return Finding(f"no answer after {_SECONDS_MAX:g} s", _place(hang))
    except Exception as failure:  # noqa: BLE001 - any other exception is what fuzzing looks for
        return Finding(f"{type(failure).__name__}: {failure}"[:300], _place(failure))


def _judged(error: ArrivalError) -> str | Finding:
    place = _place(error)
    if error.code in _UNFORESEEN:
        return Finding(str(error)[:300], place)
    if not error.hint:
        return Finding(f"no hint: {error}"[:300], place)
    try:
        json.dumps(error.to_dict(), allow_nan=False)
    except (TypeError, ValueError) as failure:
        return Finding(f"no JSON form: {failure}", place)
    return f"{error.code.value} {place} {error.context.get('schema', '')}".rstrip()


def _place(failure: BaseException) -> str:
    """The innermost line of the product, or else of the target."""
    ours = other = "?"
    trace = failure.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        name = _resolved(code.co_filename)
        other = f"{Path(name).name}:{code.co_name}:{trace.tb_lineno}"
        if name.startswith(_OURS):
            ours = f"{name.removeprefix(f'{LAYERS}/')}:{code.co_name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return ours if ours != "?" else other


@cache
def _resolved(name: str) -> str:
    # The installed package is links to the folders at the top.
    return str(Path(name).resolve())


@contextmanager
def _limited() -> Iterator[None]:
    def stop(_number: int, _frame: Any) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_MAX)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
