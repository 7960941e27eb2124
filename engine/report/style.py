"""The style of figures: colours by role, matplotlib's settings, and numbers as axes and captions show them.

`ROLES` gives every role a placeholder colour that no palette has, so that an SVG can take each role's colour from the
page. The hues are Okabe and Ito's, which people with any form of colour blindness can tell apart. No statement depends
on hue alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from arrival_engine.engine.process import human


class Palette(NamedTuple):
    """A colour for each role, as #rrggbb."""

    ink: str
    muted: str
    rule: str
    surface: str
    physical: str
    virtual: str
    change: str
    band: str


LIGHT = Palette("#1c2127", "#59626c", "#d9dde1", "#ffffff", "#0a66a8", "#b8480c", "#8a4a80", "#e9edf1")
DARK = Palette("#e8eaec", "#a2abb4", "#4a545f", "#16191d", "#62b5ea", "#f0984f", "#d79ace", "#272d34")
ROLES = Palette(*(f"#0{index}0{index}fe" for index in range(1, 9)))

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "arrivals",
    # Texts of the data may contain a $, which would begin a formula.
    "text.parse_math": False,
    "font.size": 12.0,
    "axes.titlesize": 12.0,
    "axes.titlelocation": "left",
    "axes.titlepad": 10.0,
    "axes.labelsize": 12.0,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.minor.size": 0.0,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "path.simplify": True,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
}


@contextmanager
def drawing(palette: Palette) -> Iterator[None]:
    """Matplotlib's own defaults, then ours; the user's matplotlibrc is ignored."""
    import matplotlib as mpl

    colours: dict[Any, Any] = {
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "grid.color"), palette.rule),
        **dict.fromkeys(("text.color", "axes.titlecolor"), palette.ink),
        **dict.fromkeys(("axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), palette.muted),
        "figure.facecolor": palette.surface,
        "axes.facecolor": "none",
    }
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({**_SETTINGS, **colours})
        yield


def short(value: float, _position: float = 0) -> str:
    """A number on an axis: 1500 -> '1.5 k', 2e6 -> '2 M', 0.25 -> '0.25'."""
    for step, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= step:
            return _signed(f"{value / step:g} {letter}")
    return _signed(f"{value:g}")


def percent(value: float, _position: float = 0) -> str:
    """A share on an axis or in a sentence: 0.123 -> '12.3%', 0.00004 -> '0.004%'."""
    scaled = value * 100
    return _signed(f"{scaled:.0f}%" if abs(scaled) >= 99.95 or scaled == 0 else f"{scaled:.3g}%")


def share(value: float) -> str:
    """A share in a column of a table: always two decimals, but never 0.00% for a positive share."""
    return "<0.01%" if 0 < value < 0.00005 else f"{value * 100:.2f}%"


def _signed(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


def counted(number: int, singular: str, plural: str = "") -> str:
    """1 'site' -> '1 site', 1200 -> '1,200 sites'."""
    return f"{human.count(number)} {singular if number == 1 else plural or singular + 's'}"
