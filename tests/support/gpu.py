"""What the tests of the CUDA backend share: worlds as plans, exact comparison, wrong constants."""

from __future__ import annotations

import shutil
import tempfile
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from arrival_engine.contracts import ArrivalError
from arrival_engine.cpu_fallback.digest import Digest
from arrival_engine.cpu_fallback.expand import expand_segments
from arrival_engine.cpu_fallback.tables import Results, Work
from arrival_engine.engine.expand.assemble import Assembler
from arrival_engine.engine.expand.backend import BatchResult, finish_batch
from arrival_engine.engine.expand.batch_checks import check_batch
from arrival_engine.engine.expand.planning import Plan, plan
from arrival_engine.engine.sealing import seal
from arrival_engine.engine.world.load import load_world
from arrival_engine.gpu_kernels import device
from tests.support import worlds
from tests.support.compare import assert_same_rows
from tests.support.model import World
from tests.support.paths import PACKAGE
from tests.support.reference import expand as reference_expand
from tests.support.world_files import WrittenWorld, write_world

ExpandSpan = Callable[[tuple[int, int]], Results]

without_device = pytest.mark.skipif(not device.unusable_reason(), reason="a device can be used here")


def gpu(test):
    """Mark a test as one that needs a device; where there is none it is skipped, with the reason.

    Elsewhere a warning is an error; what cuDF and CuPy warn of while they are imported is no matter of ours.
    Such tests are in tests/gpu/on_device, and import nothing beyond pytest and what the product needs.
    """
    return _needing(test, device.unusable_reason(), pytest.mark.gpu)


def cudf(test):
    """As `gpu`, for a test that also needs cuDF."""
    return _needing(test, device.no_writer_reason(), pytest.mark.gpu, pytest.mark.cudf)


def _needing(test, reason, *marks):
    for mark in (*marks, pytest.mark.filterwarnings("default"), pytest.mark.skipif(bool(reason), reason=reason)):
        test = mark(test)
    return test


def on_device(case, devices=None, **options):
    """Context manager of a function from span to results."""
    from arrival_engine.gpu_kernels.expand import open_devices

    return open_devices(case.work, devices or device.devices(), lambda _: None, **options)


@dataclass(frozen=True)
class Case:
    """A world of `tests.support.model`, written and read back, ready to expand."""

    model: World
    written: WrittenWorld
    plan: Plan

    @property
    def work(self) -> Work:
        return work_of(self.plan)

    def replanned(self, batch_arrivals: int) -> Case:
        return Case(self.model, self.written, plan(self.plan.world, batch_arrivals))


def work_of(planned: Plan) -> Work:
    return Work(planned.world.tables, planned.world.rows, planned.segments, planned.switches)


def make_case(model: World, folder: Path, batch_arrivals: int = 10**6) -> Case:
    written = write_world(model, folder)
    seal(folder)
    return Case(model, written, plan(load_world(folder), batch_arrivals))


@contextmanager
def temporary_case(model: World, batch_arrivals: int = 10**6) -> Iterator[Case]:
    with tempfile.TemporaryDirectory() as folder:
        yield make_case(model, Path(folder) / "run", batch_arrivals)


def shrunk_small_world(most: int = 40) -> World:
    """The small world with every count cut to `most`: every feature, some 300 arrivals."""
    counts = worlds.small_world().counts
    return worlds.small_world(counts=tuple(replace(row, n=min(row.n, most)) for row in counts))


# --- Comparison --------------------------------------------------------------------------------------


