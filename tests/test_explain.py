"""Explaining one arrival: against the reference for every arrival, against tampered output, and as a command."""

from __future__ import annotations

import dataclasses
import json
import shutil
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
import pytest

from contracts import ArrivalError, Code, dataset
from cpu_fallback.alias import build_alias_tables, pack
from engine.cli.main import main
from engine.explain import Question, explain, law
from engine.explain.derive import Chosen, View, derive
from engine.explain.facts import document
from engine.explain.names import Names
from engine.job import RunOptions, run
from engine.output.reading import json_rows, utc_text, wall_text
from engine.planning import plan
from engine.receipt import read_receipt
from engine.seal import read_seal, seal
from engine.world.load import load_world
from engine.world.zones import load_zone_table
from tests import reference
from tests.known_answers import law_vectors, philox_answers
from tests.law import build_alias, pick, site_id
from tests.model import FAIL, FALLBACKS, CountRow, Policy
from tests.worlds import (
    ALONE_ONLINE,
    BERLIN,
    BERLIN_GAP,
    BIG_ID,
    HALF,
    HALF_NO_EDGES,
    ODD_BUCKET,
    SILENT,
    TWO_ZONES,
    VIRTUAL,
    VIRTUAL_NO_EDGES,
    ZERO_WEIGHTS,
    instant_us,
    small_world,
    write_world,
)

WORLD = small_world()
MERCHANTS = sorted({row.merchant_id for row in WORLD.counts if row.n})
LAW = law_vectors()
DUAL = ("tzid_settlement", "ts_local_settlement", "tzid_operational", "ts_local_operational")


@cache
def numbered():
    """Every arrival of the reference by (merchant, arrival_seq)."""
    expander = reference._Expander(WORLD)
    arrivals, _ = reference._ordered(expander)
    return expander, {(arrival.entity.merchant_id, seq): arrival for arrival, seq in arrivals}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory):
    run_root = tmp_path_factory.mktemp("explain") / "sealed"
    write_world(WORLD, run_root)
    seal(run_root)
    return run_root


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("explain") / "run")


def publish(run_root, *, output=None, world=WORLD, **options):
    write_world(world, run_root, output_policy=output or {})
    seal(run_root)
    run(run_root, RunOptions(backend="cpu", **{"batch_arrivals": 900, **options}))
    return run_root


def parts(run_root):
    tokens = read_receipt(run_root).identity.tokens(scenario_id=WORLD.scenario_id)
    return sorted(dataset("arrival_events_5B").locate(run_root, tokens).iterdir())


def view_of(run_root, merchant):
    receipt = read_receipt(run_root)
    world = load_world(run_root, seal=read_seal(receipt), merchant_ids=[merchant])
    return View(world, plan(world), load_zone_table(receipt), Names(receipt, merchant))


def histories(view):
    """Every arrival of the merchant, derived."""
    for segment in range(view.plan.segments.arrivals_before.size):
        for place, draw in enumerate(view.draws(segment), 1):
            yield derive(view, Chosen(segment, place, draw))


