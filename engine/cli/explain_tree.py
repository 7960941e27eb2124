"""An explanation as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrival_engine.contracts.plainness import short
from arrival_engine.engine.cli.output import results_console, show_line
from arrival_engine.engine.process import human

if TYPE_CHECKING:
    from rich.tree import Tree

    from arrival_engine.engine.explaining.facts import Block, Clock, Comparison, Explanation, History, Pick

_TWO32 = 1 << 32
_UNFOLDED = 1 << 16


def show_explanation(explanation: Explanation) -> None:
    """Print the history, then whether kernel and stored row agree with it."""
    console = results_console()
    if not console.is_terminal:
        # A file or a pipe has no width, so nothing is folded or cut.
        console.width = _UNFOLDED
    console.print(_tree(explanation), soft_wrap=False)
    for notice in explanation.notices:
        show_line(("note: ", "yellow"), notice.message)


def _tree(explanation: Explanation) -> Tree:
    from rich.tree import Tree

    from arrival_engine.engine.process.console import styled

    history = explanation.history
    where = history.picks[-1].chosen_name
    entity = history.entity
    merchant = entity.merchant_id if entity.merchant is None else short(entity.merchant)
    head = f"arrival {history.sequence.arrival_seq} of merchant {merchant}: "
    tree = Tree(styled((head, "bold"), f"{history.offset.ts_utc} at {where}"))
    _add_who_and_when(tree, history)
    _add_time(tree, history)
    _add_route(tree, history)
    _add_clocks(tree, history)
    _add_order(tree, history)
    _add_row(tree, explanation)
    _add_kernel(tree, explanation.kernel)
    return tree


def _branch(tree: Tree, title: str, *lines: str) -> Tree:
    from arrival_engine.engine.process.console import styled

    branch = tree.add(styled((title, "bold")))
    _leaves(branch, *lines)
    return branch


def _leaves(tree: Tree, *lines: str) -> None:
    from arrival_engine.engine.process.console import styled

    for line in lines:
        tree.add(styled(line))


def _add_who_and_when(tree: Tree, history: History) -> None:
    entity, bucket = history.entity, history.bucket
    channel = entity.channel_group or "(null)"
    named = [] if entity.merchant is None else [f"merchant {entity.merchant_id} is {short(entity.merchant)}"]
    _branch(
        tree,
        "entity",
        *named,
        f"merchant {entity.merchant_id}, zone {entity.zone_representation}, channel {channel}, "
        f"scenario {history.scenario_id}",
        f"domain text {entity.domain}",
    )
    _branch(
        tree,
        f"bucket {bucket.index}",
        f"from {bucket.start_utc} to {bucket.end_utc}: D = {bucket.duration_us} us",
        f"N = {human.amount(bucket.count, 'arrivals')} of the entity in it; this is draw j = {bucket.draw}",
    )


def _add_block(tree: Tree, block: Block, bucket: int) -> None:
    _leaves(
        tree,
        f"{block.family}: key {block.key}, hi0 {block.hi0}",
        f"counter: word 0 = j = {block.word0}, word 1 = (hi0 + {bucket}) mod 2^64 = {block.word1}",
        f"Philox2x64-10: x0 = {block.x0} decides {block.x0_decides}, x1 = {block.x1} decides {block.x1_decides}",
    )


def _add_time(tree: Tree, history: History) -> None:
    offset = history.offset
    branch = _branch(tree, "time")
    _add_block(branch, history.blocks[0], history.bucket.index)
    _leaves(
        branch,
        f"offset = floor((x0 * D + floor(D / 2)) / 2^64) = floor(({int(offset.x0)} * {offset.duration_us} "
        f"+ {offset.duration_us // 2}) / 2^64)",
        f"       = floor({offset.numerator} / 2^64) = {offset.offset_us} us",
        f"ts_utc = {history.bucket.start_utc} + {offset.offset_us} us = {offset.ts_utc}",
    )


def _add_route(tree: Tree, history: History) -> None:
    mode = history.mode
    edges = human.amount(mode.edges, "edges") if mode.edges else "no edge table"
    branch = _branch(tree, f"route: {'virtual' if mode.is_virtual else 'physical'}", f"mode {mode.mode}, {edges}")
    # The family that decides stands first.
    site, edge = history.blocks[1:]
    for block in (edge, site) if mode.is_virtual or mode.coin else (site, edge):
        if (block.x0_decides, block.x1_decides) == ("nothing", "nothing"):
            _leaves(branch, f"{block.family}: no word drawn")
        else:
            _add_block(branch, block, history.bucket.index)
    if mode.coin is not None:
        sign, side = ("<", "virtual") if mode.coin.is_virtual else (">=", "physical")
        _leaves(
            branch,
            f"coin: {mode.coin.word} {sign} {mode.coin.threshold} = floor({mode.coin.p:.6g} * 2^64), so {side}",
        )
    for fallback in history.fallbacks:
        _leaves(
            branch,
            f"fallback {fallback.name}: {fallback.what}"
            + ("; the policy forbids it, a run stops here" if fallback.forbidden else ""),
        )
    for pick in history.picks:
        _add_pick(branch, pick)


def _add_pick(tree: Tree, pick: Pick) -> None:
    always = pick.threshold == _TWO32
    compared = f"{pick.fraction} {'<' if pick.fraction < pick.threshold else '>='} threshold {pick.threshold}"
    rule = f"fraction {compared}{' (always)' if always else ''}"
    alias = "" if always else f"; alias {pick.alias} = {pick.alias_name}"
    _branch(
        tree,
        f"pick from {pick.table}",
        f"word {pick.word} * {pick.size} slots: slot {pick.slot} = {pick.slot_name}",
        f"{rule}{alias}",
        f"taken: the {pick.taken}, {pick.chosen_name}, which the table gives {pick.share:.4%} of the time",
    )


def _add_clocks(tree: Tree, history: History) -> None:
    branch = _branch(tree, "clocks")
    for clock in history.clocks:
        _leaves(branch, _clock_line(clock))


def _clock_line(clock: Clock) -> str:
    since = f"since {clock.since_utc}" if clock.since_utc else "from the beginning"
    until = f" until {clock.until_utc}" if clock.until_utc else ""
    offset = f"{clock.offset_minutes:+d} min"
    return f"{', '.join(clock.roles)}: {clock.tzid}, {offset} in force {since}{until}: {clock.local}"


def _add_order(tree: Tree, history: History) -> None:
    order = history.sequence
    _branch(
        tree,
        f"arrival_seq {order.arrival_seq}",
        f"{human.amount(order.earlier_buckets, 'arrivals')} of the merchant in earlier buckets + "
        f"{order.place_in_bucket} by (ts_utc, zone, channel, j) among the {human.count(order.arrivals_in_bucket)} of "
        "this one",
        f"{human.amount(order.arrival_seq - 1, 'arrivals')} before it, "
        f"{human.count(order.arrivals_of_merchant)} in all",
    )


_STORED = {
    "absent": ("stored row: none, nothing is published", "yellow"),
    "missing": ("stored row: MISSING, the published arrivals have no such row", "bold red"),
    "repeated": ("stored row: REPEATED, several published rows have this key", "bold red"),
    "agrees": ("stored row: agrees in every column", "bold green"),
    "differs": ("stored row: DIFFERS", "bold red"),
}


def _add_row(tree: Tree, explanation: Explanation) -> None:
    from arrival_engine.engine.process.console import styled

    stored = explanation.stored
    branch = tree.add(styled(_STORED[stored.outcome]))
    _leaves(branch, stored.where)
    wrong = {difference.column: difference for difference in stored.differences}
    for name, value in explanation.history.row.items():
        line = styled(f"{name} = {_shown(value)}")
        if name in wrong:
            line.append_text(styled((f"  but stored: {_shown(wrong.pop(name).found)}", "bold red")))
        branch.add(line)
    for difference in wrong.values():
        branch.add(
            styled((f"{difference.column}: stored {_shown(difference.found)}, not a column of the contract", "red"))
        )


def _add_kernel(tree: Tree, kernel: Comparison) -> None:
    from arrival_engine.engine.process.console import styled

    if kernel.outcome == "agrees":
        tree.add(styled(("CPU kernel: agrees in every column", "bold green")))
    elif kernel.outcome == "refused":
        tree.add(styled((f"CPU kernel: stops in this segment, as a run would: {kernel.where}", "yellow")))
    elif kernel.outcome == "missing":
        tree.add(styled(("CPU kernel: MISSING, a run makes no such arrival", "bold red")))
    else:
        branch = tree.add(styled(("CPU kernel: DIFFERS", "bold red")))
        for difference in kernel.differences:
            derived, found = _shown(difference.derived), _shown(difference.found)
            _leaves(branch, f"{difference.column} = {derived}, but by the kernel {found}")


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
