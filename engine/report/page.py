"""The page: the values of each place in the template. Jinja escapes every value that comes from data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as distribution_version
from typing import TYPE_CHECKING, Any, NamedTuple

from arrival_engine.contracts.safe_text import visible
from arrival_engine.engine.merchant_names import MerchantNames
from arrival_engine.engine.process import human
from arrival_engine.engine.records.diagnostics import MEANINGS
from arrival_engine.engine.report.measure import Measures
from arrival_engine.engine.report.plot import Panel, Plot
from arrival_engine.engine.report.published import Published
from arrival_engine.engine.report.records import Anomaly, Check, Records, Verdicts
from arrival_engine.engine.report.style import DARK, LIGHT, counted, share
from arrival_engine.engine.report.svg import rules
from arrival_engine.engine.report.time_plots import minute
from arrival_engine.engine.tz.pinned import release
from arrival_engine.engine.validation.findings import Verdict, tally_text

if TYPE_CHECKING:
    from markupsafe import Markup

MERCHANTS_SHOWN = 20
_VERDICTS = {str(verdict): verdict.label for verdict in Verdict}


class Fact(NamedTuple):
    """A name and a value; `code` sets the value as a hash or an id."""

    name: str
    value: str
    code: bool = False


class Drawn(NamedTuple):
    """A panel as the page holds it: its SVG, and a second one for narrow screens where there is one."""

    panel: Panel
    svg: Markup
    narrow: Markup | None


class DrawnPlot(NamedTuple):
    """A plot with its panels drawn."""

    plot: Plot
    panels: tuple[Drawn, ...]


@dataclass(frozen=True)
class Section:
    """The contents of the page for one scenario."""

    published: Published
    measures: Measures
    line: Mapping[str, Any] | None
    anomalies: tuple[Anomaly, ...] | None
    plots: tuple[DrawnPlot, ...]
    speed: DrawnPlot | None


def render(records: Records, sections: Sequence[Section], unpublished: Sequence[str]) -> str:
    """The whole page; the same for the same run."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("arrival_engine.engine.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": human.count, "share": share}
    arrivals = sum(section.measures.arrivals for section in sections)
    return environment.get_template("report.html").render(
        light=rules(LIGHT),
        dark=rules(DARK),
        run_id=records.receipt.identity.run_id,
        lead=_lead(records, sections, arrivals),
        warnings=_warnings(records, sections, unpublished),
        run=list(_run_facts(records, sections)),
        policies=_policies(sections),
        verdicts=records.verdicts,
        verdict=_verdict(records),
        tally=_tally(records.verdicts),
        notable=_notable(records.verdicts, sections),
        run_checks=_checks(records.verdicts, ""),
        sections=[_section(number, section, records) for number, section in enumerate(sections, 1)],
        made_with=_made_with(),
    )


def _shown(value: object) -> object:
    """Texts that are not markup with their control characters and marks of direction as escapes."""
    return visible(value, keep="\n") if type(value) is str else value


# --- The run ---------------------------------------------------------------------------------------------


def _lead(records: Records, sections: Sequence[Section], arrivals: int) -> str:
    ids = ", ".join(section.measures.scenario_id for section in sections)
    scenarios = f"scenario {ids}" if len(sections) == 1 else f"{len(sections)} scenarios: {ids}"
    return f"{counted(arrivals, 'arrival')} in {scenarios}; seed {records.receipt.identity.seed}."


def _run_facts(records: Records, sections: Sequence[Section]) -> Iterable[Fact]:
    identity = records.receipt.identity
    yield Fact("Run", identity.run_id, code=True)
    yield Fact("Manifest fingerprint", identity.manifest_fingerprint, code=True)
    yield Fact("Parameter hash", identity.parameter_hash, code=True)
    yield Fact("Seed", str(identity.seed), code=True)
    yield from _seal_facts(records)
    for key, name in (("law_version", "Arrival law"), ("engine_version", "Engine"), ("backend", "Backend")):
        if stated := _stated(sections, key):
            yield Fact(name, f"version {stated}" if key == "law_version" else stated)
    if universe := _stated(sections, "routing_universe_hash"):
        yield Fact("Routing universe", universe, code=True)
    names = {"code_digest": "Law and kernel sources", "platform": "Platform", "algorithm": "Random numbers"}
    for key, name in names.items():
        if key in records.environment:
            yield Fact(name, records.environment[key], code=key == "code_digest")


def _stated(sections: Sequence[Section], key: str) -> str:
    """The values of a key in the run-report lines; each distinct value once."""
    values = [str(section.line[key]) for section in sections if section.line and key in section.line]
    return ", ".join(dict.fromkeys(values))


