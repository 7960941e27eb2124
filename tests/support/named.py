"""Tables whose merchant ids are texts, the ids that stand for them, and a world of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from arrival_engine.contracts.dictionary import dataset
from tests.support.damage import edit_rows, tokens_of
from tests.support.importing import BIG, HYBRID_SHOP, ONLINE, SHOPS, Tables, small_tables

NAMES = "merchant_names_5B"
# A name in two scripts, markup and quotes, letters from right to left, digits that look like an id, and a UUID.
TEXTS = {
    SHOPS: "Café Nord 北",
    HYBRID_SHOP: '<b onclick="x()">Bob\'s & Söhne</b>',
    ONLINE: "חנות",
    BIG: "007",
    777: "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
}


def id_of(text: str) -> int:
    """The id of a text, from the law's words: first 8 bytes, little-endian, of SHA-256; 0 becomes 1."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") or 1


IDS = {text: id_of(text) for text in TEXTS.values()}


def with_merchants(merchants: dict[int, Any], tables: Tables | None = None) -> Tables:
    """The small tables, or those given, with other merchant ids."""
    tables = tables or small_tables()
    rows: dict[str, Any] = {
        name: tuple(row._replace(merchant_id=merchants[row.merchant_id]) for row in getattr(tables, name))
        for name in ("counts", "sites", "virtual", "edges")
    }
    return replace(tables, **rows)


def text_tables() -> Tables:
    """The small tables with texts for ids."""
    return with_merchants(TEXTS)


def hashed_tables() -> Tables:
    """The small tables with the ids that the texts have."""
    return with_merchants({merchant: IDS[text] for merchant, text in TEXTS.items()})


def names_path(run_root: Path) -> Path:
    return dataset(NAMES).locate(run_root, tokens_of(run_root))


def stored_names(run_root: Path) -> list[dict[str, Any]]:
    """The rows of the table of names, as they lie on disk."""
    return pq.read_table(names_path(run_root), partitioning=None).to_pylist()


# --- Forgeries of the table, each with what is said of it -------------------------------------------------


def _changed(rows):
    rows[1]["merchant"] += "!"
    return rows


def _swapped(rows):
    rows[0]["merchant"], rows[1]["merchant"] = rows[1]["merchant"], rows[0]["merchant"]
    return rows


def _twice(rows):
    return [*rows[:2], *rows[1:]]


def _disordered(rows):
    return rows[::-1]


def _empty(rows):
    rows[0]["merchant"] = ""
    return rows


def _of_another_world(rows):
    return [{**row, "manifest_fingerprint": "a" * 64} for row in rows]


def _missing(rows):
    # The merchant with the most count rows.
    return [row for row in rows if row["merchant"] != TEXTS[SHOPS]]


def _all_missing(rows):
    return rows[:0]


FORGERIES = {
    "changed": (_changed, "is not the id of"),
    "swapped": (_swapped, "is not the id of"),
    "twice": (_twice, "is listed twice"),
    "disordered": (_disordered, "does not follow"),
    "empty": (_empty, "is empty"),
    "of another world": (_of_another_world, "manifest_fingerprint"),
    "missing": (_missing, "has arrivals but no row"),
    "all missing": (_all_missing, "has arrivals but no row"),
}


def forge(run_root: Path, name: str) -> str:
    """Forge the table of names; gives what the reader says of it."""
    change, says = FORGERIES[name]
    edit_rows(run_root, NAMES, change)
    return says
