"""Demand classes: weight among merchants, channel, and weekly shape in local time."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Demand(NamedTuple):
    """A demand class: weekly curve, channel, weight among physical and among virtual merchants."""

    name: str
    curve: str
    channel: str
    physical: int
    online: int


CLASSES = (
    Demand("office_hours", "office", "mixed", 80, 0),
    Demand("consumer_daytime", "day", "card_present", 200, 0),
    Demand("retail_daytime", "retail", "card_present", 260, 0),
    Demand("evening_weekend", "evening", "card_present", 130, 0),
    Demand("always_on_local", "always", "mixed", 70, 0),
    Demand("online_24h", "online", "card_not_present", 0, 70),
    Demand("online_bursty", "bursty", "card_not_present", 0, 30),
    Demand("travel_hospitality", "travel", "mixed", 70, 0),
    Demand("fuel_convenience", "fuel", "card_present", 90, 0),
    Demand("bills_utilities", "bills", "card_not_present", 50, 0),
    Demand("low_volume_tail", "tail", "card_present", 50, 0),
)
# curve: relative business by hour of day, and by weekday from Monday.
_CURVES: dict[str, tuple[str, str]] = {
    "office": (
        "0 0 0 0 0 0 1 6 22 40 48 50 44 46 48 46 38 22 8 3 1 0 0 0",
        "100 104 104 102 94 12 4",
    ),
    "day": (
        "1 1 0 0 0 1 4 12 26 40 50 56 60 56 50 48 50 54 48 34 20 10 5 2",
        "92 92 94 98 112 120 82",
    ),
    "retail": (
        "0 0 0 0 0 0 1 4 14 34 50 58 60 58 56 58 62 66 58 40 18 6 1 0",
        "86 86 88 96 118 136 80",
    ),
    "evening": (
        "20 10 4 2 1 1 1 2 4 6 10 20 32 28 20 18 24 38 62 80 84 74 56 36",
        "70 72 78 92 134 150 104",
    ),
    "always": (
        "22 18 16 14 14 18 26 36 42 46 48 50 52 50 48 48 50 52 50 46 42 38 32 26",
        "98 98 98 100 106 104 96",
    ),
    "online": (
        "24 16 10 8 6 8 14 24 34 42 46 48 50 48 48 48 50 52 56 62 66 64 52 38",
        "104 102 100 98 96 98 102",
    ),
    "bursty": (
        "16 8 4 2 2 2 6 14 26 48 70 64 60 48 40 40 44 50 62 86 96 88 58 30",
        "96 94 96 110 128 92 84",
    ),
    "travel": (
        "8 5 4 6 14 26 40 50 52 48 44 42 44 42 40 42 46 50 54 52 44 34 24 14",
        "96 90 90 98 120 110 96",
    ),
    "fuel": (
        "8 6 6 8 16 32 54 66 58 44 40 42 46 46 46 52 62 66 54 40 30 24 18 12",
        "98 98 98 102 114 102 88",
    ),
    "bills": (
        "30 4 2 2 2 4 10 20 40 56 60 56 48 48 50 48 44 36 28 24 20 16 12 10",
        "126 112 104 100 104 76 78",
    ),
    "tail": (
        "0 0 0 0 0 0 0 2 8 22 34 38 36 32 34 36 36 30 20 10 4 2 0 0",
        "90 92 92 96 112 128 90",
    ),
}


def daily_shares() -> npt.NDArray[np.float64]:
    """float64[K, 7]: the part of a week's demand on each weekday from Monday, per class of `CLASSES`."""
    days = np.array([_CURVES[demand.curve][1].split() for demand in CLASSES]).astype(np.int64)
    shares: npt.NDArray[np.float64] = days / days.sum(axis=1, keepdims=True)
    return shares


def weekly_shapes() -> npt.NDArray[np.float64]:
    """float64[K, 168]: demand by local hour of week from Monday 00:00, with mean 1 per class of `CLASSES`."""
    shapes = np.empty((len(CLASSES), 168))
    for k, demand in enumerate(CLASSES):
        hours, days = (np.array(text.split(), np.int64) for text in _CURVES[demand.curve])
        week = (days[:, None] * hours[None, :]).ravel()
        shapes[k] = week * 168.0 / int(week.sum())
    return shapes
