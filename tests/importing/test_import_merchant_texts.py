"""Merchant ids that are texts: which cells are, the ids that stand for them, and the worlds that come of them."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.main import main
from arrival_engine.engine.importing import ImportRequest, import_world
from arrival_engine.engine.importing.merchants import refuse_collision
from arrival_engine.engine.importing.prepare import prepare
from arrival_engine.engine.importing.values import Instant, Refused, ShortFloat, merchant_text
from arrival_engine.engine.process.progress import Reporter
from tests.support.import_refused import GOOD, LIMIT_BAD, SCHEMA_BAD, SITES_BAD, refused, request_of
from tests.support.imported import assert_expands_like_the_reference
from tests.support.importing import (
    BIG,
    PLAIN,
    Form,
    contents,
    imported,
    requested,
    small_tables,
)
from tests.support.named import (
    IDS,
    NAMES,
    TEXTS,
    hashed_tables,
    id_of,
    names_path,
    stored_names,
    text_tables,
    with_merchants,
)

TEXT: dict[str, Any] = {"merchant_ids": "text"}


def identity(tables, run_root, form=PLAIN, **options):
    """The identity of the world of these tables, which is not written."""
    return prepare(requested(tables, run_root, form, **options), Reporter()).identity


def named(tables):
    """Good tables in which merchant 1 has another text."""
    return {name: text.replace("\n1,", f"\n{tables},") for name, text in GOOD.items()}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts") / "world"
    return root, imported(text_tables(), root, **TEXT)


class TestWorlds:
    def test_a_text_stands_for_its_hash(self, tmp_path):
        root = tmp_path / "world"
        result = imported(text_tables(), root, **TEXT)
        assert_expands_like_the_reference(hashed_tables(), root, result)

    def test_the_names_are_all_merchants_of_the_world_by_id(self, texts):
        root, result = texts
        expected = sorted((merchant_id, text) for text, merchant_id in IDS.items())
        rows = stored_names(root)
        assert [(row["merchant_id"], row["merchant"]) for row in rows] == expected
        assert {row["manifest_fingerprint"] for row in rows} == {result.identity.manifest_fingerprint}
        schema = pq.read_schema(names_path(root))
        assert schema.field("merchant_id").type == pa.uint64()
        assert schema.field("merchant").type == pa.string()

    def test_merchants_that_are_not_of_the_world_have_no_name(self, tmp_path):
        tables = {**GOOD, "counts": GOOD["counts"] + "never,Europe/Berlin,,2026-03-29T01:00:00Z,0\n"}
        root = import_world(request_of(tmp_path, tables, **TEXT)).run_root
        assert [row["merchant"] for row in stored_names(root)] == sorted("123", key=id_of)

    @pytest.mark.parametrize("form", [Form(shuffle=1, files=3), Form("parquet", shuffle=2, files=2)])
    def test_any_form_of_the_tables_gives_the_same_world(self, form, texts, tmp_path):
        root = tmp_path / "world"
        imported(text_tables(), root, form, **TEXT)
        assert contents(root) == contents(texts[0])

    def test_the_same_world_is_left_alone(self, texts):
        root, result = texts
        again = imported(text_tables(), root, **TEXT)
        assert again.reused
        assert again.identity == result.identity

    def test_texts_are_part_of_the_identity(self, texts, tmp_path):
        """The same 64-bit ids as numbers are another world, and so is another text."""
        renamed = with_merchants({**TEXTS, 777: "another"})
        others = identity(hashed_tables(), tmp_path / "numbers"), identity(renamed, tmp_path / "renamed", **TEXT)
        assert len({texts[1].identity.manifest_fingerprint, *(other.manifest_fingerprint for other in others)}) == 3

    def test_a_world_of_numbers_has_no_table_of_names(self, tmp_path):
        root = tmp_path / "world"
        result = imported(small_tables(), root)
        assert not list(root.rglob(f"*{NAMES}*"))
        # Of the release before merchants could be texts.
        fingerprint = "d300dd263a4b80c8d995da1c5e54b2a3a8db23013cb8392f1505b3e5af04cddf"
        assert result.identity.manifest_fingerprint == fingerprint

    def test_a_partition_key_is_a_text(self, tmp_path):
        counts, sites = GOOD["counts"].splitlines(), GOOD["sites"].splitlines()
        for name, lines in (("counts", counts), ("sites", sites)):
            for merchant, number in (("Ä B/7", "1"), ("007", "2"), ("3", "3")):
                own = [line.partition(",")[2] for line in lines if line.startswith((f"{number},", "merchant_id"))]
                folder = tmp_path / name / f"merchant_id={quote(merchant, safe='')}"
                folder.mkdir(parents=True)
                if len(own) > 1:
                    (folder / "part.csv").write_text("\n".join(own))
        online = {name: GOOD[name].replace("2,HYBRID,Europe/London\n", "") for name in ("virtual_merchants", "edges")}
        online["edges"] = online["edges"].replace("2,Europe/London,GB,1,1\n", "")
        tables = {name: [tmp_path / name] for name in ("counts", "sites")}
        found = import_world(request_of(tmp_path, online, **tables, **TEXT))
        assert {row["merchant"] for row in stored_names(found.run_root)} == {"Ä B/7", "007", "3"}


UUIDS = {merchant: uuid.UUID(int=merchant * 7919) for merchant in TEXTS}


def parquet_request(folder, tables, kind, **options):
    """An import of Parquet files in which merchant ids have the Arrow type `kind`."""
    folder.mkdir()
    header = {
        "counts": ("merchant_id", "tz", "channel", "bucket_index", "count"),
        "sites": ("merchant_id", "tz", "country", "site_order", "weight"),
        "virtual_merchants": ("merchant_id", "mode", "settlement_tz"),
        "edges": ("merchant_id", "tz", "country", "edge_order", "weight"),
    }
    rows = {"counts": tables.counts, "sites": tables.sites, "virtual_merchants": tables.virtual, "edges": tables.edges}
    files: dict[str, Any] = {}
    for name, names in header.items():
        columns = dict(zip(names, map(list, zip(*rows[name], strict=True)), strict=True))
        merchants = pa.array(columns.pop("merchant_id"), kind)
        files[name] = [folder / f"{name}.parquet"]
        pq.write_table(pa.table({"merchant_id": merchants, **columns}), files[name][0])
    return ImportRequest(
        folder / "world", **files, start=tables.start, end="2026-03-29T07:00:00Z", bucket="1h", **options
    )


class TestTypes:
    def test_uuids_are_their_texts(self, tmp_path):
        binary = with_merchants({merchant: value.bytes for merchant, value in UUIDS.items()})
        found = import_world(parquet_request(tmp_path / "uuid", binary, pa.uuid(), **TEXT))
        as_text = with_merchants({merchant: str(value) for merchant, value in UUIDS.items()})
        written = import_world(parquet_request(tmp_path / "text", as_text, pa.string(), **TEXT))
        coded = import_world(
            parquet_request(tmp_path / "coded", as_text, pa.dictionary(pa.int8(), pa.string()), **TEXT)
        )
        assert contents(found.run_root) == contents(written.run_root) == contents(coded.run_root)
        assert {row["merchant"] for row in stored_names(found.run_root)} == set(map(str, UUIDS.values()))

    @pytest.mark.parametrize("kind", [pa.uint64(), pa.decimal128(20, 0)])
    def test_whole_numbers_are_their_decimal_texts(self, kind, tmp_path):
        found = import_world(parquet_request(tmp_path / "numbers", small_tables(), kind, **TEXT))
        assert {row["merchant"] for row in stored_names(found.run_root)} == {str(merchant) for merchant in TEXTS}
        assert str(BIG) in {row["merchant"] for row in stored_names(found.run_root)}

    def test_uuids_and_texts_are_refused_as_numbers_with_the_way_out(self, tmp_path):
        binary = with_merchants({merchant: value.bytes for merchant, value in UUIDS.items()})
        for number, (tables, kind) in enumerate([(binary, pa.uuid()), (text_tables(), pa.string())]):
            request = parquet_request(tmp_path / str(number), tables, kind)
            refused(
                request, SCHEMA_BAD, "counts.parquet, row 1: merchant_id '", "is not a number", "--merchant-ids text"
            )

    @pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.bool_(), pa.binary(16)])
    def test_other_types_are_refused(self, kind, tmp_path):
        values = {pa.bool_(): True, pa.binary(16): b"0" * 16}
        tables = with_merchants({merchant: values.get(kind, 7.0) for merchant in TEXTS})
        refused(parquet_request(tmp_path / "tables", tables, kind, **TEXT), SCHEMA_BAD, "merchant_id", "text")

    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            ("x", "x"),
            ("007", "007"),
            ("1.0", "1.0"),
            ("a b", "a b"),
            ("1,5", "1,5"),
            ("é", "é"),
            ("e\u0301", "e\u0301"),
            ("a\u200db", "a\u200db"),
            (0, "0"),
            (-5, "-5"),
            (2**64, str(2**64)),
            (Decimal("12.00"), "12"),
        ],
    )
    def test_a_cell_is_its_text_as_written(self, cell, text):
        assert merchant_text(cell) == text

    @pytest.mark.parametrize(
        ("cell", "what"),
        [
            (None, "is empty"),
            ("", "is empty"),
            (" ", "begins or ends with a blank"),
            (" x", "begins or ends with a blank"),
            ("x\u00a0", "begins or ends with a blank"),
            ("a\tb", "control character"),
            ("a\nb", "control character"),
            ("\x1b[31mred", "control character"),
            ("\u202ex", "mark of writing direction"),
            ("a\u2028b", "line end"),
            (7.0, "is not a text or a whole number"),
            (ShortFloat(7.0), "is not a text or a whole number"),
            (True, "is not a text or a whole number"),
            (date(2026, 1, 1), "is not a text or a whole number"),
            (Instant(0, True), "is not a text or a whole number"),
            (Decimal("1.5"), "fraction"),
        ],
    )
    def test_other_cells_are_refused(self, cell, what):
        with pytest.raises(Refused) as caught:
            merchant_text(cell)
        assert what in f"{caught.value.what} {caught.value.hint}"

    def test_a_text_that_is_too_long_is_refused(self, tmp_path):
        refused(request_of(tmp_path, named("x" * 1025), **TEXT), LIMIT_BAD, "a text of 1,025 bytes")
        assert import_world(request_of(tmp_path, named("x" * 1024), **TEXT)).merchants == 3


class TestCollisions:
    """SHA-256 gives no two texts of a test one id, so the ids here have fewer bits of it."""

    @staticmethod
    def ids(texts, bits):
        return np.array([id_of(text) % (1 << bits) for text in texts], np.uint64)

    def test_two_texts_with_one_id_are_both_named(self):
        texts = [f"merchant {number}" for number in range(300)]
        ids = self.ids(texts, 16)
        pairs = {}
        for text, merchant_id in zip(texts, ids.tolist(), strict=True):
            pairs.setdefault(merchant_id, []).append(text)
        merchant_id, (first, second, *_) = min((key, found) for key, found in pairs.items() if len(found) > 1)
        with pytest.raises(ArrivalError) as caught:
            refuse_collision(ids, texts)
        assert caught.value.code == Code.SCHEMA_VIOLATION
        assert f"merchants {first!r} and {second!r} have one id, {merchant_id}" in caught.value.message
        assert caught.value.context["merchants"] == [first, second]

    def test_different_ids_pass(self):
        texts = [f"merchant {number}" for number in range(300)]
        assert len(set(self.ids(texts, 64).tolist())) == 300
        refuse_collision(self.ids(texts, 64), texts)
        refuse_collision(np.empty(0, np.uint64), [])

    def test_ids_are_the_first_eight_bytes_of_the_hash(self, texts):
        for row in stored_names(texts[0]):
            digest = hashlib.sha256(row["merchant"].encode()).digest()
            assert row["merchant_id"].to_bytes(8, "little") == digest[:8]


class TestMessages:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("Shop", "shop"),
            ("Caf\u00e9", "Cafe\u0301"),
            ("A B", "A  B"),
            ("A B", "A\u00a0B"),
            ("ab", "a\u200bb"),
            ("Straße", "STRASSE"),
            ("\uff21", "A"),
        ],
    )
    def test_texts_that_look_alike_are_told(self, first, second, tmp_path):
        tables = {**GOOD, "counts": GOOD["counts"] + f"{first},Europe/Berlin,,2026-03-29T01:00:00Z,1\n"}
        tables["counts"] += f"{second},Europe/Berlin,,2026-03-29T01:00:00Z,1\n"
        tables["sites"] += f"{first},Europe/Berlin,DE,1,1\n{second},Europe/Berlin,DE,1,1\n"
        prepared = prepare(request_of(tmp_path, tables, **TEXT), Reporter())
        (notice,) = [notice for notice in prepared.notices if notice.code == "MERCHANTS_ALIKE"]
        assert repr(first) in notice.message
        assert repr(second) in notice.message
        assert notice.context["merchants"] == 1
        assert len(prepared.contents.merchant_names.ids) == 5

    def test_texts_that_do_not_look_alike_are_not(self, texts):
        assert [notice for notice in texts[1].notices if notice.code == "MERCHANTS_ALIKE"] == []

    def test_a_refusal_names_the_text(self, tmp_path):
        tables = {**GOOD, "counts": GOOD["counts"] + "Café Nord,Europe/Berlin,,2026-03-29T01:00:00Z,1\n"}
        says = "counts.csv, line 6: merchant 'Café Nord' has arrivals but no site"
        refused(request_of(tmp_path, tables, **TEXT), SITES_BAD, says, "add its sites to --sites")

    def test_another_spelling_in_another_table_is_found(self, tmp_path):
        tables = {**GOOD, "sites": GOOD["sites"] + "café nord,Europe/Berlin,DE,1,1\n"}
        tables["counts"] += "Café Nord,Europe/Berlin,,2026-03-29T01:00:00Z,1\n"
        hint = "did you mean 'café nord', which has sites?"
        refused(request_of(tmp_path, tables, **TEXT), SITES_BAD, "merchant 'Café Nord' has arrivals", hint)

    @pytest.mark.parametrize(
        ("table", "line", "says"),
        [
            ("sites", "Ä,Europe/Berlin,DE,1,1\nÄ,Europe/Berlin,DE,1,1\n", "merchant 'Ä' has site_order 1 twice in DE"),
            ("sites", "Ä,Europe/Berlin,DE,1,0\n", "the weights of merchant 'Ä' among the sites are all zero"),
            ("virtual_merchants", "Ä,HYBRID,\n", "merchant 'Ä' is HYBRID but has no edges"),
            ("virtual_merchants", "2,HYBRID,\n", "merchant '2' is listed twice"),
            (
                "virtual_merchants",
                "Ä,NON_VIRTUAL,Europe/Berlin\n",
                "merchant 'Ä' is NON_VIRTUAL and has a settlement_tz",
            ),
            ("edges", "Ä,Europe/Berlin,DE,1,1\n", "merchant 'Ä' has edges but is not virtual"),
            (
                "counts",
                "1,Europe/Berlin,,2026-03-29T01:00:00Z,2147483647\n",
                "merchant '1' has 2147483651 arrivals",
            ),
        ],
    )
    def test_every_refusal_of_a_merchant_names_its_text(self, table, line, says, tmp_path):
        with pytest.raises(ArrivalError) as caught:
            import_world(request_of(tmp_path, {**GOOD, table: GOOD[table] + line}, **TEXT))
        assert says in caught.value.message

    def test_an_unknown_form_is_refused(self, tmp_path):
        refused(request_of(tmp_path, GOOD, merchant_ids="texts"), Code.OPTION_INVALID, "texts", "number, text")

    def test_a_notice_names_the_text(self, tmp_path):
        tables = {**GOOD, "counts": GOOD["counts"].replace("2,Europe/London", "2,Europe/Paris")}
        notices = prepare(request_of(tmp_path, tables, **TEXT), Reporter()).notices
        (notice,) = [notice for notice in notices if notice.code == "NO_SITE_IN_ZONE"]
        assert "such as merchant '2' in Europe/Paris" in notice.message


def test_merchants_of_other_tables_match_by_text(tmp_path):
    """A merchant that is a number in one file and a text in another is one merchant."""
    numbers, as_text = small_tables(), with_merchants({merchant: str(merchant) for merchant in TEXTS})
    mixed = replace(numbers, sites=as_text.sites)
    found = [
        identity(tables, tmp_path / str(number), Form("parquet"), **TEXT)
        for number, tables in enumerate((numbers, as_text, mixed))
    ]
    assert found[0] == found[1] == found[2]


class TestCommand:
    def words(self, folder, tables):
        request = request_of(folder, tables)
        files = [("--counts", request.counts), ("--sites", request.sites), ("--edges", request.edges)]
        files.append(("--virtual-merchants", request.virtual_merchants))
        return ["import", str(request.run_root), *(str(word) for option, (path,) in files for word in (option, path))]

    def test_the_option_makes_texts_ids(self, tmp_path, capsys):
        words = self.words(tmp_path, named("חנות 'ä'"))
        assert main([*words, "--quiet"]) == 1
        assert "--merchant-ids text" in capsys.readouterr().err
        assert main([*words, "--merchant-ids", "text", "--json", "--quiet"]) == 0
        assert json.loads(capsys.readouterr().out)["merchants"] == 3
        assert {row["merchant"] for row in stored_names(tmp_path / "world")} == {"חנות 'ä'", "2", "3"}

    @pytest.mark.parametrize("hostile", ["\x1b[31mred", "x\u202eetx", "\x9b31m", "a\u2066b"])
    def test_a_text_that_a_terminal_would_obey_is_refused_and_not_shown(self, hostile, tmp_path, capsys):
        words = self.words(tmp_path, named(hostile))
        assert main([*words, "--merchant-ids", "text", "--quiet"]) == 1
        shown = capsys.readouterr().err
        assert "has a control character, a line end or a mark of writing direction" in " ".join(shown.split())
        assert not set(hostile) & set(shown) - set("[31mredxtab")

    def test_another_form_is_a_usage_error(self, tmp_path, capsys):
        assert main([*self.words(tmp_path, GOOD), "--merchant-ids", "name"]) == 2
        assert "'name' is not one of 'number', 'text'" in " ".join(capsys.readouterr().err.split())
