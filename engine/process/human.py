"""Readable counts, amounts, rates, sizes and durations."""

from __future__ import annotations

BYTES = "bytes"
_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_MINUTE = 60.0
_HOUR = 3600.0


def count(value: int) -> str:
    """1234567 -> '1,234,567'."""
    return f"{value:,}"


_SINGULARS = {"batches": "batch", "entities": "entity"}


def amount(value: int, unit: str) -> str:
    """1234567 of 'arrivals' -> '1,234,567 arrivals', 1 of 'sites' -> '1 site'; bytes as a size."""
    if unit == BYTES:
        return size(value)
    return f"{count(value)} {unit if value != 1 else _SINGULARS.get(unit, unit.removesuffix('s'))}"


def part(done: int, total: int | None, unit: str) -> str:
    """'5 of 20 arrivals', or '5 arrivals' if the total is not known."""
    if total is None:
        return amount(done, unit)
    return f"{size(done) if unit == BYTES else count(done)} of {amount(total, unit)}"


def per_second(amount: int, seconds: float) -> float:
    """A rate; 0.0 if no time passed by the clock, so that it is not known."""
    return amount / seconds if seconds > 0.0 else 0.0


def rate(per_second: float, unit: str) -> str:
    """8312345.0 of 'arrivals' -> '8.31 M arrivals/s'; bytes as a size: '1.5 GiB/s'."""
    if unit == BYTES:
        return f"{size(round(per_second))}/s"
    name = f" {unit}"
    for step, letter in _STEPS:
        if per_second >= step:
            return f"{_three_digits(per_second / step)} {letter}{name}/s"
    return f"{_three_digits(per_second)}{name}/s"


def speed(amount: int, seconds: float, unit: str) -> str:
    """The rate of an amount done in some seconds, or that there is none, because no time passed by the clock."""
    return rate(per_second(amount, seconds), unit) if seconds > 0.0 else "no rate measured"


def _three_digits(value: float) -> str:
    # The format ".3g" would write 999.7 as "1e+03".
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def size(number_of_bytes: int) -> str:
    """Binary multiples: 1610612736 -> '1.5 GiB'."""
    value = float(number_of_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024.0:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024.0
    return f"{value:.1f} TiB"


def duration(seconds: float) -> str:
    """0.0123 -> '12 ms', 3.25 -> '3.2 s', 75 -> '1 min 15 s', 4000 -> '1 h 6 min'."""
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