def _seal_facts(records: Records) -> Iterable[Fact]:
    if records.seal is None:
        yield Fact("Seal", "none")
        return
    gate = records.seal.gate
    yield Fact("Seal", str(gate["sealed_inputs_digest"]), code=True)
    yield Fact("Sealed", f"{counted(len(records.seal.rows), 'input')}, specification {gate['spec_version']}")
    gates = ", ".join(f"{segment} {status}" for segment, status in records.seal.statuses.items())
    yield Fact("Upstream gates", gates or "none")


def _policies(sections: Sequence[Section]) -> list[Fact]:
    found: dict[str, list[str]] = {}
    for section in sections:
        for policy, digest in ((section.line or {}).get("policy_digests") or {}).items():
            if digest not in found.setdefault(policy, []):
                found[policy].append(digest)
    return [Fact(policy, digest, code=True) for policy, digests in sorted(found.items()) for digest in digests]


def _warnings(records: Records, sections: Sequence[Section], unpublished: Sequence[str]) -> list[str]:
    told = [f"Scenario {scenario} is sealed but has no published arrivals." for scenario in unpublished]
    for failed in records.failures:
        what = f" of {failed['scenario_id']}" if failed.get("scenario_id") else ""
        when = failed.get("started_at_utc", "")
        reason = f"{failed.get('error_code')}: {failed.get('error_message')}"
        told.append(f"A later run{what}, started {when}, failed, and what it found published stayed: {reason}")
    verdicts = records.verdicts
    if verdicts is not None and verdicts.passed and not verdicts.flagged:
        told.append(
            "The validation bundle has lost its flag: what it passed has changed, or was found bad, since. "
            "`arrivals verify` says why."
        )
    for section in sections:
        told += _contradictions(section, verdicts)
    return told


def _contradictions(section: Section, verdicts: Verdicts | None) -> Iterable[str]:
    scenario, line = section.measures.scenario_id, section.line
    if line is None:
        yield f"The run report has no successful run of {scenario}: who made these files is not known."
        return
    stated = line.get("n_arrivals_total")
    if stated != section.measures.arrivals:
        found = human.count(section.measures.arrivals)
        yield f"The files of {scenario} hold {found} arrivals, but the run report says {stated}."
    if verdicts is not None and verdicts.digests.get(scenario) != line.get("arrival_digest"):
        yield f"The validation bundle is not of these arrivals of {scenario}; run `arrivals validate` again."


# --- Validation ------------------------------------------------------------------------------------------


def _verdict(records: Records) -> str:
    verdicts = records.verdicts
    if verdicts is None:
        return "not validated"
    return "passed" if verdicts.passed else "did not pass"


def _tally(verdicts: Verdicts | None) -> str:
    return tally_text(verdicts.tally) if verdicts else ""


def _notable(verdicts: Verdicts | None, sections: Sequence[Section]) -> list[tuple[Check, str]]:
    """The checks of the run and of the scenarios shown that did not simply pass."""
    scopes = ["", *(section.measures.scenario_id for section in sections)]
    return [found for scope in scopes for found in _checks(verdicts, scope) if found[0].verdict != "PASS"]


def _checks(verdicts: Verdicts | None, scenario: str) -> list[tuple[Check, str]]:
    checks = verdicts.checks.get(scenario, ()) if verdicts else ()
    return [(check, _VERDICTS.get(check.verdict, check.verdict)) for check in checks]


# --- A scenario ------------------------------------------------------------------------------------------


def _section(number: int, section: Section, records: Records) -> dict[str, Any]:
    measures = section.measures
    return {
        "anchor": f"scenario-{number}",
        "scenario_id": measures.scenario_id,
        "empty": not measures.arrivals,
        "tiles": list(_tiles(section)),
        "facts": list(_scenario_facts(section)),
        "plots": section.plots,
        "speed": section.speed,
        "speed_facts": list(_speed_facts(section.line or {})),
        "fallbacks": list(_fallbacks(section)),
        "anomalies_missing": section.anomalies is None,
        "merchants": list(_merchants(measures, records.names)),
        "merchants_all": int(measures.merchants.merchant_id.size),
        "expected_by": measures.expected_by,
        "checks": _checks(records.verdicts, measures.scenario_id),
    }


