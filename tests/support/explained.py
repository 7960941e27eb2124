"""What the tests of explanations share: sealed and published runs of the small world, and explanations by merchant."""

from __future__ import annotations

from arrival_engine import RunOptions, run
from arrival_engine.contracts import dataset
from arrival_engine.engine.explaining.derive import derive
from arrival_engine.engine.explaining.inputs import read_view
from arrival_engine.engine.explaining.view import Chosen
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import read_seal, seal
from tests.support.worlds import small_world, write_world

WORLD = small_world()
MERCHANTS = sorted({row.merchant_id for row in WORLD.counts if row.n})


def publish(run_root, *, output=None, world=WORLD, **options):
    write_world(world, run_root, output_policy=output or {})
    seal(run_root)
    run(run_root, RunOptions(backend="cpu", **{"batch_arrivals": 900, **options}))
    return run_root


def parts(run_root):
    tokens = read_receipt(run_root).identity.tokens(scenario_id=WORLD.scenario_id)
    return sorted(dataset("arrival_events_5B").locate(run_root, tokens).iterdir())


def view_of(run_root, merchant):
    receipt = read_receipt(run_root)
    return read_view(receipt, WORLD.scenario_id, merchant, None, read_seal(receipt).spec_version)


def histories(view):
    """Every arrival of the merchant, derived."""
    for segment in range(view.segments):
        for place, draw in enumerate(view.draws(segment), 1):
            yield derive(view, Chosen(segment, place, draw))
