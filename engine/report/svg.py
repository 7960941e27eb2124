"""Figures as SVG, inline with the colours of the page or alone, and as PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from arrival_engine.contracts.safe_text import visible
from arrival_engine.engine.report.style import DARK, LIGHT, ROLES, Palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NAMESPACE = "http://www.w3.org/2000/svg"
_DPI = 144
_ROLE_OF = {colour: role for role, colour in ROLES._asdict().items()}
_COLOUR = re.compile("|".join(_ROLE_OF))
_PAINT = re.compile(f"(fill|stroke): ?({_COLOUR.pattern})")
# The page has its own.
_FONT = re.compile(r"font-family:[^;]*;? ?")
# A hundredth of a pixel is precise enough, and halves the bytes.
_FRACTION = re.compile(r"(\.\d\d)\d+")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_FILE_FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_ROUNDING = "stroke-linejoin:round;stroke-linecap:butt"
_NO_CHARACTERS = {0xFFFE: 0xFFFD, 0xFFFF: 0xFFFD}
# The rest of matplotlib's output repeats these or describes the file itself.
_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """An <svg> for the page, scaling with its place, colours as `var(--role)`; ids begin with `name`."""
    root = _parsed(figure, name)
    root.attrib.pop("width")
    root.attrib.pop("height")
    label, text = ET.Element("title", id=f"{name}-title"), ET.Element("desc", id=f"{name}-desc")
    label.text, text.text = visible(title), visible(description)
    root.insert(0, label)
    root.insert(1, text)
    root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-desc"}
    return _COLOUR.sub(lambda match: f"var(--{_ROLE_OF[match.group()]})", ET.tostring(root, "unicode"))


def svg_file(figure: Figure, name: str, title: str) -> bytes:
    """An SVG document with its own background, light or dark as the viewer prefers."""
    root = _parsed(figure, name)
    size = {side: root.attrib[side].removesuffix("pt") for side in ("width", "height")}
    root.attrib |= {"xmlns": _NAMESPACE, "font-family": _FILE_FONT, **size}
    label, style = ET.Element("title"), ET.Element("style")
    label.text = title
    style.text = f"*{{{_ROUNDING}}}:root{{{rules(LIGHT)}}}@media(prefers-color-scheme:dark){{:root{{{rules(DARK)}}}}}"
    ground = ET.Element("rect", {**size, "rx": "6", "style": f"fill:{ROLES.surface}"})
    for place, element in enumerate((label, style, ground)):
        root.insert(place, element)
    text = _PAINT.sub(_painted, ET.tostring(root, "unicode"))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _painted(match: re.Match[str]) -> str:
    # Viewers without variables ignore the second declaration.
    paint, role = match[1], _ROLE_OF[match[2]]
    return f"{paint}:{getattr(LIGHT, role)};{paint}:var(--{role})"


def png_file(figure: Figure) -> bytes:
    """A PNG of a figure that was drawn in a real palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = io.BytesIO()
    figure.set_dpi(_DPI)
    with _quiet():
        FigureCanvasAgg(figure).print_png(target, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return target.getvalue()


def rules(palette: Palette) -> str:
    """The palette as CSS declarations of custom properties."""
    return "".join(f"--{role}:{colour};" for role, colour in palette._asdict().items())


def _parsed(figure: Figure, name: str) -> ET.Element:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    target = io.StringIO()
    with _quiet():
        FigureCanvasSVG(figure).print_svg(target, metadata=_METADATA)  # type: ignore[no-untyped-call]
    # Texts come from the data, and matplotlib leaves characters in them that no XML may hold.
    text = visible(target.getvalue(), keep="\n\r\t").translate(_NO_CHARACTERS)
    # Past the document type, which names a file on the network.
    root = ET.fromstring(text[text.index("<svg") :])  # noqa: S314 - matplotlib wrote it a line ago
    for parent in list(root.iter()):
        for child in [child for child in parent if _is_superfluous(child)]:
            parent.remove(child)
    # The first shape is the figure's background; the page has its own.
    (whole,) = [child for child in root if child.get("id") == "figure_1"]
    whole.remove(whole[0])
    for element in root.iter():
        _tidy(element, name)
    return root


def _is_superfluous(element: ET.Element) -> bool:
    tag = element.tag.rpartition("}")[2]
    return tag in ("metadata", "style") or (tag == "defs" and all(_is_superfluous(child) for child in element))


def _tidy(element: ET.Element, name: str) -> None:
    """Plain names instead of namespaces, ids that are unique on the page, and no superfluous attributes."""
    element.tag = element.tag.rpartition("}")[2]
    element.tail = None
    if element.tag not in ("text", "tspan"):
        element.text = None
    attributes: dict[str, str] = {}
    for key, value in element.attrib.items():
        plain = key.rpartition("}")[2]
        if plain == "version" or (plain == "id" and element.tag == "g") or value.startswith("rotate(-0 "):
            continue
        attributes[plain] = _tidied(plain, value, name)
    element.attrib.clear()
    element.attrib.update(attributes)


def _tidied(attribute: str, value: str, name: str) -> str:
    if attribute == "id":
        return f"{name}-{value}"
    if attribute == "href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    if attribute in ("style", "clip-path"):
        return _REFERENCE.sub(rf"url(#{name}-\1)", _FONT.sub("", value))
    return _FRACTION.sub(r"\1", value).replace("\n", " ").strip() if attribute == "d" else value


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # The reader's font draws letters that the layout's font lacks.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield
