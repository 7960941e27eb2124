"""Compiled loops of the synthetic world: portable elementary functions, latent field, counts, 2B weights.

A world must be the same bytes on every machine. Libraries' exp, log and cos differ in the last bit between
versions and vector widths, so the functions here use nothing but +, -, *, /, sqrt, frexp and ldexp, which
IEEE 754 fixes, and no sum is taken in another order than written. They are good to a few last places.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from arrival_engine.cpu_fallback.jit import njit
from arrival_engine.cpu_fallback.philox import philox2x64

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


class Entities(NamedTuple):
    """One item per entity (merchant, country, zone).

    `volume`: arrivals per bucket at shape 1 and factor 1; `kappa`: NB2 dispersion; `curve`, `group`, `zone`:
    rows of the tables in `Curves`; `key`, `high`: the count stream.
    """

    volume: Floats
    kappa: Floats
    curve: Ints
    group: Ints
    zone: Ints
    key: Words
    high: Words


class Curves(NamedTuple):
    """`shape` [K, 168] by local hour of week; `slot` [Z, H] that hour; `field` [G, H] latent factors."""

    shape: Floats
    slot: Ints
    field: Floats


class CountRows(NamedTuple):
    """Outputs of `bucket_counts`, of length E*H, entity by entity."""

    base: Floats
    realised: Floats
    counts: Ints
    capped: npt.NDArray[np.bool_]


class DayModel(NamedTuple):
    """`start` [M+1] delimits merchants' groups with `sigma`; `amplitude`, `phase` (turns) are the merchants'.

    `weekday` [D], Monday 0; `counter`: key, high and low word of row 0; `clip`: least and greatest effect.
    """

    start: Ints
    sigma: Floats
    amplitude: Floats
    phase: Floats
    weekday: Ints
    counter: Words
    clip: Floats


class DayRows(NamedTuple):
    """Outputs of `day_effects`, one per (merchant, day, group)."""

    gamma: Floats
    log_gamma: Floats
    low: Words
    high: Words


class GroupRule(NamedTuple):
    """Regulariser of 2B.S4: fewest groups, strength, soft cap on a share, entropy floor in nats."""

    groups: int
    strength: float
    cap: float
    floor: float


class Profile(NamedTuple):
    """`start` [M+1] delimits merchants' sites; `rank` [S] is 1 for the leader; the rest is per merchant.

    `component`: 0 hub and spoke, 1 heavy tail, 2 near uniform; `alpha` its exponent; `cap` bounds the
    leader's share, `second` is the runner-up's least share.
    """

    start: Ints
    rank: Ints
    component: Ints
    alpha: Floats
    cap: Floats
    second: Floats


_LN2_HIGH = 6.93147180369123816490e-01  # fdlibm e_exp.c: 32 trailing zero bits, so k * LN2_HIGH is exact
_LN2_LOW = 1.90821492927058770002e-10
_INVERSE_LN2 = 1.44269504088896338700
_SQRT_HALF = 0.70710678118654752440


@njit(nogil=True, allocates=False)
def exp_portable(x: float) -> float:
    """e^x; 0 below -745, infinity above 709.7."""
    if x > 709.7:
        return math.inf
    if x < -745.0:
        return 0.0
    k = math.floor(x * _INVERSE_LN2 + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    # Taylor series about 0 for |r| <= ln(2)/2; the first term left out is below 2^-56 of the sum.
    total = 1.0
    for n in range(14, 0, -1):
        total = 1.0 + total * r / n
    return math.ldexp(total, int(k))


@njit(nogil=True, allocates=False)
def log_portable(x: float) -> float:
    """Natural logarithm of a positive finite number."""
    m, e = math.frexp(x)
    if m < _SQRT_HALF:
        m, e = m * 2.0, e - 1
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    # 2 atanh(s); |s| <= 0.1716, so 11 terms reach 2^-58 of the first.
    total = 0.0
    for n in range(23, 1, -2):
        total = (total + 1.0 / n) * z
    return e * _LN2_HIGH + (e * _LN2_LOW + 2.0 * s * (1.0 + total))


@njit(nogil=True, allocates=False)
def cos_turns(t: float) -> float:
    """cos(2 pi t), to about 1e-16 absolute."""
    t = abs(t - math.floor(t + 0.5))
    flip = t > 0.25
    x = math.pi * (0.5 - t if flip else t)
    # 1 - 2 sin^2(x) needs the sine up to pi/4 only; the first term left out is below 2^-60.
    sine = 1.0
    for n in range(18, 0, -2):
        sine = 1.0 - sine * x * x / (n * (n + 1))
    sine *= x
    value = 1.0 - 2.0 * sine * sine
    return -value if flip else value


@njit
def unit_open(word: np.uint64) -> float:
    """(floor(word / 2^11) + 1/2) / 2^53, which lies in (0, 1)."""
    return (float(word >> np.uint64(11)) + 0.5) * 1.1102230246251565e-16


@njit(nogil=True, allocates=False)
def normal_quantile(u: float) -> float:
    """Inverse normal distribution function by P. J. Acklam's rational approximation (error 1.15e-9)."""
    if u < 0.02425 or u > 0.97575:
        q = math.sqrt(-2.0 * log_portable(u if u < 0.5 else 1.0 - u))
        top = (-7.784894002430293e-03 * q - 3.223964580411365e-01) * q - 2.400758277161838e00
        top = ((top * q - 2.549732539343734e00) * q + 4.374664141464968e00) * q + 2.938163982698783e00
        low = (7.784695709041462e-03 * q + 3.224671290700398e-01) * q + 2.445134137142996e00
        value = top / ((low * q + 3.754408661907416e00) * q + 1.0)
        return value if u < 0.5 else -value
    q = u - 0.5
    r = q * q
    top = (-3.969683028665376e01 * r + 2.209460984245205e02) * r - 2.759285104469687e02
    top = ((top * r + 1.383577518672690e02) * r - 3.066479806614716e01) * r + 2.506628277459239e00
    low = (-5.447609879822406e01 * r + 1.615858368580409e02) * r - 1.556989798598866e02
    low = ((low * r + 6.680131188771972e01) * r - 1.328068155288572e01) * r + 1.0
    return q * top / low


