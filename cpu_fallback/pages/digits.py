"""Instants and wall-clock times as RFC 3339 text, in words of at most eight characters, the first in the low byte.

Years 0 to 9999. Time grids lie in the years that fit 64-bit nanoseconds (`contracts.moments`), so no arrival has
another.
"""

from __future__ import annotations

import numpy as np

from arrival_engine.cpu_fallback.pages.bits import part
from arrival_engine.cpu_fallback.tables import U64, Index

# Characters of 2026-11-28T07:08:09.000001, and of the Z that ends an instant in UTC.
WALL_SIZE, INSTANT_SIZE = 26, 27
# Characters that name the hour, and microseconds in one.
HOUR_SIZE, HOUR_US = 14, 3_600_000_000
# Two characters for each number from 0 to 99.
PAIRS = np.array([ord("0") + n // 10 | (ord("0") + n % 10) << 8 for n in range(100)], np.uint64)

_DASH, _T, _COLON, _POINT, _Z = (np.uint64(ord(mark)) for mark in "-T:.Z")
_FRACTION = np.uint64(2**32 - 1)


@part
def civil(day: Index) -> tuple[Index, Index, Index]:
    """Year, month and day of a number of days since 1970-01-01.

    Hinnant, "chrono-Compatible Low-Level Date Algorithms", days from 0000-03-01 in eras of 400 years.
    """
    shifted = day + 719_468
    era = shifted // 146_097
    of_era = shifted - era * 146_097
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * of_year + 2) // 153
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    return year, month, of_year - (153 * shifted_month + 2) // 5 + 1


@part
def day_text(day: Index, pairs: U64) -> tuple[np.uint64, np.uint64]:
    """The characters of a day since 1970: eight like 2026-11-, and six like 28T..: , without the hour's digits."""
    y, m, d = civil(day)
    month = pairs[y // 100] | pairs[y % 100] << np.uint64(16) | _DASH << np.uint64(32)
    month |= pairs[m] << np.uint64(40) | _DASH << np.uint64(56)
    return month, pairs[d] | _T << np.uint64(16) | _COLON << np.uint64(40)


@part
def with_hour(day: np.uint64, hour: Index, pairs: U64) -> np.uint64:
    """The six characters of `day_text` with the hour's digits."""
    text: np.uint64 = day | pairs[hour] << np.uint64(24)
    return text


@part
def microsecond_text(since: np.uint64, pairs: U64) -> tuple[np.uint64, np.uint64]:
    """The characters of a microsecond of an hour: eight like 08:09.00, and five like 0001Z."""
    second = since // np.uint64(1_000_000)
    micros = since - second * np.uint64(1_000_000)
    minute = second // np.uint64(60)
    # Two digits before the point, in 32 bits after it the others: exact for all six.
    high = micros * np.uint64(2**32 // 10_000 + 1)
    middle = (high & _FRACTION) * np.uint64(100)
    low = (middle & _FRACTION) * np.uint64(100)
    first = pairs[minute] | _COLON << np.uint64(16) | pairs[second - minute * np.uint64(60)] << np.uint64(24)
    first |= _POINT << np.uint64(40) | pairs[high >> np.uint64(32)] << np.uint64(48)
    second = pairs[middle >> np.uint64(32)] | pairs[low >> np.uint64(32)] << np.uint64(16)
    return first, second | _Z << np.uint64(32)
