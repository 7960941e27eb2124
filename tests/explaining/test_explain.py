"""Deriving one arrival again: against the reference, for every arrival of the small world."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import pytest

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.moments import utc_text, wall_text
from arrival_engine.engine.explaining import Question, explain, law
from arrival_engine.engine.recomputing.identifiers import site_id as identified
from arrival_engine.engine.sealing import seal
from tests.support import reference
from tests.support.explained import MERCHANTS, WORLD, histories, publish, view_of
from tests.support.known_answers import law_vectors, philox_answers
from tests.support.law import build_alias, pick, site_id
from tests.support.model import FAIL, FALLBACKS, CountRow, Policy
from tests.support.worlds import (
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
    small_world,
    write_world,
)

LAW = law_vectors()


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
        assert caught.value.code is Code.OPTION_INVALID

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
        assert caught.value.code is Code.OPTION_INVALID
        assert caught.value.context["merchant_id"] == question.merchant_id

    @pytest.mark.parametrize("given", [{}, {"seq": 1, "site": 2}, {"seq": 1, "at_us": 2}])
    def test_a_question_means_one_arrival(self, given):
        with pytest.raises(ValueError, match="give either"):
            Question(1, **given)


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
    policy = Policy(**dict[str, Any]({name: FAIL}))
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
    assert explain(tmp_path / "run", dataclasses.replace(question, scenario_id="other")).history.scenario_id == "other"
    with pytest.raises(ArrivalError, match="several scenarios"):
        explain(tmp_path / "run", question)


# --- The law on Python integers ----------------------------------------------------------------------


@pytest.mark.parametrize("answer", philox_answers())
def test_philox_known_answers(answer):
    assert law.philox2x64(answer.word0, answer.word1, answer.key) == (answer.x0, answer.x1)


@pytest.mark.parametrize("vector", LAW["offsets"])
def test_offset_vectors(vector):
    assert law.offset_us(int(vector["x0"], 16), vector["duration_us"]) == vector["offset_us"]


@pytest.mark.parametrize("vector", LAW["site_ids"])
def test_site_id_vectors(vector):
    assert identified(vector["merchant_id"], vector["country"], vector["site_order"]) == vector["site_id"]
    assert identified(BIG_ID, "AT", 12) == site_id(BIG_ID, "AT", 12)


@pytest.mark.parametrize("weights", [[0.7, 0.2, 0.1], [1e-12, 1.0, 0.0], [0.3, 0.3, 0.4, 0.0, 5.0], [2.0]])
def test_picks_and_shares(weights):
    table = build_alias(weights)
    for word in (0, 1, 2**32 - 1, 2**63, 2**64 - 1, *(k * 2**64 // 97 for k in range(97))):
        slot = law.pick(word, law.Table(table.thresholds, table.aliases))
        assert slot.taken == pick(word, table)
        assert (slot.threshold, slot.alias) == (table.thresholds[slot.slot], table.aliases[slot.slot])
    shares = [law.share(law.Table(table.thresholds, table.aliases), index) for index in range(len(weights))]
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)
    assert shares == pytest.approx([weight / sum(weights) for weight in weights], abs=1e-8)
