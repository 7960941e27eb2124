"""`arrivals explain`: the whole history of one arrival, derived again from the inputs."""

from __future__ import annotations

from pathlib import Path

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.engine.expand.planning import plan
from arrival_engine.engine.explaining.compare import against_kernel, against_output
from arrival_engine.engine.explaining.derive import View, derive
from arrival_engine.engine.explaining.facts import Comparison, Explanation, History
from arrival_engine.engine.explaining.names import Names
from arrival_engine.engine.explaining.search import Question, find, kernel
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import read_seal
from arrival_engine.engine.world.load import World, load_world
from arrival_engine.engine.world.zones import load_zone_table

__all__ = ["Comparison", "Explanation", "History", "Question", "explain"]

# Arrivals expanded at a time while a site is looked for.
_SEARCH_ARRIVALS = 1 << 16


def explain(run_root: Path | str, question: Question, reporter: Reporter | None = None) -> Explanation:
    """Derive one arrival from the inputs of a run, and say whether the CPU kernel and the stored row agree.

    Reads the merchant's own count rows and the small tables; expands no segment but the arrival's own (by site: those
    before it too). Needs no output. The inputs are not compared with their seal, which a notice says. Raises
    OPTION_INVALID where there is no such arrival, and what `load_world` raises.
    """
    reporter = reporter or Reporter()
    receipt = read_receipt(Path(run_root))
    world = load_world(
        receipt.run_root.outside,
        question.scenario_id,
        seal=read_seal(receipt),
        accept_tz_cache=True,
        merchant_ids=(question.merchant_id,),
    )
    _require_counts(world, question.merchant_id)
    names = Names(receipt, question.merchant_id)
    view = View(world, plan(world, _SEARCH_ARRIVALS), load_zone_table(receipt), names)
    with kernel(view, reporter) as expander:
        chosen = find(view, question, expander)
        history = derive(view, chosen)
        by_kernel = against_kernel(view, chosen, history.row, expander)
    return Explanation(history, by_kernel, against_output(view, history.row), (_unchecked(), *world.notices))


def _require_counts(world: World, merchant_id: int) -> None:
    if world.rows.arrivals.size == 0:
        raise ArrivalError(
            Code.OPTION_INVALID,
            f"merchant {merchant_id} has no arrivals in scenario {world.scenario_id}",
            hint="s3_bucket_counts_5B has no row with a count above zero for it; check the id and the scenario",
            merchant_id=merchant_id,
            scenario_id=world.scenario_id,
        )


def _unchecked() -> Notice:
    return Notice(
        "SEAL_NOT_CHECKED",
        "the inputs were not compared with their seal; `arrivals run` and `arrivals validate` do that",
    )