class TestEveryArrival:
    """Of the small world: hybrid, virtual, all fallbacks, merged rows, DST, null channels, ids above 2^63."""

    @pytest.fixture(scope="class", params=MERCHANTS)
    @staticmethod
    def derived(request, sealed):
        merchant = request.param
        return merchant, list(histories(view_of(sealed, merchant)))

    def test_is_there_once(self, derived):
        merchant, found = derived
        wanted = [seq for owner, seq in numbered()[1] if owner == merchant]
        assert [history.sequence.arrival_seq for history in found] == wanted
        assert {history.sequence.arrivals_of_merchant for history in found} == {len(wanted)}

    def test_has_the_references_row(self, derived):
        merchant, found = derived
        expander, arrivals = numbered()
        for history in found:
            seq = history.sequence.arrival_seq
            row = dataclasses.asdict(expander.row(arrivals[merchant, seq], seq))
            assert history.bucket.draw == row.pop("draw_index")
            row["ts_utc"] = utc_text(row["ts_utc"])
            row["channel_group"] = row["channel_group"] or None
            for name in ("ts_local_primary", "ts_local_settlement", "ts_local_operational"):
                row[name] = None if row[name] is None else wall_text(row[name])
            shown = dict(history.row)
            assert shown.pop("s4_spec_version") == "1.0.0"
            assert len(shown.pop("routing_universe_hash")) == 64
            assert shown == row

    def test_has_the_references_words(self, derived):
        merchant, found = derived
        expander, arrivals = numbered()
        for history in found:
            arrival = arrivals[merchant, history.sequence.arrival_seq]
            for block in history.blocks:
                stream = expander.stream(arrival.entity, block.family)
                assert (block.key, block.hi0) == (stream.key, stream.hi0)
                assert (block.x0, block.x1) == stream.block(arrival.bucket, arrival.j)
                assert (block.word0, block.word1) == (arrival.j, (stream.hi0 + arrival.bucket) % 2**64)
            start, end = WORLD.grid[arrival.bucket]
            assert history.offset.offset_us == arrival.ts_utc - start
            assert int(history.offset.numerator) >> 64 == history.offset.offset_us
            assert (history.bucket.duration_us, history.bucket.start_utc) == (end - start, utc_text(start))

    def test_has_the_references_route(self, derived):
        merchant, found = derived
        for history in found:
            route = numbered()[1][merchant, history.sequence.arrival_seq].route
            assert history.mode.mode == WORLD.modes[merchant]
            assert history.mode.is_virtual == route.is_virtual
            coin = history.mode.coin
            assert (None if coin is None else (coin.word, coin.threshold)) == route.coin
            assert tuple(fallback.name for fallback in history.fallbacks) == route.fallbacks
            assert not any(fallback.forbidden for fallback in history.fallbacks)
            for mine, theirs in zip(history.picks, route.picks, strict=True):
                assert (mine.word, mine.size, mine.chosen) == (theirs.word, len(theirs.labels), theirs.chosen)
                assert mine.threshold == theirs.slots.thresholds[mine.slot]
                assert mine.alias == theirs.slots.aliases[mine.slot]
                assert mine.taken == ("slot" if mine.slot == mine.chosen else "alias")
                label = theirs.labels[theirs.chosen]
                wanted = {"site": f"{label} (site {route.target_id})", "tz group": label}
                assert mine.chosen_name == wanted.get(theirs.table, mine.chosen_name)
            if route.is_virtual:
                assert history.picks[0].chosen_name.endswith(f" (edge {route.target_id})")

    def test_has_the_transition_in_force(self, derived):
        _, found = derived
        for history in found:
            for clock in history.clocks:
                steps = {instant: minutes for instant, minutes in WORLD.zones[clock.tzid] if instant > -(2**63)}
                at = clock.utc_second
                earlier = [instant for instant in steps if instant <= at]
                later = [instant for instant in steps if instant > at]
                if earlier:
                    assert clock.since_utc == utc_text(max(earlier) * 1_000_000)
                    assert clock.offset_minutes == steps[max(earlier)]
                if later:
                    assert clock.until_utc == utc_text(min(later) * 1_000_000)

    def test_says_which_words_decided(self, derived):
        _, found = derived
        for history in found:
            (time, site, edge) = ((block.x0_decides, block.x1_decides) for block in history.blocks)
            groups = any(pick.table.startswith("tz groups") for pick in history.picks)
            coin = "the coin" if history.mode.coin else "nothing"
            assert time == ("the time", "nothing")
            if history.mode.is_virtual:
                assert (site, edge) == (("nothing", "nothing"), ("the edge", coin))
            else:
                assert (site, edge) == (("the tz group" if groups else "nothing", "the site"), ("nothing", coin))


def test_the_small_world_shows_every_fallback_and_both_coins():
    routes = [arrival.route for arrival in numbered()[1].values()]
    assert {name for route in routes for name in route.fallbacks} == set(FALLBACKS)
    assert {route.is_virtual for route in routes if route.coin} == {True, False}


@pytest.mark.parametrize(
    ("merchant", "seq"), [(TWO_ZONES, 1), (TWO_ZONES, 2500), (BIG_ID, 30), (VIRTUAL, 30), (HALF, 41), (ALONE_ONLINE, 9)]
)
def test_the_explanation_is_the_references(merchant, seq, published):
    wanted = reference.explain(WORLD, merchant, seq)
    found = explain(published, Question(merchant, seq=seq))
    assert found.agrees
    assert (found.kernel.outcome, found.stored.outcome) == ("agrees", "agrees")
    assert {block.family: (block.x0, block.x1) for block in found.history.blocks} == wanted.blocks
    assert found.history.offset.offset_us == wanted.offset_us
    assert found.history.row["arrival_seq"] == seq
    assert found.history.row["ts_utc"] == utc_text(wanted.row.ts_utc)
    assert [notice.code for notice in found.notices] == ["SEAL_NOT_CHECKED"]


