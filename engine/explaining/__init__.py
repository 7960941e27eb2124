"""`arrivals explain`: the whole history of one arrival, derived again from the inputs."""

from __future__ import annotations

from pathlib import Path

from arrival_engine.contracts import Notice
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.explaining.compare import against_kernel, against_output
from arrival_engine.engine.explaining.derive import derive
from arrival_engine.engine.explaining.facts import Comparison, Explanation, History
from arrival_engine.engine.explaining.inputs import read_view
from arrival_engine.engine.explaining.search import Question, find
from arrival_engine.engine.merchant_names import load_merchant_names, merchant_id_of, naming_merchants
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import read_seal
from arrival_engine.engine.world.load import load_world

__all__ = ["Comparison", "Explanation", "History", "Question", "explain"]


def explain(run_root: Path | str, question: Question, reporter: Reporter | None = None) -> Explanation:
    """Derive one arrival from the inputs of a run, and say whether the CPU kernel and the stored row agree.

    The derivation shares no table and no code with what it is compared with. Reads the merchant's own count rows and
    the small tables; expands no segment but the arrival's own (by site: those before it too). Needs no output. The
    inputs are not compared with their seal, which a notice says. Raises OPTION_INVALID where there is no such arrival,
    and what `load_world` raises.
    """
    reporter = reporter or Reporter()
    receipt = read_receipt(Path(run_root))
    seal = read_seal(receipt)
    names = load_merchant_names(receipt)
    merchant_id = merchant_id_of(names, question.merchant_id)
    world = load_world(
        receipt.run_root.outside,
        question.scenario_id,
        seal=seal,
        accept_tz_cache=True,
        merchant_ids=(merchant_id,),
    )
    with naming_merchants(receipt):
        view = read_view(receipt, world.scenario_id, merchant_id, names, seal.spec_version)
        chosen = find(view, question)
        history = derive(view, chosen)
    by_kernel = against_kernel(plan(world), history.row, reporter, stops=view.stops(chosen.segment))
    return Explanation(history, by_kernel, against_output(view, history.row), (_unchecked(), *world.notices))


def _unchecked() -> Notice:
    return Notice(
        "SEAL_NOT_CHECKED",
        "the inputs were not compared with their seal; `arrivals run` and `arrivals validate` do that",
    )
