"""The report as one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from arrival_engine.engine.process import human

_GROUPS = {"columns": "arrival", "row_totals": "count row", "sums": "batch", "refusal": "refused batch"}
_HINT = "↔ Scroll sideways for all columns."


def page(report: dict[str, Any]) -> str:
    """Fill the template; everything that comes from the report is escaped."""
    template = Template(files("arrival_engine.engine.parity").joinpath("report.html").read_text(encoding="utf-8"))
    sides = [report["left"], report["right"]]
    left, right = (_side_name(side) for side in sides)
    verdict = "Identical" if report["identical"] else "Different"
    return template.substitute(
        title=escape(f"{verdict}: parity of {left} and {right}"),
        verdict=verdict,
        verdict_class="good" if report["identical"] else "bad",
        summary=escape(_summary(report, left, right)),
        notes=_notes(report["notes"]),
        difference=_difference(report["first_difference"]),
        sides=_table(("", f"left: {left}", f"right: {right}"), _side_rows(sides)),
        chart=_chart(sides),
        columns=_table(
            ("array", "verdict", "one value per", "type", "compared", "differing"), _column_rows(report), numbers=(4, 5)
        ),
        batches=_table(
            ("batch", "arrivals", f"{left}, s", f"{right}, s", "digests"), _batch_rows(sides), numbers=(1, 2, 3)
        ),
        world=_table(("", ""), _world_rows(report)),
        environment=_table(("", ""), _flat(report["environment"])),
    )


def _notes(notes: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f"<section class='notes'><h2>Limits of this comparison</h2><ul>{items}</ul></section>" if notes else ""


def _side_name(side: dict[str, Any]) -> str:
    return f"{side['backend']} (simulation)" if side["simulated"] else str(side["backend"])


def _summary(report: dict[str, Any], left: str, right: str) -> str:
    compared = report["compared"]
    extent = (
        f"{human.count(compared['arrivals'])} of {human.amount(compared['arrivals_planned'], 'arrivals')} in "
        f"{human.count(len(compared['batches']))} of {human.amount(compared['batches_planned'], 'batches')}"
    )
    scenario = report["world"]["scenario_id"]
    if report["identical"]:
        return f"Scenario {scenario}: {left} and {right} have the same bits in every array over {extent}."
    return f"Scenario {scenario}: {left} and {right} differ. {extent} were compared."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] | None = None) -> str:
    """A table of facts, whose texts break anywhere; with `numbers`, the columns of numbers, one whose cells do not."""
    marks = ["" if numbers is None or column not in numbers else " class='number'" for column in range(len(head))]
    titles = "".join(f"<th scope='col'{mark}>{escape(title)}</th>" for title, mark in zip(head, marks, strict=True))
    body = "".join(f"<tr><th scope='row'>{escape(row[0])}</th>{_cells(row[1:], marks[1:])}</tr>" for row in rows)
    header = f"<thead><tr>{titles}</tr></thead>" if any(head) else ""
    kind = "facts" if numbers is None else "list"
    hint = f"<p class='hint'>{_HINT}</p>" if any(head) else ""
    return f"<div class='wide' tabindex='0'>{hint}<table class='{kind}'>{header}<tbody>{body}</tbody></table></div>"


def _cells(cells: Sequence[str], marks: Sequence[str]) -> str:
    return "".join(f"<td{mark}>{escape(cell)}</td>" for cell, mark in zip(cells, marks, strict=True))


def _side_rows(sides: Sequence[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    def row(name: str, values: Iterable[str]) -> tuple[str, ...]:
        return (name, *values)

    yield row("why this backend", (side["reason"] for side in sides))
    yield row("digest", (side["digest"] for side in sides))
    yield row("arrivals", (human.count(side["arrivals"]) for side in sides))
    yield row("batches at once", (human.count(side["threads"]) for side in sides))
    yield row("load: kernels, tables, upload", (human.duration(side["phase_seconds"]["load"]) for side in sides))
    yield row("expand, to host memory", (human.duration(side["phase_seconds"]["expand"]) for side in sides))
    for name in ("expand", "load and expand"):
        yield row(f"arrivals/s, {name}", (_rate(side, name) for side in sides))
    yield row("registers per thread", (_kernels(side, _registers) for side in sides))
    yield row("occupancy", (_kernels(side, _occupancy) for side in sides))


def _rate(side: dict[str, Any], name: str) -> str:
    rate = side["arrivals_per_second"].get(name)
    return "not measured" if rate is None else human.rate(rate, "arrivals")


def _kernels(side: dict[str, Any], figure: Callable[[dict[str, Any]], str]) -> str:
    if side["kernels"] is None:
        return f"not known: {side['kernels_reason']}"
    return ", ".join(f"{kernel['name']} {figure(kernel)}" for kernel in side["kernels"])


def _registers(kernel: dict[str, Any]) -> str:
    return f"{kernel['registers']} (local memory {kernel['local_bytes']} B)"


def _occupancy(kernel: dict[str, Any]) -> str:
    return f"{kernel['occupancy_percent']} %"


def _chart(sides: Sequence[dict[str, Any]]) -> str:
    """Arrivals per second as bars from zero, one scale for all."""
    bars = [
        (f"{_side_name(side)}, {name}", rate, number)
        for name in ("expand", "load and expand")
        for number, side in enumerate(sides)
        if (rate := side["arrivals_per_second"].get(name)) is not None
    ]
    most = max((rate for _, rate, _ in bars), default=0.0)
    if not most:
        return "<p>Nothing was measured.</p>"
    rows = "".join(_bar(*bar, most) for bar in bars)
    return f"<div class='chart' role='table' aria-label='Arrivals per second'>{rows}</div>"


def _bar(name: str, rate: float, side: int, most: float) -> str:
    return (
        f"<div class='row' role='row'><span class='name' role='rowheader'>{escape(name)}</span>"
        f"<span class='track' aria-hidden='true'><span class='bar side{side}' style='width:{100 * rate / most:.2f}%'>"
        f"</span></span><span class='value' role='cell'>{escape(human.rate(rate, 'arrivals'))}</span></div>"
    )


def _column_rows(report: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    for column in report["columns"]:
        yield (
            column["name"],
            "identical" if column["identical"] else f"DIFFERENT in {human.amount(column['batches'], 'batches')}",
            _GROUPS[column["group"]],
            column["dtype"],
            human.count(column["compared"]),
            human.count(column["differing"]),
        )


def _batch_rows(sides: Sequence[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    for left, right in zip(sides[0]["batches"], sides[1]["batches"], strict=True):
        digest = left["digest"] if left["digest"] == right["digest"] else f"{left['digest']} / {right['digest']}"
        digest = "refused by the policy" if left["refused"] and right["refused"] else digest
        seconds = (f"{side['seconds']:.4f}" for side in (left, right))
        yield (str(left["index"]), human.count(left["arrivals"]), *seconds, digest)


def _world_rows(report: dict[str, Any]) -> Iterable[tuple[str, str]]:
    yield from _flat(report["world"])
    for name in ("engine_version", "law_version", "code_digest"):
        yield name.replace("_", " "), str(report[name])
    for name, seconds in report["shared_phase_seconds"].items():
        yield f"time to {name}" if name != "seal check" else "time of the seal check", human.duration(seconds)


def _flat(facts: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in facts.items():
        label = prefix + name.replace("_", " ")
        if isinstance(value, dict):
            yield from _flat(value, f"{label}: ")
        elif isinstance(value, list):
            yield label, "; ".join(_item(item) for item in value) or "none"
        elif value is not None:
            yield label, _amount(name, value)


def _item(item: object) -> str:
    if not isinstance(item, dict):
        return str(item)
    return ", ".join(f"{name.replace('_', ' ')} {_amount(name, value)}" for name, value in item.items())


def _amount(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        return str(value)
    return human.size(value) if name.endswith("_bytes") else human.count(value)


def _difference(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    trace = found["trace"]
    derived = {} if trace is None else {item["name"]: item for item in trace["derived"]}
    rows = (
        (value["name"], value["left"], value["right"], *_judgement(derived.get(value["name"])))
        for value in found["values"]
    )
    parts = [
        "<section><h2>First difference</h2>",
        f"<p>{escape(found['text'])}</p>",
        _table(("value", "left", "right", "derived from the inputs", "confirms"), rows),
    ]
    if trace is not None:
        parts.append(_trace(trace))
    return "".join([*parts, "</section>"])


def _judgement(item: dict[str, Any] | None) -> tuple[str, str]:
    return (item["value"], item["confirms"]) if item else ("", "")


def _trace(trace: dict[str, Any]) -> str:
    whose = [
        ("merchant", str(trace["merchant_id"])),
        ("zone", trace["zone_representation"]),
        ("channel", trace["channel_group"] or "(null)"),
        ("bucket", str(trace["bucket_index"])),
        ("arrival_seq", str(trace["arrival_seq"] or "")),
    ]
    if trace["explanation"] is None:
        return _table(("", ""), [*whose, ("derivation", f"none: {trace['why_not']}")])
    history = trace["explanation"]["history"]
    whole = json.dumps(trace["explanation"], indent=2, ensure_ascii=False)
    return (
        f"{_table(('', ''), [*whose, *_history_rows(history)])}"
        f"<details><summary>The whole derivation</summary><pre>{escape(whole)}</pre></details>"
    )


def _history_rows(history: dict[str, Any]) -> Iterable[tuple[str, str]]:
    bucket, offset = history["bucket"], history["offset"]
    yield "bucket's time", f"{bucket['start_utc']} to {bucket['end_utc']}, D = {bucket['duration_us']} us"
    yield "draw", f"j = {bucket['draw']} of {bucket['count']}"
    for block in history["blocks"]:
        counter = f"key {block['key']}, counter ({block['word0']}, {block['word1']})"
        words = f"x0 = {block['x0']} decides {block['x0_decides']}, x1 = {block['x1']} decides {block['x1_decides']}"
        yield f"words of {block['family']}", f"{counter}: {words}"
    yield "time", f"{offset['offset_us']} us into the bucket: {offset['ts_utc']}"
    mode = history["mode"]
    yield "route", f"{'virtual' if mode['is_virtual'] else 'physical'}, mode {mode['mode']}"
    for pick in history["picks"]:
        slot = f"slot {pick['slot']} = {pick['slot_name']}, fraction {pick['fraction']}, threshold {pick['threshold']}"
        yield f"pick from {pick['table']}", f"word {pick['word']}: {slot}; taken: {pick['chosen_name']}"
    for fallback in history["fallbacks"]:
        yield f"fallback {fallback['name']}", fallback["what"]
    for clock in history["clocks"]:
        yield ", ".join(clock["roles"]), f"{clock['tzid']}, {clock['offset_minutes']:+d} min: {clock['local']}"
