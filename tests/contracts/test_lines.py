"""Identifiers of the contract are texts of one line: without control characters and marks of writing direction."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from arrival_engine.contracts import ArrivalError, Code, check_document, conform
from arrival_engine.contracts.conformity import anchored
from arrival_engine.contracts.identity import check_token
from arrival_engine.contracts.safe_text import is_line, visible
from arrival_engine.contracts.schemas import json_schema, schema_names

HARMFUL = [
    "\0",
    "\x1b[2J",
    "\n",
    "\r",
    "\t",
    "\x7f",
    "\x85",
    "\x9b31m",
    "\u061c",
    "\u200e",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
]
PATTERN = json_schema("primitives")["$defs"]["text"]["pattern"]
# Sentences for people, and facts of machines, which nothing is looked up by.
SENTENCES = {
    *("build_commit", "contracts_layout", "contracts_root", "country_mix_summary", "description", "detail"),
    *("error_message", "examples", "external_roots", "hostname", "message", "notes", "notices", "platform"),
    *("runs_root", "statistics"),
}


def open_texts(node: Any, name: str = "") -> Iterator[str]:
    """The names of the properties that take any text."""
    if isinstance(node, dict):
        kinds = node.get("type", ())
        if (
            "string" in ([kinds] if isinstance(kinds, str) else kinds)
            and not {"pattern", "enum", "const"} & node.keys()
        ):
            yield name
        for key, value in node.items():
            if key in ("properties", "$defs"):
                for own, body in value.items():
                    yield from open_texts(body, own)
            elif key != "propertyNames":
                yield from open_texts(value, name)
    elif isinstance(node, list):
        for item in node:
            yield from open_texts(item, name)


@pytest.mark.parametrize("name", schema_names())
def test_only_sentences_may_be_any_text(name: str) -> None:
    assert set(open_texts(json_schema(name))) <= SENTENCES


def test_a_line_is_the_same_for_schemas_tables_and_paths() -> None:
    letters = [chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF]
    matches = re.compile(anchored(PATTERN), re.ASCII).search
    lines = [letter for letter in letters if is_line(letter)]
    assert [letter for letter in letters if matches(letter)] == lines
    texts = pa.array(letters)
    assert texts.filter(pc.match_substring_regex(texts, PATTERN)).to_pylist() == lines
    refused = set(letters) - set(lines)
    assert refused == {
        letter
        for letter in letters
        if unicodedata.category(letter) in ("Cc", "Zl", "Zp")
        or letter in "\u061c\u200e\u200f"
        or unicodedata.bidirectional(letter) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    }
    assert all(visible(letter) != letter for letter in refused)


@pytest.mark.parametrize("column", ["scenario_id", "zone_representation", "channel_group"])
@pytest.mark.parametrize("mark", HARMFUL)
@pytest.mark.parametrize("coded", [False, True])
def test_a_table_with_another_text_is_refused(column: str, mark: str, coded: bool) -> None:
    rows = {
        "manifest_fingerprint": ["a" * 64] * 2,
        "parameter_hash": ["b" * 64] * 2,
        "seed": pa.array([1, 1], pa.uint64()),
        "scenario_id": ["base"] * 2,
        "merchant_id": pa.array([1, 2], pa.uint64()),
        "zone_representation": ["Europe/Berlin"] * 2,
        "channel_group": ["card", None],
        "bucket_index": pa.array([0, 0], pa.int64()),
        "count_N": pa.array([1, 1], pa.int64()),
    }
    table = pa.table(rows)
    assert conform("s3_bucket_counts_5B", table, where="counts").num_rows == 2
    texts = pa.array(["good", f"a{mark}b"])
    at = table.schema.get_field_index(column)
    with pytest.raises(ArrivalError) as caught:
        conform(
            "s3_bucket_counts_5B",
            table.set_column(at, column, texts.dictionary_encode() if coded else texts),
            where="counts",
        )
    assert caught.value.code is Code.S1_OR_S3_OUTPUT_MISSING
    assert f"column {column} in row 1 holds {f'a{mark}b'!r}, which has a control character" in caught.value.message


@pytest.mark.parametrize("mark", HARMFUL)
def test_a_document_and_a_path_with_another_text_are_refused(mark: str) -> None:
    with pytest.raises(ArrivalError) as caught:
        check_token("scenario_id", f"a{mark}b")
    assert caught.value.code is Code.PARTITION_OR_PK_VIOLATION
    entry = {"path": f"a{mark}b", "sha256_hex": "a" * 64}
    with pytest.raises(ArrivalError, match=r"at /entries/0/path: value .* has a control character, a line end"):
        check_document("upstream_bundle_index_entries", {"entries": [entry]}, code=Code.SCHEMA_VIOLATION, where="index")
    entry["path"] = "a b \u00e9 \u6771 \U0001f3e6"
    check_document("upstream_bundle_index_entries", {"entries": [entry]}, code=Code.SCHEMA_VIOLATION, where="index")
