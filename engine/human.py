"""Figures as people read them: counts, rates, sizes and durations."""

from __future__ import annotations

_STEPS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
_MINUTE = 60.0
_HOUR = 3600.0


def count(value: int) -> str:
    """1234567 -> '1,234,567'."""
    return f"{value:,}"


def rate(per_second: float, unit: str = "") -> str:
    """8312345.0 -> '8.31 M/s', with the unit where given: '8.31 M arrivals/s'."""
    name = f" {unit}" if unit else ""
    for step, letter in _STEPS:
        if per_second >= step:
            return f"{per_second / step:.3g} {letter}{name}/s"
    return f"{per_second:.3g}{name}/s"


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
