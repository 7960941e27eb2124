"""Merchants: identifiers, size, trade, virtual mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from arrival_engine.cpu_fallback.law import HYBRID, NON_VIRTUAL, VIRTUAL_ONLY
from arrival_engine.engine.synth.draws import Draws
from arrival_engine.engine.synth.kernels import exp_portable, log_portable, ordered_sum
from arrival_engine.engine.synth.presets import WorldSpec
from arrival_engine.engine.synth.shapes import CLASSES

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Quantiles of the reference run: sites per merchant (median 16, p90 36, p99 168, thousands at the top) and
# arrivals per merchant (median 58 385, p90 215 799, p99 1.54 M, maximum 17 M); a Pareto tail above the knots.
_SITE_KNOTS = ((0.0, 1.0), (0.03, 3.0), (0.5, 16.0), (0.9, 36.0), (0.99, 168.0))
_SITE_TAIL = 0.9
_VOLUME_KNOTS = (
    (0.0, 5e3),
    (0.5, 58_385.0),
    (0.9, 215_799.0),
    (0.95, 3.8e5),
    (0.97, 6e5),
    (0.99, 1_543_702.0),
)
_VOLUME_TAIL = 0.835
_VOLUME_MAX = 17e6
_VIRTUAL_SHARE_OF_MERCHANTS = 0.03
_VIRTUAL_SHARE_OF_ARRIVALS = 0.0225


@dataclass(frozen=True, eq=False)
class Population:
    """Merchants, ascending by id: merchants with counts, and bystanders that only have sites.

    `merchant` uint64[N]; `counted` bool[N]; `sites` int64[N] at least 1; `volume` float64[N], relative
    arrivals (0 for bystanders); `demand` int64[N] index into `shapes.CLASSES`; `mode` int64[N] index into
    `cpu_fallback.law.MODES`; `edges` int64[N], 0 for a merchant without an edge table (physical merchants and,
    unless the spec says otherwise, one virtual merchant).
    """

    merchant: npt.NDArray[np.uint64]
    counted: npt.NDArray[np.bool_]
    sites: Ints
    volume: Floats
    demand: Ints
    mode: Ints
    edges: Ints

    def channel(self, m: int) -> str:
        """The one channel group of merchant m."""
        return CLASSES[int(self.demand[m])].channel


def quantile(u: float, knots: Sequence[tuple[float, float]], tail: float, most: float) -> float:
    """Quantile function: log-linear between knots, Pareto (exponent 1/tail) above them, at most `most`."""
    (last_u, last_value) = knots[-1]
    if u >= last_u:
        ratio = (1.0 - last_u) / (1.0 - u)
        return min(last_value * exp_portable(tail * log_portable(ratio)), most)
    for (u0, v0), (u1, v1) in pairwise(knots):
        if u < u1:
            low, high = log_portable(v0), log_portable(v1)
            return min(exp_portable(low + (high - low) * (u - u0) / (u1 - u0)), most)
    return last_value


def populate(spec: WorldSpec, draws: Draws, hybrid_probability: Fraction) -> Population:
    """Draw the merchants. Sizes are stratified, so a world's totals do not depend on the seed."""
    everyone = spec.merchants + spec.bystanders
    merchant = _identifiers(draws, everyone)
    counted = np.ones(everyone, np.bool_)
    # The last id is above 2^63; it has counts, so that readers meet it.
    counted[draws.order("bystanders", everyone - 1)[: spec.bystanders]] = False
    inside = np.flatnonzero(counted)
    size = draws.uniforms("merchant size", spec.merchants)
    other = draws.uniforms("merchant turnover", spec.merchants)
    sites = 1 + draws.below("bystander sites", np.full(everyone, 8, np.int64))
    for rank, i in enumerate(np.argsort(size, kind="stable").tolist()):
        u = (rank + 0.5) / spec.merchants
        sites[inside[i]] = max(1, round(quantile(u, _SITE_KNOTS, _SITE_TAIL, spec.preset.sites_max)))
    volume = np.zeros(everyone)
    # Turnover loosely follows size.
    for rank, i in enumerate(np.argsort(2.0 * size + other, kind="stable").tolist()):
        u = (rank + 0.5) / spec.merchants
        volume[inside[i]] = quantile(u, _VOLUME_KNOTS, _VOLUME_TAIL, _VOLUME_MAX)
    mode, edges = _modes(spec, draws, inside, everyone)
    demand = _demand(draws, mode)
    _scale_virtual(volume, mode, edges, hybrid_probability)
    return Population(merchant, counted, sites, volume, demand, mode, edges)


def _identifiers(draws: Draws, count: int) -> npt.NDArray[np.uint64]:
    """Distinct ids ascending: 40-bit ids and one above 2^63."""
    small = np.unique((draws.words("merchant id", 2 * count) >> np.uint64(24)) + np.uint64(1))
    kept = np.sort(small[draws.order("merchant id choice", len(small))[: count - 1]])
    top = np.uint64(1 << 63) + (draws.words("merchant id above 2^63", 1) >> np.uint64(1)) + np.uint64(1)
    return np.concatenate([kept, top])


def _modes(spec: WorldSpec, draws: Draws, inside: Ints, everyone: int) -> tuple[Ints, Ints]:
    mode = np.full(everyone, NON_VIRTUAL, np.int64)
    edges = np.zeros(everyone, np.int64)
    virtual = max(2 if spec.merchants < 12 else 4, round(_VIRTUAL_SHARE_OF_MERCHANTS * spec.merchants))
    # Not the last merchant: its sites must be in use.
    chosen = inside[draws.order("virtual merchants", len(inside) - 1)[:virtual]]
    only = chosen[: virtual - virtual // 2]
    mode[chosen] = HYBRID
    mode[only] = VIRTUAL_ONLY
    edges[chosen] = spec.preset.edges
    if len(only) > 1 and not spec.complete_edges:
        edges[only[0]] = 0
    return mode, edges


def _demand(draws: Draws, mode: Ints) -> Ints:
    physical = np.array([demand.physical for demand in CLASSES], np.int64)
    online = np.array([demand.online for demand in CLASSES], np.int64)
    demand = np.empty(len(mode), np.int64)
    for name, weights, mask in (
        ("demand class", physical, mode == NON_VIRTUAL),
        ("online demand class", online, mode != NON_VIRTUAL),
    ):
        picks = draws.below(name, np.full(len(mode), weights.sum(), np.int64))
        demand[mask] = np.searchsorted(np.cumsum(weights), picks, side="right")[mask]
    return demand


def _scale_virtual(volume: Floats, mode: Ints, edges: Ints, hybrid_probability: Fraction) -> None:
    """Scale the turnover of merchants with edges to get the intended share of virtual arrivals."""
    p, share = float(hybrid_probability), _VIRTUAL_SHARE_OF_ARRIVALS
    with_edges = edges > 0
    only = ordered_sum(volume[with_edges & (mode == VIRTUAL_ONLY)])
    hybrid = ordered_sum(volume[with_edges & (mode == HYBRID)])
    rest = ordered_sum(volume[~with_edges])
    factor = share * rest / (only + p * hybrid - share * (only + hybrid))
    volume[with_edges] *= factor
