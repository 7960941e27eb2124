"""Every benchmark by name, in the order in which they run and appear in docs/performance.md."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, Protocol

from bench.tabular import Table
from bench.workplace import Workplace


class Benchmark(Protocol):
    """What a benchmark module offers; raw figures are plain JSON data."""

    @staticmethod
    def measure(workplace: Workplace) -> dict[str, Any]: ...

    @staticmethod
    def tables(measured: dict[str, Any]) -> list[Table]: ...


class Entry(NamedTuple):
    """A benchmark's module and title; `needs_other` if it takes part only where another version is named."""

    module: str
    title: str
    needs_other: bool = False


CATALOGUE = {
    "phases": Entry("bench.phases", "One run, phase by phase"),
    "floor": Entry("bench.floor", "The run against pyarrow's writer"),
    "contract": Entry("bench.contract", "The contract's form of rows"),
    "against": Entry("bench.against", "This version against another", needs_other=True),
    "kernel": Entry("bench.kernel", "The expansion kernel against Philox alone"),
    "rivals": Entry("bench.rivals", "Alternatives"),
    "scaling": Entry("bench.scaling", "Growth of time and memory"),
    "jit": Entry("bench.jit", "Start-up with cold and warm kernels"),
    "notebook": Entry("bench.notebook", "First rows in a notebook"),
    "pruning": Entry("bench.pruning", "Bytes that a reader reads"),
    "validate": Entry("bench.validate", "Validation beside the run that it judges"),
    "hostile": Entry("bench.hostile", "Growth of time with hostile inputs"),
}


def load(name: str) -> Benchmark:
    """The module of benchmark `name`."""
    module: Any = importlib.import_module(CATALOGUE[name].module)
    return module