@njit(nogil=True, allocates=False)
def ordered_sum(x: Floats) -> float:
    """Sum from left to right."""
    total = 0.0
    for i in range(len(x)):
        total += x[i]
    return total


@njit
def stream_words(key: np.uint64, high: np.uint64, count: int) -> Words:
    """First words of the blocks (0, high), (1, high), ... of one Philox2x64 key: uint64[count]."""
    out = np.empty(count, np.uint64)
    for i in range(count):
        out[i] = philox2x64(np.uint64(i), high, key)[0]
    return out


@njit(nogil=True, allocates=False)
def latent_field(key: Words, high: Words, sigma: Floats, phi: Floats, clip: Floats, out: Floats) -> None:
    """Multiplicative Ornstein-Uhlenbeck factors: `out` float64[G, H] = clamp(exp(Z - sigma^2/2), *clip).

    Box-Muller with the two words of block (t, high); Z_0 is stationary. 5B.S2's law.
    """
    for g in range(out.shape[0]):
        step = sigma[g] * math.sqrt(1.0 - phi[g] * phi[g])
        z = 0.0
        for t in range(out.shape[1]):
            x0, x1 = philox2x64(np.uint64(t), high[g], key[g])
            radius = math.sqrt(-2.0 * log_portable(unit_open(x0)))
            n = radius * cos_turns(unit_open(x1))
            z = sigma[g] * n if t == 0 else phi[g] * z + step * n
            out[g, t] = min(max(exp_portable(z - 0.5 * sigma[g] * sigma[g]), clip[0]), clip[1])


@njit(nogil=True)
def profile_sums(entities: Entities, curves: Curves) -> Floats:
    """Sum over buckets of weekly shape times latent factor, per entity: float64[E]."""
    out = np.empty(len(entities.volume))
    for e in range(len(out)):
        shape = curves.shape[entities.curve[e]]
        slot = curves.slot[entities.zone[e]]
        field = curves.field[entities.group[e]]
        total = 0.0
        for t in range(len(field)):
            total += shape[slot[t]] * field[t]
        out[e] = total
    return out


@njit(nogil=True, allocates=False)
def poisson_quantile(mean: float, u: float) -> int:
    """Smallest n whose Poisson distribution function reaches u, for means up to 50."""
    term = exp_portable(-mean)
    total = term
    n = 0
    while total < u:
        n += 1
        term = term * mean / n
        if total + term == total and n > mean:
            break  # the sum no longer grows: u lies within rounding of 1
        total += term
    return n


@njit(nogil=True, allocates=False)
def mixed_count(mean: float, kappa: float, x0: np.uint64, x1: np.uint64) -> int:
    """S3's NB2 law: a lognormal stand-in for Gamma(kappa), then a Poisson quantile (normal above 50)."""
    s2 = log_portable(1.0 + 1.0 / kappa)
    rate = exp_portable(log_portable(mean) - 0.5 * s2 + math.sqrt(s2) * normal_quantile(unit_open(x0)))
    u = unit_open(x1)
    if rate <= 50.0:
        return poisson_quantile(rate, u)
    return math.floor(rate + math.sqrt(rate) * normal_quantile(u) + 0.5)


@njit(nogil=True, allocates=False)
def bucket_counts(entities: Entities, curves: Curves, limits: Floats, rows: CountRows) -> None:
    """Intensities and counts of all entities over all buckets; `limits`: lambda_max, zero epsilon, count cap.

    Intensities are rounded to binary32, which halves what the files need and is far below the model's own
    error; counts follow from the rounded values.
    """
    row = 0
    for e in range(len(entities.volume)):
        shape = curves.shape[entities.curve[e]]
        slot = curves.slot[entities.zone[e]]
        field = curves.field[entities.group[e]]
        for t in range(len(field)):
            expected = entities.volume[e] * shape[slot[t]]
            mean = np.float64(np.float32(min(expected * field[t], limits[0])))
            n = 0
            if mean > limits[1]:
                x0, x1 = philox2x64(np.uint64(t), entities.high[e], entities.key[e])
                n = max(mixed_count(mean, entities.kappa[e], x0, x1), 0)
            rows.base[row] = np.float64(np.float32(expected))
            rows.realised[row] = mean
            rows.capped[row] = n > limits[2]
            rows.counts[row] = min(n, int(limits[2]))
            row += 1


