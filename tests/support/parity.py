"""Backends whose arrivals were tampered with, and the comparison that must notice."""

from __future__ import annotations

from contextlib import contextmanager

from arrival_engine.engine.expand.backend import Backend, choose_backend
from arrival_engine.engine.parity import ParityOptions, parity
from arrival_engine.engine.parity.job import Sides
from arrival_engine.engine.sealing import seal
from tests.support.worlds import small_world, write_world

BATCH_ARRIVALS = 100  # four batches, one of them the segment of 3000 arrivals


def sealed(folder, **overrides):
    write_world(small_world(**overrides), folder)
    seal(folder)
    return folder


def result_of(planned, batch):
    with choose_backend("cpu").open(planned, silent()) as expand:
        return expand(batch)


def silent():
    from arrival_engine.engine.process.progress import Reporter

    return Reporter()


def tampering(change):
    """The CPU backend with `change(result)` in the place of each result."""

    @contextmanager
    def opened(planned, reporter):
        with choose_backend("cpu").open(planned, reporter) as expand:
            yield lambda batch: change(expand(batch))

    return Backend("tampered", "a test's", opened)


def flipped(batch, row, *names):
    """Change of one bit of the named arrays in one batch."""

    def change(result):
        if result.batch.index == batch:
            groups = {**result.columns._asdict(), **result.row_totals._asdict()}
            for name in names:
                groups[name][row] ^= 1
        return result

    return change


def check(run_root, out, right, left=None, **options):
    sides = Sides(left or choose_backend("cpu"), right)
    chosen = ParityOptions(**{"batch_arrivals": BATCH_ARRIVALS, "out": out, **options})
    return parity(run_root, chosen, sides=sides)


def unchanged(result):
    return result


def text(value):
    return str(value.item()).lower()
