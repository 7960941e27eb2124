"""Values that cannot become part of a world: each refusal names file, line, column and value, and what to do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.importing import import_world
from tests.support.import_refused import (
    EDGES_BAD,
    GOOD,
    LIMIT_BAD,
    MODE_BAD,
    SCHEMA_BAD,
    SITES_BAD,
    TIME_BAD,
    ZONE_BAD,
    refused,
    request_of,
)


def test_the_tables_are_good_as_they_are(tmp_path):
    result = import_world(request_of(tmp_path, GOOD))
    assert (result.arrivals, result.notices) == (18, ())


class Edit(NamedTuple):
    """In one table, replace a text that is there by another; then the code and what message and hint say."""

    table: str
    old: str
    new: str
    code: Code
    says: tuple[str, ...]


FIRST_COUNT = "1,Europe/Berlin,card,2026-03-29T00:00:00Z,3"
EDITS = {
    # Columns
    "misspelt column": Edit(
        "counts",
        ",count\n",
        ",coutn\n",
        SCHEMA_BAD,
        ("counts.csv", "'coutn'", "did you mean count", "--rename coutn=count"),
    ),
    "column by another name": Edit(
        "sites",
        "merchant_id,tz",
        "merchant_id,timezone",
        SCHEMA_BAD,
        ("'timezone'", "did you mean tz?", "--rename timezone=tz"),
    ),
    "column in capitals": Edit(
        "sites", "merchant_id,tz", "Merchant_ID,tz", SCHEMA_BAD, ("'Merchant_ID'", "--rename Merchant_ID=merchant_id")
    ),
    "missing column": Edit(
        "virtual_merchants", "mode,", "settlement_tz,", SCHEMA_BAD, ("several columns 'settlement_tz'",)
    ),
    "extra column": Edit(
        "edges",
        "weight\n",
        "weight,colour\n",
        SCHEMA_BAD,
        ("'colour'", "edges have merchant_id, tz, weight", "--ignore colour"),
    ),
    # Merchants
    "text id": Edit(
        "counts",
        "\n2,",
        "\nshop-2,",
        SCHEMA_BAD,
        ("counts.csv, line 4: merchant_id 'shop-2' is not a number", "--merchant-ids text"),
    ),
    "half an id": Edit(
        "sites", "\n2,", "\n2.5,", SCHEMA_BAD, ("sites.csv, line 4: merchant_id '2.5' is not a number",)
    ),
    "id with the digits of a float": Edit(
        "sites",
        "\n2,",
        "\n9007199254740992.0,",
        SCHEMA_BAD,
        ("sites.csv, line 4: merchant_id '9007199254740992.0' is a number with decimals", "lost digits"),
    ),
    "id with a leading zero": Edit("sites", "\n2,", "\n02,", SCHEMA_BAD, ("line 4", "'02'", "leading zeros")),
    "id zero": Edit("counts", "\n2,", "\n0,", SCHEMA_BAD, ("line 4", "merchant_id '0'", "from 1 to")),
    "id above 64 bits": Edit("counts", "\n2,", "\n18446744073709551616,", SCHEMA_BAD, ("'18446744073709551616'",)),
    "id missing": Edit("counts", "\n2,", "\n,", SCHEMA_BAD, ("line 4: merchant_id is empty",)),
    # Counts
    "negative count": Edit("counts", "Z,4", "Z,-4", SCHEMA_BAD, ("counts.csv, line 3: count '-4' is negative",)),
    "count that is not a number": Edit(
        "counts", "Z,4", "Z,NaN", SCHEMA_BAD, ("line 3: count 'NaN' is not a whole number",)
    ),
    "half a count": Edit("counts", "Z,4", "Z,4.5", SCHEMA_BAD, ("line 3: count '4.5' is not a whole number",)),
    "no count": Edit("counts", "Z,4", "Z,", SCHEMA_BAD, ("line 3: count is empty",)),
    "count above all limits": Edit(
        "counts", "Z,4", "Z,99999999999", SCHEMA_BAD, ("line 3: count '99999999999' is too large", "shorter buckets")
    ),
    "count of a thousand digits": Edit(
        "counts", "Z,4", f"Z,{'9' * 1000}", SCHEMA_BAD, ("line 3: count '999", "is not a whole number")
    ),
    "count above 32 bits": Edit(
        "counts",
        "Z,4",
        "Z,2147483648",
        SCHEMA_BAD,
        ("counts.csv, line 3: count '2147483648' is too large", "a count row can hold 2147483647"),
    ),
    "counts that add up to too many": Edit(
        "counts",
        FIRST_COUNT,
        f"{FIRST_COUNT[:-1]}2147483647\n{FIRST_COUNT[:-1]}1",
        LIMIT_BAD,
        ("line 3", "2147483648 arrivals in 2 rows", "a count row can hold 2147483647"),
    ),
    "control character": Edit("counts", "web", "w\x07b", SCHEMA_BAD, ("line 4: channel", "control character")),
    # Time zones
    "city for a zone": Edit(
        "counts",
        "Europe/Berlin,card",
        "Berlin,card",
        ZONE_BAD,
        ("counts.csv, line 2: tz 'Berlin'", "did you mean Europe/Berlin?"),
    ),
    "misspelt zone": Edit(
        "sites", "Europe/London", "Europe/Londno", ZONE_BAD, ("sites.csv, line 4", "'Europe/Londno'", "Europe/London")
    ),
    "zone in another case": Edit(
        "edges", "Europe/Madrid", "europe/madrid", ZONE_BAD, ("edges.csv, line 4", "did you mean Europe/Madrid?")
    ),
    "zone of no planet": Edit(
        "counts",
        "Europe/Berlin,card",
        "Mars/Olympus_Mons,card",
        ZONE_BAD,
        ("'Mars/Olympus_Mons' is not a time zone of tzdata",),
    ),
    "empty zone": Edit("counts", "Europe/Berlin,card", ",card", ZONE_BAD, ("line 2: tz is empty",)),
    "unknown settlement zone": Edit(
        "virtual_merchants",
        "Europe/London",
        "London",
        ZONE_BAD,
        ("virtual_merchants.csv, line 2: settlement_tz 'London'", "Europe/London"),
    ),
    # Times
    "naive time": Edit(
        "counts",
        "00:00:00Z,3",
        "00:00:00,3",
        TIME_BAD,
        ("counts.csv, line 2: bucket_start '2026-03-29T00:00:00' has no zone", "--assume-utc"),
    ),
    "time off the grid": Edit(
        "counts",
        "01:00:00Z,4",
        "01:15:00Z,4",
        TIME_BAD,
        ("counts.csv, line 3", "15 min after the bucket that starts at 2026-03-29T01:00:00Z", "--bucket 900s"),
    ),
    "impossible hour": Edit("counts", "01:00:00Z,4", "25:00:00Z,4", TIME_BAD, ("line 3", "does not exist")),
    "impossible day": Edit(
        "counts", "2026-03-29T01:00:00Z,4", "2026-02-30T01:00:00Z,4", TIME_BAD, ("line 3", "does not exist")
    ),
    "nanoseconds": Edit(
        "counts", "01:00:00Z,4", "01:00:00.000000001Z,4", TIME_BAD, ("line 3", "is not a time of the form")
    ),
    "American date": Edit(
        "counts",
        "2026-03-29T01:00:00Z,4",
        "03/29/2026 1:00,4",
        TIME_BAD,
        ("line 3", "is not a time of the form 2026-03-29T01:00:00Z"),
    ),
    "fraction of a second": Edit("counts", "00:00:00Z,3", "00:00:00.5Z,3", TIME_BAD, ("not a whole second",)),
    "a year long ago": Edit("counts", "2026-03-29T00:00:00Z,3", "1677-12-31T23:00:00Z,3", TIME_BAD, ("line 2", "1678")),
    "index beside the time": Edit("counts", "channel,", "bucket_index,", SCHEMA_BAD, ("bucket_index 'card'",)),
    # Sites
    "duplicate site": Edit(
        "sites", "DE,2,1", "DE,1,1", SITES_BAD, ("sites.csv, line 3: merchant 1 has site_order 1 twice in DE",)
    ),
    "weights all zero": Edit(
        "sites",
        "GB,1,1",
        "GB,1,0",
        SITES_BAD,
        ("sites.csv, line 4: the weights of merchant 2 among the sites are all zero",),
    ),
    "negative weight": Edit("sites", "DE,2,1", "DE,2,-1", SCHEMA_BAD, ("sites.csv, line 3: weight '-1' is negative",)),
    "weight that is not a number": Edit(
        "sites", "DE,2,1", "DE,2,nan", SCHEMA_BAD, ("line 3: weight 'nan' is not a number",)
    ),
    "infinite weight": Edit("sites", "DE,2,1", "DE,2,1e999", SCHEMA_BAD, ("line 3: weight '1e999' is not finite",)),
    "weights without a sum": Edit(
        "sites",
        "DE,1,0.5\n1,Europe/Berlin,DE,2,1\n",
        "DE,1,1e308\n1,Europe/Berlin,DE,2,1e308\n",
        SITES_BAD,
        ("line 2", "sum that is too large"),
    ),
    "no weight": Edit("sites", "DE,2,1", "DE,2,", SCHEMA_BAD, ("line 3: weight is empty",)),
    "country in small letters": Edit("sites", "GB,1,1", "gb,1,1", SCHEMA_BAD, ("line 4: country 'gb'", "write GB")),
    "country name": Edit(
        "sites", "GB,1,1", "Britain,1,1", SCHEMA_BAD, ("'Britain' is not a country code", "two capital letters")
    ),
    "site number zero": Edit("sites", "DE,2,1", "DE,0,1", SCHEMA_BAD, ("line 3: site_order '0'", "number from 1")),
    "counts without sites": Edit(
        "sites",
        "\n2,Europe/London,GB,1,1",
        "",
        SITES_BAD,
        ("counts.csv, line 4: merchant 2 has arrivals but no site", "--sites"),
    ),
    # Virtual merchants and edges
    "unknown mode": Edit(
        "virtual_merchants",
        "HYBRID",
        "hybird",
        MODE_BAD,
        ("virtual_merchants.csv, line 2: mode 'hybird'", "did you mean HYBRID?"),
    ),
    "merchant twice": Edit(
        "virtual_merchants", "\n3,", "\n2,", MODE_BAD, ("virtual_merchants.csv, line 3: merchant 2 is listed twice",)
    ),
    "virtual without edges": Edit(
        "edges",
        "\n2,Europe/London,GB,1,1",
        "",
        EDGES_BAD,
        ("virtual_merchants.csv, line 2: merchant 2 is HYBRID but has no edges", "--edges"),
    ),
    "edge of a shop": Edit(
        "edges",
        "\n2,",
        "\n1,",
        EDGES_BAD,
        ("edges.csv, line 2: merchant 1 has edges but is not virtual", "--virtual-merchants"),
    ),
    "edge of a stranger": Edit(
        "edges", "\n2,", "\n77,", EDGES_BAD, ("edges.csv, line 2: merchant 77 has edges but is not virtual",)
    ),
    "duplicate edge": Edit(
        "edges", "ES,2,1", "ES,1,1", EDGES_BAD, ("edges.csv, line 4: merchant 3 has edge_order 1 twice",)
    ),
    "edge weights all zero": Edit(
        "edges",
        "GB,1,1",
        "GB,1,0.0",
        EDGES_BAD,
        ("edges.csv, line 2: the weights of merchant 2 among the edges are all zero",),
    ),
    "physical merchant that settles": Edit(
        "virtual_merchants",
        "HYBRID",
        "NON_VIRTUAL",
        MODE_BAD,
        ("line 2: merchant 2 is NON_VIRTUAL and has a settlement_tz",),
    ),
    # Rows
    "short row": Edit(
        "counts", "Z,4", "Z", SCHEMA_BAD, ("counts.csv: line 3 has 4 values, but the header has 5 columns",)
    ),
    "long row": Edit("counts", "Z,4", "Z,4,,", SCHEMA_BAD, ("line 3 has 7 values",)),
    "decimal comma": Edit(
        "sites",
        "DE,1,0.5",
        'DE,1,"0,5"',
        SCHEMA_BAD,
        ("sites.csv, line 2: weight '0,5' has a decimal comma", "write 0.5"),
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_wrong_value_is_refused_by_name(tmp_path, name):
    edit = EDITS[name]
    assert edit.old in GOOD[edit.table]
    tables = {**GOOD, edit.table: GOOD[edit.table].replace(edit.old, edit.new, 1)}
    refused(request_of(tmp_path, tables), edit.code, *edit.says)


DAMAGE = st.sampled_from(
    [
        ",",
        ";",
        "\n",
        '"',
        "'",
        "0",
        "-1",
        "1e400",
        "9" * 25,
        "é",
        "\ufeff",
        "\0",
        "\t",
        " ",
        "+02:00",
        "None",
        "\r",
        "|",
    ]
)


@settings(max_examples=60)
@given(st.sampled_from(sorted(GOOD)), st.integers(0, 400), st.integers(0, 12), DAMAGE)
def test_damage_anywhere_gives_a_world_or_a_named_refusal(table, at, length, text):
    content = GOOD[table]
    at = min(at, len(content))
    tables = {**GOOD, table: content[:at] + text + content[at + length :]}
    with tempfile.TemporaryDirectory(prefix="arrivals-import-") as folder:
        request = request_of(Path(folder), tables)
        failure = None
        try:
            import_world(request)
        except ArrivalError as error:
            failure = error
        # Whatever else is raised ends the test; a world is there exactly if nothing was refused.
        assert (request.run_root / "run_receipt.json").is_file() == (failure is None)
        if failure is not None:
            assert failure.hint
            assert failure.code != Code.UNEXPECTED_INTERNAL_ERROR