def arrays_of(group: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Every array of nested groups, with its dotted name."""
    for name, part in zip(group._fields, group, strict=True):
        if isinstance(part, tuple):
            yield from arrays_of(part, f"{path}{name}.")
        else:
            yield f"{path}{name}", part


def assert_same_results(expected: Results, found: Results) -> None:
    """Equal in every array, its type and length; or the first difference, in hexadecimal.

    Of a batch that a forbidden fallback stopped only the failure counts.
    """
    if expected.totals.failure[0]:
        assert found.totals.failure.tolist() == expected.totals.failure.tolist()
        return
    for (name, wanted), (other, got) in zip(arrays_of(expected), arrays_of(found), strict=True):
        assert (name, wanted.dtype, wanted.shape) == (other, got.dtype, got.shape)
        if not np.array_equal(wanted, got):
            row = int(np.argmax(wanted != got))
            values = " != ".join(f"{int(array[row]) % 2**64:#x}" for array in (wanted, got))
            raise AssertionError(f"{name}[{row}]: {values}")


def assert_equals_cpu(case: Case, expand: ExpandSpan) -> list[BatchResult]:
    """Every batch as the CPU backend has it; gives the batches, unless a forbidden fallback stops one."""
    found = []
    for batch in case.plan.batches:
        found.append(expand(batch.segments))
        assert_same_results(expand_segments(case.work, batch.segments), found[-1])
    return [finish_batch(case.plan, *pair) for pair in zip(case.plan.batches, found, strict=True)]


def assert_equals_reference(case: Case, results: list[BatchResult]) -> None:
    """The 21 columns and the digest of the plain-Python reference; and the engine's own checks."""
    wanted = reference_expand(case.model)
    assembler = Assembler(case.plan.world)
    batches = [assembler.whole(result) for result in results]
    table = pa.Table.from_batches(batches, assembler.schema)
    assert_same_rows(wanted.rows, table, routing_universe_hash=case.written.routing_universe_hash)
    assert str(sum((result.digest for result in results), Digest())) == wanted.digest
    for result in results:
        check_batch(case.plan, result)


def on_cpu(case: Case) -> ExpandSpan:
    return lambda span: expand_segments(case.work, span)


def refusal(case: Case, expand: ExpandSpan) -> dict[str, object] | None:
    """The error of the first batch that a forbidden fallback stops; None if none does."""
    try:
        for batch in case.plan.batches:
            finish_batch(case.plan, batch, expand(batch.segments))
    except ArrivalError as error:
        return error.to_dict()
    return None


def device_bytes(work: Work) -> int:
    """What tables, count rows and the arrays derived from them take on a device."""
    stored = sum(max(array.size, 1) * array.itemsize for group in work[:3] for _, array in arrays_of(group))
    segments = work.segments.arrivals_before.size + 1
    return stored + 8 * (work.rows.arrivals.size + 1) + (1 + 4) * segments


def prototype(group: type) -> Any:
    """A group of one-element arrays and zeros, of the types that its annotations declare."""
    parts = []
    for kind in typing.get_type_hints(group).values():
        if hasattr(kind, "_fields"):
            parts.append(prototype(kind))
        elif typing.get_origin(kind) is np.ndarray:
            (element,) = typing.get_args(typing.get_args(kind)[1])
            parts.append(np.zeros(1, element))
        else:
            parts.append(kind(0))
    return group(*parts)


# --- A wrong constant ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutation:
    """One text of one source replaced by another, which must show in the arrivals."""

    path: str
    right: str
    wrong: str

    def __str__(self) -> str:
        return f"{Path(self.path).stem}-{self.right.split()[0]}"


MUTATIONS = (
    Mutation("cpu_fallback/philox.py", "0xD2B74407B1CE6E93", "0xD2B74407B1CE6E92"),
    Mutation("cpu_fallback/philox.py", "ROUNDS = 10", "ROUNDS = 9"),
    Mutation("cpu_fallback/law.py", "_HALF_WORD = np.uint64(32)", "_HALF_WORD = np.uint64(33)"),
    Mutation("cpu_fallback/digest.py", "0xD6E8FEB86659FD93", "0xD6E8FEB86659FD92"),
    Mutation("gpu_kernels/kernels.py", "before) + 1\n", "before) + 2\n"),
)


def mutated_sources(mutation: Mutation, folder: Path) -> Path:
    """A copy of the package, with the mutation."""
    shutil.copytree(PACKAGE, folder / "arrival_engine", ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "arrival_engine" / mutation.path
    text = path.read_text(encoding="utf-8")
    assert text.count(mutation.right) == 1
    path.write_text(text.replace(mutation.right, mutation.wrong), encoding="utf-8")
    return folder
