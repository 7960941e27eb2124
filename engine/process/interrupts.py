"""Reliable interrupts: a signal that arrives where exceptions get lost is sent again a moment later."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

# Python prints and drops an exception that leaves a destructor or one of llvmlite's callbacks. One that leaves other
# functions there, between freeing an object and noting that, has it freed a second time, which ends the process.
_DESTRUCTOR, _BINDING = "__del__", "/llvmlite/binding/"
_AGAIN_S = 0.02
# An interrupted import keeps the import lock, so another importing thread would wait for ever. It also leaves half a
# module, which cleanup code cannot use.
_IMPORT_SYSTEM = "<frozen importlib._bootstrap>"

Handler = Callable[[int, FrameType | None], object]

# Signals to send again, in the order in which they came.
_postponed: list[tuple[int, threading.Timer]] = []


@contextmanager
def heard_interrupts() -> Iterator[None]:
    """Deliver to the caller what the handlers of SIGINT, SIGTERM and SIGHUP raise, wherever the signal arrives.

    Does nothing outside the main thread, because Python handles signals only there.
    """
    before: dict[int, Handler] = {}
    # A script that is itself being imported must stay interruptible: only imports that begin inside count.
    imports = _imports_under_way(sys._getframe())  # noqa: SLF001 - the only way to the current frame
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, partial(_handle, handler, imports))
    try:
        yield
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)


def _handle(handler: Handler, imports: int, number: int, frame: FrameType | None) -> None:
    if not _is_deaf(frame) and _imports_under_way(frame) == imports:
        handler(number, frame)
        return
    again = threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number))
    again.daemon = True
    _postponed[:] = [(other, timer) for other, timer in _postponed if timer.is_alive()]
    _postponed.append((number, again))
    again.start()


def import_in_steps(*modules: str) -> None:
    """Import modules one after the other; an interrupt is heard between two of them, not only after the last."""
    for module in modules:
        importlib.import_module(module)
        while _postponed:
            number, again = _postponed.pop(0)
            if again.is_alive():
                again.cancel()
                signal.raise_signal(number)


def _is_deaf(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == _DESTRUCTOR or _BINDING in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _imports_under_way(frame: FrameType | None) -> int:
    """The number of import system frames from `frame` down the stack."""
    found = 0
    while frame is not None:
        found += frame.f_code.co_filename == _IMPORT_SYSTEM
        frame = frame.f_back
    return found
