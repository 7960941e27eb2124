"""Names of part files: parsed, made, and judged together."""

from __future__ import annotations

import hashlib
import re

import pytest

from arrival_engine.contracts import dataset
from arrival_engine.contracts.part_names import (
    PartName,
    naming_fault,
    parse_part_name,
    part_name,
    publication_token,
    published_name,
)

MARK = "0123456789ab"


def test_names_are_those_of_the_dictionary_and_of_the_contract() -> None:
    name = part_name(7, "parquet", MARK)
    assert name == dataset("arrival_events_5B").part_name.format(index=7, token=MARK)
    assert re.fullmatch(r"part-.*\.parquet", name)
    assert part_name(7, "arrow") == "part-000007.arrow"


@pytest.mark.parametrize("number", [0, 7, 999_999])
@pytest.mark.parametrize("token", ["", MARK])
def test_a_name_is_read_as_it_was_made(number: int, token: str) -> None:
    found = parse_part_name(part_name(number, "arrow", token))
    assert found == PartName(f"part-{number:06d}", token, "arrow")
    assert (found.number, str(found)) == (number, part_name(number, "arrow", token))


@pytest.mark.parametrize(
    "name",
    [
        *("part-00000.parquet", "part-000000-.parquet", "part-000000-0123456789AB.parquet", "part-000000-0123.parquet"),
        *("part-000000.parquet~", "xpart-000000.parquet", "part-000000.csv", "_manifest.json"),
        "part-\N{ARABIC-INDIC DIGIT ONE}00000.parquet",
    ],
)
def test_other_names_are_not_those_of_parts(name: str) -> None:
    assert parse_part_name(name) is None
    with pytest.raises(ValueError, match="not the name of a part"):
        published_name(name, MARK)


def test_a_published_name_takes_the_place_of_another() -> None:
    assert published_name("part-000003.parquet", MARK) == f"part-000003-{MARK}.parquet"
    assert published_name("part-000003-ffffffffffff.arrow", MARK) == f"part-000003-{MARK}.arrow"


def test_the_token_is_of_all_parts_in_their_order() -> None:
    first, second = (hashlib.sha256(data).hexdigest() for data in (b"a", b"b"))
    assert publication_token([first, second]) == hashlib.sha256(f"{first}\n{second}\n".encode()).hexdigest()[:12]
    tokens = [publication_token(parts) for parts in ([first], [second], [first, second], [second, first], [])]
    assert len(set(tokens)) == len(tokens)


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        ([], "there is no part"),
        (["part-000000.parquet", "part-000001.parquet"], ""),
        ([f"part-000000-{MARK}.arrow", f"part-000001-{MARK}.arrow"], ""),
        (["part-000001.parquet"], "part 0 is named part-000001.parquet"),
        (["part-0000000.parquet"], "part 0 is named part-0000000.parquet"),
        (["part-000000.arrow", "part-000001.parquet"], "parts of several formats: arrow, parquet"),
        (["part-000000.parquet", f"part-000001-{MARK}.parquet"], "one without a token, 0123456789ab"),
        ([f"part-000000-{MARK}.parquet", "part-000001-ba9876543210.parquet"], "parts of several publications"),
        (["notes.txt"], "notes.txt is not the name of a part"),
    ],
)
def test_faults_of_names(names: list[str], fault: str) -> None:
    found = naming_fault(names)
    assert fault in found
    assert bool(found) == bool(fault)
