"""Checks of the run as a whole: upstream gates, seal, scenarios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arrival_engine.contracts import ArrivalError, Code, Notice
from arrival_engine.engine.process.progress import Reporter
from arrival_engine.engine.rundir.receipt import Receipt
from arrival_engine.engine.sealing import verify_seal
from arrival_engine.engine.sealing.inventory import scenario_set
from arrival_engine.engine.sealing.stored import Stored, read_stored
from arrival_engine.engine.sealing.upstream import PASS, check_upstream
from arrival_engine.engine.validation.findings import Book, Example, Severity
from arrival_engine.engine.validation.policy import Rules, digests


@dataclass(frozen=True)
class Sealed:
    """The facts of the run's seal."""

    digest: str
    spec_version: str
    scenarios: tuple[str, ...]
    stored: Stored


def read_seal(receipt: Receipt) -> Sealed:
    """The stored seal. Raises S5.S0_GATE_MISSING_OR_INVALID if there is none or it is inconsistent."""
    stored = read_stored(receipt)
    if stored is None:
        raise ArrivalError(
            Code.S5_S0_GATE_MISSING_OR_INVALID,
            f"{receipt.run_root} is not sealed",
            hint="run `arrivals seal RUN_ROOT`, then `arrivals run RUN_ROOT`, then validate again",
        )
    gate = stored.gate
    return Sealed(gate["sealed_inputs_digest"], gate["spec_version"], tuple(sorted(gate["scenario_set"])), stored)


def judge_seal(
    receipt: Receipt, sealed: Sealed, lines: Mapping[str, Mapping[str, Any]], book: Book, reporter: Reporter
) -> tuple[Receipt, tuple[Notice, ...]]:
    """Enter sealed_inputs: everything sealed is hashed again, and every run states this seal.

    Return the receipt with which the inputs are read: bound to the seal if they are those that were sealed.
    """
    faults: list[Example] = []
    notices: tuple[Notice, ...] = ()
    try:
        seal = verify_seal(receipt, reporter)
        receipt, notices = seal.bind(receipt), seal.notices
        if seal.digest != sealed.digest:
            faults.append({"artefact": "s0_gate_receipt_5B", "sealed": sealed.digest, "found": seal.digest})
    except ArrivalError as error:
        if error.code is not Code.S0_GATE_MISSING_OR_INVALID:
            raise
        faults += _faults(error)
    for scenario, line in sorted(lines.items()):
        if line.get("sealed_inputs_digest") != sealed.digest:
            stated = line.get("sealed_inputs_digest")
            faults.append({"artefact": f"run of {scenario}", "sealed": sealed.digest, "found": stated})
        stated_policies: Mapping[str, str] = line.get("policy_digests") or {}
        now = digests(receipt, stated_policies)
        faults += [
            {"artefact": f"{policy} as {scenario} was run", "sealed": value, "found": now.get(policy)}
            for policy, value in sorted(stated_policies.items())
            if now.get(policy) != value
        ]
    book.judge("sealed_inputs", len(sealed.stored.rows), len(faults), examples=faults)
    return receipt, notices


def _faults(error: ArrivalError) -> list[Example]:
    differences = error.context.get("differences")
    if isinstance(differences, list):
        return [dict(difference) for difference in differences]
    unsealed = error.context.get("unsealed")
    if isinstance(unsealed, list):
        return [{"artefact": name, "sealed": "", "found": "added since"} for name in unsealed]
    return [{"artefact": "", "sealed": "", "found": error.message}]


def judge_upstream(receipt: Receipt, rules: Rules, physical: int, book: Book) -> None:
    """Enter upstream: the current state of the gates, by the policy's lists."""
    demands = rules.block("require_upstream_pass")
    required = {*demands.names("layer1_required"), *demands.names("layer2_required")}
    if physical and rules.block("realism_checks").block("routing_realism").demanded(
        {"require_2B_pass_if_physical_present": ""}
    ):
        required.add("2B")
    judged = required | set(demands.names("optional"))
    states = [state for state in check_upstream(receipt) if state.segment in judged]
    broken = [state for state in states if state.status != PASS]
    severe = any(state.segment in required for state in broken)
    examples = [{"segment": state.segment, "status": state.status, "reason": state.reason} for state in broken]
    severity = Severity.ERROR if severe or not broken else Severity.WARN
    book.judge("upstream", len(states), len(broken), severity=severity, examples=examples)


def judge_domain(receipt: Receipt, sealed: Sealed, lines: Mapping[str, object], book: Book) -> tuple[str, ...]:
    """Enter domain; return the scenarios with counts and arrivals. Raises S5.DOMAIN_DISCOVERY_FAILED for none."""
    counted, published = scenario_set(receipt), tuple(receipt.partitions("arrival_events_5B"))
    sets: dict[str, Sequence[str]] = {
        "sealed": sealed.scenarios,
        "counts": counted,
        "arrivals": published,
        "run report": sorted(lines),
    }
    every = sorted(set().union(*sets.values()))
    faults: list[Example] = [
        {"scenario_id": scenario, "missing_from": name}
        for scenario in every
        for name, members in sets.items()
        if scenario not in members
    ]
    both = tuple(scenario for scenario in counted if scenario in published)
    if not both:
        raise ArrivalError(
            Code.S5_DOMAIN_DISCOVERY_FAILED,
            f"no scenario of {receipt.run_root} has both counts and published arrivals",
            hint="run `arrivals run RUN_ROOT` first",
            **{name.replace(" ", "_"): list(members) for name, members in sets.items()},
        )
    book.judge("domain", len(every), len(faults), examples=faults)
    return both
