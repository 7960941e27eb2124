"""The parity benchmark report: JSON for machines and a page for people, each replaced atomically."""

from __future__ import annotations

from typing import Any

from arrival_engine.contracts.forms import indented_json
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.moments import utc_now
from arrival_engine.engine.explaining.facts import document as plain
from arrival_engine.engine.parity.page import page
from arrival_engine.engine.parity.records import ParityResult, SideResult, first_text
from arrival_engine.engine.process.version import LAW_VERSION, code_digest, version
from arrival_engine.engine.rundir.staging import replace_file
from arrival_engine.engine.world.load import World

FORMAT, FORMAT_VERSION = "arrival-engine parity report", 1


def document(result: ParityResult, world: World, environment: dict[str, object]) -> dict[str, Any]:
    """The report as JSON-safe data; exact values and 64-bit words are text."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "status": "PASS" if result.identical else "FAIL",
        "identical": result.identical,
        "created_utc": utc_now(),
        "engine_version": version(),
        "law_version": LAW_VERSION,
        "code_digest": code_digest(),
        "environment": environment,
        "world": _world(world),
        "compared": {**_plain(result.extent), "whole": result.extent.whole},
        "notes": list(result.notes),
        "notices": [notice.to_dict() for notice in result.notices],
        "left": _side(result.left),
        "right": _side(result.right),
        "shared_phase_seconds": dict(result.phases),
        "columns": [{**_plain(verdict), "identical": verdict.identical} for verdict in result.columns],
        "refused_batches": list(result.refused),
        "first_difference": _difference(result),
    }


REPORT_JSON, REPORT_HTML = "parity_report.json", "parity_report.html"


def write_reports(folder: InsidePath, report: dict[str, Any]) -> None:
    """Write both files, each by rename over what an earlier check left. Raises IO_WRITE_FAILED."""
    replace_file("the parity report", folder / REPORT_JSON, indented_json(report))
    replace_file("the parity report", folder / REPORT_HTML, page(report).encode())


def _plain(value: object) -> dict[str, Any]:
    found = plain(value)
    if not isinstance(found, dict):
        raise TypeError(f"{type(value).__name__} is not a record")
    return found


def _side(side: SideResult) -> dict[str, Any]:
    found = _plain(side)
    phases = {"load": found.pop("load_seconds"), "expand": found.pop("expand_seconds")}
    return {**found, "simulated": side.simulated, "phase_seconds": phases, "arrivals_per_second": dict(side.rates)}


def _world(world: World) -> dict[str, Any]:
    return {
        **world.identity.tokens(),
        "scenario_id": world.scenario_id,
        "sealed_inputs_digest": world.seal_digest,
        "routing_universe_hash": world.universe_hash,
        "policy_digests": dict(world.settings.policy_digests),
        "merchants": int(world.tables.merchants.id.size),
        "entities": int(world.tables.entities.merchant.size),
        "count_rows": int(world.rows.arrivals.size),
        "arrivals": world.arrivals,
    }


def _difference(result: ParityResult) -> dict[str, Any] | None:
    if result.difference is None:
        return None
    traced = None if result.trace is None else _plain(result.trace)
    return {"text": first_text(result.difference), **_plain(result.difference), "trace": traced}
