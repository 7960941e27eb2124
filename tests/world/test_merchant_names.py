"""Names of merchants: the table read and checked, and the texts that readers of a world get."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from arrival_engine import RunOptions, import_world, load_world, run
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.merchant_names import (
    MerchantNames,
    known_as,
    load_merchant_names,
    merchant_id_of,
    naming_merchants,
    told,
)
from arrival_engine.engine.rundir.receipt import read_receipt
from arrival_engine.engine.sealing import seal
from tests.support.import_refused import request_of
from tests.support.importing import BIG, ONLINE, SHOPS, imported, small_tables
from tests.support.named import FORGERIES, IDS, NAMES, TEXTS, forge, id_of, names_path

SHOPS_ID, UNKNOWN = IDS[TEXTS[SHOPS]], 12345


@pytest.fixture(scope="module")
def names(named_run):
    return load_merchant_names(read_receipt(named_run))


@pytest.fixture
def unsealed(named_run, tmp_path):
    """The world as it was imported; what follows a seal is gone."""
    root = shutil.copytree(named_run, tmp_path / "world")
    for folder in ("s0_gate_receipt", "sealed_inputs", "arrival_events"):
        shutil.rmtree(root / "data" / "layer2" / "5B" / folder)
    return root


class TestReading:
    def test_every_merchant_has_its_text(self, names):
        assert names.ids.dtype == np.uint64
        assert names.ids.tolist() == sorted(IDS.values())
        assert {int(merchant_id): names.text(int(merchant_id)) for merchant_id in names.ids} == {
            merchant_id: text for text, merchant_id in IDS.items()
        }

    @pytest.mark.parametrize("stranger", [UNKNOWN, 0, -1, 2**64 - 1, 2**64, 2**70])
    def test_other_ids_have_none(self, stranger, names):
        assert names.text(stranger) is None

    def test_a_text_finds_its_id(self, names):
        assert {text: names.id_of(text) for text in IDS} == IDS
        assert [names.id_of(text) for text in ("", "nothing", TEXTS[SHOPS].upper(), str(SHOPS_ID))] == [None] * 4

    def test_a_column_of_ids_becomes_one_of_texts(self, names):
        ids = np.array([SHOPS_ID, UNKNOWN, IDS[TEXTS[BIG]], SHOPS_ID, 2**64 - 1, 0], np.uint64)
        column = names.column(ids)
        assert column.type == pa.dictionary(pa.int32(), pa.string())
        assert column.to_pylist() == [TEXTS[SHOPS], None, TEXTS[BIG], TEXTS[SHOPS], None, None]
        assert names.column(ids[:0]).to_pylist() == []

    def test_no_names_are_a_column_of_nulls(self):
        nothing = MerchantNames.of(np.empty(0, np.uint64), [])
        assert nothing.column(np.array([1, 2], np.uint64)).to_pylist() == [None, None]
        assert nothing.text(1) is None

    def test_names_of_some_merchants(self, names):
        some = names.of_merchants(np.array([SHOPS_ID, UNKNOWN], np.uint64))
        assert (some.ids.tolist(), some.texts.to_pylist()) == ([SHOPS_ID], [TEXTS[SHOPS]])

    def test_a_world_of_numbers_has_none(self, tmp_path):
        root = tmp_path / "world"
        imported(small_tables(), root)
        assert load_merchant_names(read_receipt(root)) is None
        seal(root)
        world = load_world(root, merchant_ids=["101"])
        assert world.names is None
        assert world.told(SHOPS) == "101"
        assert world.known_as(SHOPS) == {"merchant_id": 101}

    def test_a_loaded_world_has_them(self, named_run, names):
        world = load_world(named_run)
        assert world.names.ids.tolist() == names.ids.tolist()
        assert world.names.texts.equals(names.texts)
        assert world.told(SHOPS_ID) == repr(TEXTS[SHOPS])

    def test_merchants_are_loaded_by_text_or_id(self, named_run):
        by_text = load_world(named_run, merchant_ids=[TEXTS[SHOPS], TEXTS[BIG]])
        by_id = load_world(named_run, merchant_ids=[SHOPS_ID, str(IDS[TEXTS[BIG]])])
        assert by_text.arrivals == by_id.arrivals > 0
        assert by_text.tables.merchants.id.tolist() == by_id.tables.merchants.id.tolist()
        with pytest.raises(ArrivalError, match="'nothing' is not a merchant of this world"):
            load_world(named_run, merchant_ids=["nothing"])


class TestForgeries:
    @pytest.mark.parametrize("name", FORGERIES)
    def test_a_forged_table_that_was_sealed_is_refused(self, name, unsealed):
        says = forge(unsealed, name)
        seal(unsealed)
        with pytest.raises(ArrivalError) as caught:
            load_world(unsealed)
        another = name == "of another world"
        assert caught.value.code == (Code.PARTITION_OR_PK_VIOLATION if another else Code.SCHEMA_VIOLATION)
        assert says in caught.value.message
        assert "merchant_names" in caught.value.message

    def test_a_merchant_with_two_texts_is_refused(self, unsealed):
        """The one that is not its own, wherever it stands."""
        forge(unsealed, "changed")
        with pytest.raises(ArrivalError) as caught:
            load_merchant_names(read_receipt(unsealed))
        assert str(caught.value.context["merchant"]).endswith("!")
        assert caught.value.context["merchant_id"] in IDS.values()

    def test_a_control_character_breaks_the_schema(self, unsealed):
        import pyarrow.parquet as pq

        table = pq.read_table(names_path(unsealed), partitioning=None)
        text = "\x1b[31mred"
        rows = [{**table.to_pylist()[0], "merchant": text, "merchant_id": id_of(text)}]
        pq.write_table(pa.Table.from_pylist(rows, table.schema), names_path(unsealed))
        with pytest.raises(ArrivalError) as caught:
            load_merchant_names(read_receipt(unsealed))
        assert caught.value.code == Code.SCHEMA_VIOLATION
        assert "control character" in caught.value.message
        assert "\x1b" not in str(caught.value)

    @pytest.mark.parametrize("damage", [b"", b"PAR1", b"PAR1garbagePAR1"])
    def test_a_damaged_file_is_named(self, damage, unsealed):
        names_path(unsealed).write_bytes(damage)
        with pytest.raises(ArrivalError) as caught:
            load_merchant_names(read_receipt(unsealed))
        assert caught.value.code == Code.IO_READ_FAILED
        assert NAMES in caught.value.message


class TestChoosing:
    @pytest.mark.parametrize("text", [*TEXTS.values()])
    def test_a_text_is_its_merchant(self, text, names):
        assert merchant_id_of(names, text) == IDS[text]

    def test_digits_are_a_text_first_and_then_an_id(self, names):
        """The merchant 007 is found by its text, and none by 7."""
        assert merchant_id_of(names, "007") == IDS["007"]
        assert merchant_id_of(names, "7") == merchant_id_of(names, 7) == 7
        assert merchant_id_of(names, str(SHOPS_ID)) == SHOPS_ID
        assert merchant_id_of(None, "007") == 7

    @pytest.mark.parametrize("given", ["x", "-1", "1.5", "١٢", "²", str(2**64), "9" * 5000, "", "café nord 北"])
    def test_anything_else_is_refused(self, given, names):
        for known in (names, None):
            with pytest.raises(ArrivalError) as caught:
                merchant_id_of(known, given)
            assert caught.value.code == Code.OPTION_INVALID
            assert caught.value.hint

    @pytest.mark.parametrize("near", ["café nord 北", "CAFE\u0301 NORD 北", "Café Nord", "Cafe Nord 北"])
    def test_a_near_text_is_proposed(self, near, names):
        with pytest.raises(ArrivalError) as caught:
            merchant_id_of(names, near)
        assert caught.value.hint == f"did you mean {TEXTS[SHOPS]!r}?"

    def test_numbers_are_asked_for_where_there_are_no_texts(self):
        with pytest.raises(ArrivalError, match="'shop' is not a merchant of this world") as caught:
            merchant_id_of(None, "shop")
        assert "are numbers" in caught.value.hint


class TestTelling:
    def test_a_merchant_in_a_sentence(self, names):
        assert told(names, SHOPS_ID) == repr(TEXTS[SHOPS])
        assert told(names, UNKNOWN) == told(None, UNKNOWN) == "12345"

    def test_a_merchant_in_a_document(self, names):
        assert known_as(names, SHOPS_ID) == {"merchant_id": SHOPS_ID, "merchant": TEXTS[SHOPS]}
        assert known_as(names, UNKNOWN) == known_as(None, UNKNOWN) == {"merchant_id": UNKNOWN}

    def test_an_error_about_a_merchant_gets_its_text(self, named_run):
        with pytest.raises(ArrivalError) as caught, naming_merchants(read_receipt(named_run)):
            raise ArrivalError(Code.SCHEMA_VIOLATION, "broken", merchant_id=IDS[TEXTS[ONLINE]])
        assert caught.value.context["merchant"] == TEXTS[ONLINE]

    def test_another_error_stays_as_it_is(self, named_run, unsealed):
        forge(unsealed, "changed")
        cases: list[tuple[Path, dict[str, Any]]] = [
            (named_run, {"merchant_id": UNKNOWN}),
            (unsealed, {"merchant_id": SHOPS_ID}),
            (named_run, {}),
        ]
        for root, context in cases:
            with pytest.raises(ArrivalError) as caught, naming_merchants(read_receipt(root)):
                raise ArrivalError(Code.SCHEMA_VIOLATION, "broken", **context)
            assert caught.value.context == context

    def test_a_run_that_stops_at_a_merchant_names_its_text(self, tmp_path):
        counts = "merchant_id,tz,bucket_start,count\nÄ,Europe/Berlin,2026-03-29T00:00:00Z,9\n"
        sites = "merchant_id,tz,weight,country\nÄ,Europe/Berlin,1,DE\n"
        groups = "merchant_id,tz,weight\nÄ,Europe/Paris,1\n"
        tables = {"counts": counts, "sites": sites, "group_weights": groups}
        root = import_world(request_of(tmp_path, tables, bucket="1h", merchant_ids="text")).run_root
        seal(root)
        with pytest.raises(ArrivalError, match="merchant 'Ä' drew a tz group in which it has no site") as caught:
            run(root, RunOptions(backend="cpu", strict=True))
        assert caught.value.context["merchant"] == "Ä"
        assert caught.value.context["merchant_id"] == id_of("Ä")
