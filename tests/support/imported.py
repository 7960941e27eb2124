"""Imported worlds, expanded and compared with the reference."""

from __future__ import annotations

import json

from arrival_engine import RunOptions, run
from arrival_engine.engine.sealing import seal
from tests.support import reference
from tests.support.compare import assert_same_rows
from tests.support.importing import (
    reference_world,
)
from tests.support.product import arrivals_of, assert_same_accounting, planned


def universe_hash(root):
    (path,) = root.rglob("edge_universe_hash_3B.json")
    return json.loads(path.read_bytes())["universe_hash"]


def assert_expands_like_the_reference(tables, root, result):
    seal(root)
    world = reference_world(tables, result)
    expected = reference.expand(world)
    found = arrivals_of(planned(root, 50), threads=2)
    assert_same_rows(expected.rows, found.table, routing_universe_hash=universe_hash(root))
    assert str(found.ledger.digest) == expected.digest
    assert_same_accounting(expected, found.ledger)
    assert len(expected.rows) == result.arrivals
    return expected


def sealed_run(root):
    seal(root)
    return run(root, RunOptions(backend="cpu", threads=2))