@njit(nogil=True, allocates=False)
def day_effects(model: DayModel, rows: DayRows) -> None:
    """2B.S3 day effects, rows by (merchant, day, group), one Philox block each."""
    row = 0
    for m in range(len(model.start) - 1):
        for day in model.weekday:
            wave = model.amplitude[m] * cos_turns(day / 7.0 + model.phase[m] - 0.25)
            for g in range(model.start[m], model.start[m + 1]):
                low = model.counter[2] + np.uint64(row)
                high = model.counter[1] + np.uint64(low < model.counter[2])
                u = unit_open(philox2x64(low, high, model.counter[0])[0])
                sigma = model.sigma[g]
                level = -0.5 * sigma * sigma + sigma * normal_quantile(u) + wave
                effect = exp_portable(level)
                if effect < model.clip[0] or effect > model.clip[1]:
                    effect = min(max(effect, model.clip[0]), model.clip[1])
                    level = log_portable(effect)
                rows.gamma[row], rows.log_gamma[row] = effect, level
                rows.low[row], rows.high[row] = low, high
                row += 1


@njit(nogil=True, allocates=False)
def _largest(x: Floats) -> float:
    top = 0.0  # numba's own max drags in an iterator that takes seconds to compile
    for i in range(len(x)):
        top = max(top, x[i])
    return top


@njit(nogil=True, allocates=False)
def _normalise(x: Floats) -> None:
    total = ordered_sum(x)
    for i in range(len(x)):
        x[i] /= total


@njit(nogil=True, allocates=False)
def _blend(p: Floats, a: float) -> None:
    for g in range(len(p)):
        p[g] = (1.0 - a) * p[g] + a / len(p)


@njit(nogil=True, allocates=False)
def _entropy(p: Floats, a: float) -> float:
    total = 0.0
    for g in range(len(p)):
        q = (1.0 - a) * p[g] + a / len(p)
        if q > 0.0:
            total -= q * log_portable(q)
    return total


@njit(nogil=True, allocates=False)
def _regularise(p: Floats, rule: GroupRule) -> None:
    groups = len(p)
    _blend(p, rule.strength)
    top = _largest(p)
    if top > rule.cap:
        _blend(p, min((top - rule.cap) / (top - 1.0 / groups), 1.0))
    if _entropy(p, 0.0) < rule.floor:
        below, above = 0.0, 1.0
        for _ in range(36):
            middle = 0.5 * (below + above)
            if _entropy(p, middle) < rule.floor:
                below = middle
            else:
                above = middle
        _blend(p, min(above, 1.0 - 1e-9))


@njit(nogil=True)
def group_weights(start: Ints, share: Floats, gamma: Floats, rule: GroupRule) -> Floats:
    """2B.S4 group weights: float64[rows, 3], (p_group, mass, denominator) of each (merchant, day, group).

    `start` [M+1] delimits merchants' groups, `share` is theirs; `gamma` has one item per row.
    """
    out = np.empty((len(gamma), 3))
    days = len(gamma) // max(len(share), 1)
    row = 0
    for m in range(len(start) - 1):
        groups = start[m + 1] - start[m]
        for _ in range(days):
            piece = np.empty(groups)
            for g in range(groups):
                piece[g] = share[start[m] + g] * gamma[row + g]
            total = ordered_sum(piece)
            for g in range(groups):
                out[row + g, 1], out[row + g, 2] = piece[g], total
            _normalise(piece)
            if groups >= rule.groups:
                _regularise(piece, rule)
            _normalise(piece)
            for g in range(groups):
                out[row + g, 0] = piece[g]
            row += groups
    return out


@njit(nogil=True)
def site_weights(profile: Profile) -> Floats:
    """2B.S1 profile mixture: float64[S], which sums to 1 over each merchant."""
    p = np.empty(len(profile.rank))
    for m in range(len(profile.start) - 1):
        first, end = profile.start[m], profile.start[m + 1]
        alpha, cap = profile.alpha[m], profile.cap[m]
        component = profile.component[m]
        for i in range(first, end):
            r = float(profile.rank[i])
            if component == 2:
                p[i] = 1.0 + alpha / (r + 1.0)
                continue
            p[i] = exp_portable(-max(alpha, 1.0 if component == 0 else 0.5) * log_portable(r))
            if component == 0 and profile.rank[i] == 1:
                p[i] += max(1.0, alpha * max(2, (end - first) // 2))
        _normalise(p[first:end])
        top = _largest(p[first:end])
        if end - first > 1 and top > cap:
            for i in range(first, end):
                p[i] = cap if profile.rank[i] == 1 else p[i] * (1.0 - cap) / (1.0 - top)
        for i in range(first, end):
            if profile.rank[i] == 2:
                p[i] = max(p[i], profile.second[m])
        _normalise(p[first:end])
    return p