def test_every_stored_row_is_the_derived_one(published):
    stored = {
        (row["merchant_id"], row["arrival_seq"]): row
        for path in parts(published)
        for row in json_rows(pq.read_table(path, partitioning=None))
    }
    derived = [history.row for merchant in MERCHANTS for history in histories(view_of(published, merchant))]
    assert len(derived) == len(stored)
    for row in derived:
        assert stored[row["merchant_id"], row["arrival_seq"]] == row


class TestQuestions:
    def times(self, merchant):
        return {arrival.ts_utc: seq for (owner, seq), arrival in reversed(numbered()[1].items()) if owner == merchant}

    def seq_of(self, run_root, question):
        return explain(run_root, question).history.sequence.arrival_seq

    def test_an_instant_means_the_arrival_at_or_after_it(self, sealed):
        times = self.times(BIG_ID)
        first, second, *_ = sorted(times)
        assert self.seq_of(sealed, Question(BIG_ID, at_us=first)) == times[first] == 1
        assert self.seq_of(sealed, Question(BIG_ID, at_us=first + 1)) == times[second]
        assert self.seq_of(sealed, Question(BIG_ID, at_us=first - 10**15)) == 1
        last_of_bucket = max(ts for ts in times if ts < WORLD.grid[BERLIN_GAP - 20][0])
        after = min(ts for ts in times if ts > last_of_bucket)
        assert self.seq_of(sealed, Question(BIG_ID, at_us=last_of_bucket + 1)) == times[after]

    def test_an_instant_may_lie_in_the_merchants_last_bucket_after_its_last_arrival(self, sealed):
        with pytest.raises(ArrivalError, match="no arrival at or after") as caught:
            explain(sealed, Question(BIG_ID, at_us=max(self.times(BIG_ID)) + 1))
        assert caught.value.code is Code.S1_OR_S3_OUTPUT_MISSING

    def test_a_site_means_its_first_arrival_and_with_an_instant_the_next(self, sealed):
        site = site_id(TWO_ZONES, "DE", 3)
        hits = [
            (arrival.ts_utc, seq)
            for (merchant, seq), arrival in numbered()[1].items()
            if merchant == TWO_ZONES and arrival.route.target_id == site
        ]
        assert len(hits) > 100
        assert self.seq_of(sealed, Question(TWO_ZONES, site=site)) == hits[0][1]
        assert self.seq_of(sealed, Question(TWO_ZONES, site=site, at_us=hits[0][0])) == hits[0][1]
        assert self.seq_of(sealed, Question(TWO_ZONES, site=site, at_us=hits[0][0] + 1)) == hits[1][1]
        late = next(hit for hit in hits if hit[0] >= WORLD.grid[ODD_BUCKET][0])
        assert self.seq_of(sealed, Question(TWO_ZONES, site=site, at_us=WORLD.grid[ODD_BUCKET][0])) == late[1]

    @pytest.mark.parametrize(
        ("question", "problem"),
        [
            (Question(TWO_ZONES, seq=10**6), "none of number 1000000"),
            (Question(TWO_ZONES, site=7), "has no site 7"),
            (Question(ZERO_WEIGHTS, site=site_id(ZERO_WEIGHTS, "FR", 1)), "has no arrival at site"),
            (Question(SILENT, seq=1), f"merchant {SILENT} has no arrivals"),
            (Question(424242, seq=1), "merchant 424242 has no arrivals"),
        ],
    )
    def test_an_arrival_that_is_not_there(self, question, problem, sealed):
        with pytest.raises(ArrivalError, match=problem) as caught:
            explain(sealed, question)
        assert caught.value.code is Code.S1_OR_S3_OUTPUT_MISSING
        assert caught.value.context["merchant_id"] == question.merchant_id

    @pytest.mark.parametrize("given", [{}, {"seq": 1, "site": 2}, {"seq": 1, "at_us": 2}])
    def test_a_question_means_one_arrival(self, given):
        with pytest.raises(ValueError, match="give either"):
            Question(1, **given)


# --- Stored rows -----------------------------------------------------------------------------------