def _tiles(section: Section) -> Iterable[tuple[str, str, str]]:
    """Name, figure, and context of each tile."""
    measures = section.measures
    whole = max(measures.arrivals, 1)
    active = int((measures.merchants.arrivals > 0).sum())
    yield "arrivals", human.count(measures.arrivals), f"in {human.count(measures.horizon.buckets)} buckets"
    yield "physical", human.count(measures.physical), share(measures.physical / whole)
    yield "virtual", human.count(measures.virtual), share(measures.virtual / whole)
    yield "merchants", human.count(active), f"of {human.count(int(measures.merchants.merchant_id.size))}"
    yield "zones", human.count(len(measures.zones)), "with arrivals"
    yield "sites", human.count(int((measures.sites > 0).sum())), f"of {human.count(measures.sites.size)}"
    yield "edges", human.count(int((measures.edges > 0).sum())), f"of {human.count(measures.edges.size)}"


def _scenario_facts(section: Section) -> Iterable[Fact]:
    line, measures, published = section.line or {}, section.measures, section.published
    begin, end = (minute(at) for at in (measures.horizon.start_us, measures.horizon.end_us))
    yield Fact("Horizon", f"{begin} to {end}, UTC")
    if "arrival_digest" in line:
        yield Fact("Arrival digest", str(line["arrival_digest"]), code=True)
    times = "times as texts" if published.text_times else "times as timestamps"
    files = f"{counted(len(published.parts), 'file')}, {human.size(published.bytes)}"
    yield Fact("Files", f"{files}, {published.format}, {times}")
    if "count_rows_read" in line:
        kinds = (("drawn", "count_rows_drawn"), ("zero", "count_rows_zero"), ("merged", "count_rows_merged"))
        parts = ", ".join(f"{human.count(line[key])} {name}" for name, key in kinds if key in line)
        yield Fact("Count rows", f"{human.count(line['count_rows_read'])} read: {parts}")
    if line.get("notices"):
        yield Fact("Notices", ", ".join(map(str, line["notices"])))


def _speed_facts(line: Mapping[str, Any]) -> Iterable[Fact]:
    if "rows_per_second" in line:
        yield Fact("Rate", human.rate(float(line["rows_per_second"]), "arrivals"))
    if "threads" in line:
        yield Fact("Threads", str(line["threads"]))
    for name, seconds in sorted((line.get("thread_seconds") or {}).items()):
        yield Fact(f"Thread time, {name}", human.duration(float(seconds)))
    if "peak_rss_bytes" in line:
        yield Fact("Peak memory", human.size(int(line["peak_rss_bytes"])))
    for label, taken in (line.get("peak_device_bytes") or {}).items():
        yield Fact(f"Peak memory, {label}", human.size(int(taken)))
    if "started_at_utc" in line:
        yield Fact("Started", str(line["started_at_utc"]))


def _fallbacks(section: Section) -> Iterable[dict[str, Any]]:
    """One row per kind: the run report's count, and the entries of the anomalies dataset."""
    stated = {name.upper(): int(count) for name, count in ((section.line or {}).get("fallbacks") or {}).items()}
    listed = {anomaly.code: anomaly for anomaly in section.anomalies or ()}
    for code in dict.fromkeys([*MEANINGS, *stated, *listed]):
        anomaly = listed.get(code)
        arrivals = stated.get(code, anomaly.arrivals if anomaly else 0)
        yield {
            "code": code,
            "meaning": MEANINGS.get(code, ""),
            "severity": anomaly.severity if anomaly else "",
            "arrivals": arrivals,
            "share": arrivals / section.measures.arrivals if section.measures.arrivals else 0.0,
            "entities": anomaly.entities if anomaly else 0,
        }


def _merchants(measures: Measures, names: MerchantNames | None) -> Iterable[dict[str, Any]]:
    table = measures.merchants
    for place in range(min(MERCHANTS_SHOWN, table.merchant_id.size)):
        arrivals, expected = int(table.arrivals[place]), float(table.expected[place])
        if not arrivals:
            return
        yield {
            "rank": place + 1,
            "merchant_id": str(table.merchant_id[place]),
            "merchant": None if names is None else names.text(int(table.merchant_id[place])),
            "arrivals": arrivals,
            "share": arrivals / measures.arrivals,
            "expected": human.count(round(expected)),
            "ratio": f"{arrivals / expected:.3f}" if expected > 0 else "",
            "virtual": int(table.virtual[place]) / arrivals,
            "sites": int(table.sites[place]),
            "edges": int(table.edges[place]),
            "zones": int(table.zones[place]),
        }


def _made_with() -> str:
    packages = ", ".join(f"{name} {distribution_version(name)}" for name in ("duckdb", "matplotlib", "jinja2"))
    from arrival_engine.engine.process.version import version

    return f"arrival-engine {version()}, {packages}, tzdata {release()}"
