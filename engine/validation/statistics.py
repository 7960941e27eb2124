"""Tail probabilities of the tests that validation makes, from counts alone.

Reported numbers are rounded to six significant digits, so that differences between mathematical libraries in the last
bits never reach a bundle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]

_STEPS_MAX = 10_000
_TINY = 1e-300


def rounded(value: float, digits: int = 6) -> float:
    """The value rounded to `digits` significant digits."""
    return float(f"{value:.{digits - 1}e}") if math.isfinite(value) else value


def share_tail(found: int, draws: int, expected: float) -> float:
    """At least the probability that `draws` independent draws deviate so far from `expected` hits, to either side.

    The draws may have different chances; `expected` is their sum. Hoeffding's bound of 1963: 2 exp(-n D), D being the
    divergence of the share found from the share expected. It holds for any number of draws and any chances, whereas
    the normal approximation makes rare hits too unlikely.
    """
    share, chance = found / draws, min(1.0, expected / draws)
    divergence = _divergence(share, chance) + _divergence(1.0 - share, 1.0 - chance)
    return min(1.0, 2.0 * math.exp(-draws * divergence))


def _divergence(share: float, chance: float) -> float:
    if share <= 0.0:
        return 0.0
    return share * math.log(share / chance) if chance > 0.0 else math.inf


def chi_square_tail(statistic: float, freedom: float) -> float:
    """P(X >= statistic) for chi-square with `freedom` > 0 degrees: the regularised upper incomplete gamma function.

    Series below the mean, continued fraction above it (Numerical Recipes 6.2); relative error below 1e-9 up to
    10^5 degrees, beyond which Wilson and Hilferty's normal approximation is used.
    """
    if statistic <= 0.0:
        return 1.0
    if freedom > 1e5:
        third = 2.0 / (9.0 * freedom)
        z = ((statistic / freedom) ** (1.0 / 3.0) - (1.0 - third)) / math.sqrt(third)
        return 0.5 * math.erfc(z / math.sqrt(2.0))
    a, x = freedom / 2.0, statistic / 2.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1.0:
        return max(0.0, 1.0 - scale * _series(a, x))
    return scale * _fraction(a, x)


def _series(a: float, x: float) -> float:
    term = total = 1.0 / a
    for step in range(1, _STEPS_MAX):
        term *= x / (a + step)
        total += term
        if term < total * 1e-16:
            break
    return total


def _fraction(a: float, x: float) -> float:
    b = x + 1.0 - a
    c, d = 1.0 / _TINY, 1.0 / b
    value = d
    for step in range(1, _STEPS_MAX):
        factor = -step * (step - a)
        b += 2.0
        d = factor * d + b
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = b + factor / c
        c = c if abs(c) > _TINY else _TINY
        value *= d * c
        if abs(d * c - 1.0) < 1e-16:
            break
    return value


def kolmogorov_tail(distance: float, size: int) -> float:
    """P(D_n >= distance) of the one-sample Kolmogorov-Smirnov statistic, by Stephens' approximation of 1970."""
    root = math.sqrt(size)
    x = distance * (root + 0.12 + 0.11 / root)
    if x < 0.3:
        return 1.0
    total, sign = 0.0, 1.0
    for k in range(1, 101):
        term = math.exp(-2.0 * (k * x) ** 2)
        total += sign * term
        sign = -sign
        if term < 1e-16:
            break
    return min(1.0, max(0.0, 2.0 * total))


def uniform_distance(p_values: Sequence[float]) -> float:
    """The Kolmogorov-Smirnov distance of values in [0, 1] from the uniform distribution."""
    ordered = np.sort(np.asarray(p_values, np.float64))
    size = ordered.size
    steps = np.arange(size + 1) / size
    return float(max(np.max(steps[1:] - ordered), np.max(ordered - steps[:-1])))


def g_test(observed: NDArray[np.int64], weights: Reals, min_expected: float) -> tuple[float, int] | None:
    """G with Williams' correction, and its degrees of freedom, of counts against weights (any scale, not all zero).

    The correction is that for any chances: the sum of 1/expected counts, less 1/draws, over 6 per degree of freedom.
    For equal chances it is the textbook's (k + 1) / (6 draws). With that one, the G of tables with some common and many
    rare members is too large on average, and the sum over many tables is out of bounds.

    Cells that expect fewer than `min_expected` are pooled, with the next larger ones if necessary; None if fewer than
    two cells remain (Sokal and Rohlf, Biometry, 17.2).
    """
    draws = int(observed.sum())
    expected = weights / weights.sum() * draws
    order = np.argsort(expected, kind="stable")
    expected, observed = expected[order], observed[order]
    small = int(np.searchsorted(expected, min_expected))
    while small and small < expected.size and expected[:small].sum() < min_expected:
        small += 1
    if small > 1:
        expected = np.append(expected[:small].sum(), expected[small:])
        observed = np.append(observed[:small].sum(), observed[small:])
    cells = expected.size
    if cells < 2 or expected[0] <= 0.0:
        return None
    met = observed > 0
    g = 2.0 * float((observed[met] * np.log(observed[met] / expected[met])).sum())
    correction = 1.0 + (float((1.0 / expected).sum()) - 1.0 / draws) / (6.0 * (cells - 1))
    return max(0.0, g / correction), cells - 1


def g_test_uniform(counts: NDArray[np.int64]) -> tuple[float, float]:
    """The same for equally likely cells, none of them pooled, with the tail probability.

    Pearson's statistic has up to ten times the tail of chi-square at 1e-10 where cells expect 20; G keeps to it.
    """
    test = g_test(counts, np.ones(counts.size), 0.0)
    return (test[0], chi_square_tail(*test)) if test else (0.0, 1.0)