OTHER_VALUES = {
    "parameter_hash": "c" * 64,
    "seed": 41,
    "zone_representation": "Etc/GMT",
    "channel_group": None,
    "bucket_index": 0,
    "ts_utc": np.datetime64("2026-03-29T01:00:00", "us").item(),
    "tzid_primary": "Etc/GMT",
    "ts_local_primary": np.datetime64("2026-03-29T01:00:00", "us").item(),
    "tzid_settlement": "Etc/GMT",
    "ts_local_settlement": np.datetime64("2026-03-29T01:00:00", "us").item(),
    "is_virtual": True,
    "site_id": 5,
    "edge_id": 5,
}


@pytest.fixture
def damage(published):
    """A function from a change of the published part that holds arrival 1000 of TWO_ZONES to the explanation of it."""
    number = 1000

    def explained(change):
        tables = {path: pq.read_table(path, partitioning=None) for path in parts(published)}
        (path,) = (path for path, table in tables.items() if number in table["arrival_seq"].to_pylist())
        original, table = path.read_bytes(), tables[path]
        row = table["arrival_seq"].to_pylist().index(number)
        try:
            pq.write_table(change(table, row), path)
            return explain(published, Question(TWO_ZONES, seq=number))
        finally:
            path.write_bytes(original)

    return explained


@pytest.mark.parametrize("column", OTHER_VALUES)
def test_a_tampered_value_is_named(column, damage):
    def change(table, row):
        field = table.schema.field(column)
        values = table[column].to_pylist()
        values[row] = OTHER_VALUES[column]
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        return table.set_column(table.column_names.index(column), column, pa.array(values, kind))

    found = damage(change)
    assert not found.agrees
    assert found.kernel.outcome == "agrees"
    assert found.stored.outcome == "differs"
    (difference,) = found.stored.differences
    assert difference.column == column
    assert difference.derived == found.history.row[column]
    assert difference.found == found.stored.row[column] != difference.derived


def test_a_dropped_row_is_missing(damage):
    found = damage(lambda table, row: pa.concat_tables([table.slice(0, row), table.slice(row + 1)]))
    assert (found.agrees, found.stored.outcome) == (False, "missing")


def test_a_repeated_row_is_noticed(damage):
    found = damage(lambda table, row: pa.concat_tables([table, table.slice(row, 1)]))
    assert (found.agrees, found.stored.outcome) == (False, "repeated")


def test_a_column_too_many_is_noticed(damage):
    found = damage(lambda table, _: table.append_column("extra", pa.array(range(table.num_rows))))
    (difference,) = found.stored.differences
    assert (found.agrees, difference.column) == (False, "extra")


def test_a_part_without_its_key_is_refused(damage):
    with pytest.raises(ArrivalError, match="has no column arrival_seq") as caught:
        damage(lambda table, _: table.drop_columns(["arrival_seq"]))
    assert caught.value.code is Code.SCHEMA_VIOLATION


def test_no_output_is_needed(sealed):
    found = explain(sealed, Question(HALF, seq=3))
    assert (found.agrees, found.kernel.outcome, found.stored.outcome) == (True, "agrees", "absent")


def test_a_time_beyond_any_calendar_is_shown_as_a_number(damage):
    def change(table, row):
        micros = table["ts_local_primary"].cast(pa.int64()).to_pylist()
        micros[row] = 2**62
        changed = pa.array(micros).cast(pa.timestamp("us"))
        return table.set_column(table.column_names.index("ts_local_primary"), "ts_local_primary", changed)

    (difference,) = damage(change).stored.differences
    assert difference.found == f"{2**62} us after 1970"


