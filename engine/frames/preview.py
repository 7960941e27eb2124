"""The first rows of arrivals for people: as lines of text, and as HTML for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from html import escape

import pyarrow as pa

from arrival_engine.contracts.safe_text import visible

__all__ = ["as_html", "as_text"]

_WIDTH = 114
_NULL = "-"
_MORE = "..."


def as_text(title: str, head: pa.Table) -> str:
    """A title, and under it as many columns of the rows as fit on a line."""
    columns = [[name, *map(_cell, head[name].to_pylist())] for name in head.column_names]
    widths = [max(map(len, column)) for column in columns]
    shown, used = 0, 0
    while shown < len(columns) and used + widths[shown] + 2 <= _WIDTH:
        used += widths[shown] + 2
        shown += 1
    kept = [[text.rjust(width) for text in column] for column, width in zip(columns[:shown], widths, strict=False)]
    if shown < len(columns):
        kept.append([_MORE] * (head.num_rows + 1))
    return "\n".join([visible(title), *("  ".join(row) for row in zip(*kept, strict=True))])


def as_html(title: str, head: pa.Table) -> str:
    """A title, and under it all columns of the rows."""
    names = "".join(f'<th style="text-align: right">{escape(name)}</th>' for name in head.column_names)
    rows = [_row(row) for row in zip(*(column.to_pylist() for column in head.columns), strict=True)]
    caption = f'<p style="margin: 0.3em 0">{escape(visible(title))}</p>'
    table = f'<table class="dataframe"><thead><tr>{names}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    return f"<div>{caption}{table}</div>"


def _row(values: Sequence[object]) -> str:
    cells = (f'<td style="text-align: right; white-space: nowrap">{escape(_cell(value))}</td>' for value in values)
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: object) -> str:
    if value is None:
        return _NULL
    if isinstance(value, datetime):
        return value.isoformat(" ", "microseconds").replace("+00:00", "Z")
    return visible(str(value))