def test_nothing_of_other_merchants_counts_is_read(sealed, tmp_path):
    run_root = tmp_path / "run"
    shutil.copytree(sealed, run_root)
    tokens = read_receipt(run_root).identity.tokens(scenario_id=WORLD.scenario_id)
    path = dataset("s3_bucket_counts_5B").locate(run_root, tokens)
    pq.write_table(pq.read_table(path, partitioning=None).sort_by("merchant_id"), path, row_group_size=1)
    metadata = pq.read_metadata(path)
    data = bytearray(path.read_bytes())
    for group in range(metadata.num_row_groups):
        columns = [metadata.row_group(group).column(index) for index in range(metadata.num_columns)]
        if next(c.statistics.min for c in columns if c.path_in_schema == "merchant_id") != HALF:
            first = columns[0].dictionary_page_offset
            data[first : first + 8] = b"\xff" * 8
    path.write_bytes(data)
    with pytest.raises(ArrivalError) as caught:
        load_world(run_root, seal=read_seal(read_receipt(run_root)))
    assert caught.value.code is Code.IO_READ_FAILED
    assert explain(run_root, Question(HALF, seq=3)).history == explain(sealed, Question(HALF, seq=3)).history


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ({"format": "arrow", "batch_arrivals": 300}, {"row_group_rows": "1024"}),
        ({}, {"timestamp_encoding": "rfc3339"}),
        ({"format": "arrow"}, {"physical_dual_clock": "mirror", "timestamp_encoding": "rfc3339"}),
    ],
    ids=["arrow", "rfc3339", "mirror"],
)
def test_output_of_any_form_agrees(options, output, tmp_path):
    run_root = publish(tmp_path / "run", output=output, **options)
    for merchant, seq in ((TWO_ZONES, 2999), (HALF, 1), (VIRTUAL, 42)):
        found = explain(run_root, Question(merchant, seq=seq))
        assert found.stored.outcome == "agrees", found.stored.differences
        filled = not found.history.mode.is_virtual and output.get("physical_dual_clock") == "mirror"
        assert [found.history.row[name] is None for name in DUAL] == [
            not found.history.mode.is_virtual and not filled
        ] * 4


# --- What the policy forbids, several scenarios ------------------------------------------------------


@pytest.mark.parametrize(
    ("merchant", "name"),
    [
        (HALF_NO_EDGES, "missing_group_table"),
        (ZERO_WEIGHTS, "no_site_in_zone"),
        (VIRTUAL_NO_EDGES, "missing_edge_table"),
    ],
)
def test_a_forbidden_fallback_is_explained_all_the_same(merchant, name, tmp_path):
    policy = Policy(**{name: FAIL})
    counts = tuple(row for row in WORLD.counts if row.merchant_id == merchant)
    write_world(small_world(counts=counts, policy=policy), tmp_path / "run")
    seal(tmp_path / "run")
    if name == "missing_edge_table":
        # Nothing of such a merchant can be drawn: the world itself is refused.
        with pytest.raises(ArrivalError, match="has no edge table"):
            explain(tmp_path / "run", Question(merchant, seq=1))
        return
    refused = [
        explain(tmp_path / "run", Question(merchant, seq=seq)) for seq in range(1, sum(row.n for row in counts) + 1)
    ]
    assert {(f.name, f.forbidden) for found in refused for f in found.history.fallbacks if f.name == name} == {
        (name, True)
    }
    assert "refused" in {found.kernel.outcome for found in refused}
    assert all(found.agrees for found in refused)


def test_a_scenario_is_chosen_by_name(tmp_path):
    other = small_world(scenario_id="other", counts=(CountRow(TWO_ZONES, BERLIN, "mixed", BERLIN_GAP, 4),))
    write_world(WORLD, tmp_path / "run", further_scenarios=[other])
    seal(tmp_path / "run")
    question = Question(TWO_ZONES, seq=4)
    assert explain(tmp_path / "run", question, scenario_id="other").history.scenario_id == "other"
    with pytest.raises(ArrivalError, match="several scenarios"):
        explain(tmp_path / "run", question)


# --- The law on Python integers ----------------------------------------------------------------------


@pytest.mark.parametrize("answer", philox_answers())
def test_philox_known_answers(answer):
    assert law.philox2x64(answer.word0, answer.word1, answer.key) == (answer.x0, answer.x1)


@pytest.mark.parametrize("vector", LAW["offsets"])
def test_offset_vectors(vector):
    assert law.offset_us(int(vector["x0"], 16), vector["duration_us"]) == vector["offset_us"]


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [1e-12, 1.0, 0.0], [0.3, 0.3, 0.4, 0.0, 5.0], [2.0]])
def test_picks_and_shares(weights):
    built = build_alias_tables(np.array(weights), np.array([0, len(weights)]))
    packed = pack(built.threshold, built.alias).tolist()
    table = build_alias(weights)
    for word in (0, 1, 2**32 - 1, 2**63, 2**64 - 1, *(k * 2**64 // 97 for k in range(97))):
        slot = law.pick(word, packed, from_weights=True)
        assert slot.taken == pick(word, table)
        assert (slot.threshold, slot.alias) == (table.thresholds[slot.slot], table.aliases[slot.slot])
    shares = [law.share(packed, index) for index in range(len(weights))]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)
    assert shares == pytest.approx([weight / sum(weights) for weight in weights], abs=1e-8)


# --- The command -------------------------------------------------------------------------------------


class TestCommand:
    def test_prints_the_whole_history(self, published, capsys):
        assert main(["explain", str(published), "--merchant", str(HALF), "--seq", "3"]) == 0
        shown = capsys.readouterr().out
        wanted = reference.explain(WORLD, HALF, 3)
        assert shown.startswith(f"arrival 3 of merchant {HALF}: {utc_text(wanted.row.ts_utc)} at ")
        for family, (x0, x1) in wanted.blocks.items():
            stream = wanted.streams[family]
            assert f"{family}: key {stream.key:016x}, hi0 {stream.hi0:016x}" in shown
            assert f"x0 = {x0:016x}" in shown
            assert f"x1 = {x1:016x}" in shown
        assert f"domain text merchant_id={HALF}|zone=" in shown
        assert f"= {wanted.offset_us} us" in shown
        assert "stored row: agrees in every column" in shown
        assert "CPU kernel: agrees in every column" in shown
        assert "note: the inputs were not compared with their seal" in shown

    def test_lines_are_whole_where_nobody_reads_them_on_a_terminal(self, published, capsys):
        assert main(["explain", str(published), "--merchant", str(TWO_ZONES), "--seq", "1"]) == 0
        shown = capsys.readouterr().out
        assert f"parameter_hash = {'b' * 64}\n" in shown
        assert f"{parts(published)[0]}\n" in shown

    def test_json_keeps_words_whole(self, published, capsys):
        assert main(["explain", str(published), "--merchant", str(BIG_ID), "--seq", "2", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["status"] == "PASS"
        assert {key: found[key] for key in ("history", "kernel", "stored", "notices")} == document(
            explain(published, Question(BIG_ID, seq=2))
        )
        assert found["history"]["entity"]["merchant_id"] == BIG_ID
        assert all(
            len(block[name]) == 16 for block in found["history"]["blocks"] for name in ("key", "hi0", "x0", "x1")
        )

    def test_an_instant_and_a_site_by_name(self, published, capsys):
        words = ["explain", str(published), "--merchant", str(TWO_ZONES), "--json"]
        at = instant_us("2026-03-29T01:00:00")
        assert main([*words, "--ts", "2026-03-29T03:00:00+02:00", "--site", "DE:3"]) == 0
        by_name = json.loads(capsys.readouterr().out)
        assert main([*words, "--ts", "2026-03-29T01:00:00Z", "--site", str(site_id(TWO_ZONES, "DE", 3))]) == 0
        assert json.loads(capsys.readouterr().out) == by_name
        wanted = explain(published, Question(TWO_ZONES, at_us=at, site=site_id(TWO_ZONES, "DE", 3)))
        assert by_name["history"] == document(wanted.history)

    def test_a_tampered_row_fails(self, tmp_path, capsys):
        run_root = publish(tmp_path / "run", batch_arrivals=10**6)
        (part,) = parts(run_root)
        table = pq.read_table(part, partitioning=None)
        buckets = table["bucket_index"].to_pylist()
        buckets[0] += 1
        pq.write_table(table.set_column(table.column_names.index("bucket_index"), "bucket_index", [buckets]), part)
        merchant, seq = (table[name][0].as_py() for name in ("merchant_id", "arrival_seq"))
        assert main(["explain", str(run_root), "--merchant", str(merchant), "--seq", str(seq)]) == 1
        shown = capsys.readouterr().out
        assert "stored row: DIFFERS" in shown
        assert f"bucket_index = {buckets[0] - 1}  but stored: {buckets[0]}" in shown
        assert main(["explain", str(run_root), "--merchant", str(merchant), "--seq", str(seq), "--json"]) == 1
        assert json.loads(capsys.readouterr().out)["status"] == "FAIL"

    @pytest.mark.parametrize(
        "words",
        [
            [],
            ["--seq", "1", "--site", "DE:1"],
            ["--seq", "0"],
            ["--ts", "2026-03-29T01:00:00"],
            ["--ts", "soon"],
            ["--site", "Berlin"],
        ],
        ids=" ".join,
    )
    def test_bad_usage(self, words, published, capsys):
        assert main(["explain", str(published), "--merchant", "1", *words]) == 2
        assert "Usage: arrivals explain" in capsys.readouterr().err
