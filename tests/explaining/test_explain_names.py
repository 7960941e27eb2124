"""`arrivals explain` and `arrivals stream` in a world whose merchant ids are texts."""

from __future__ import annotations

import json

import pytest

from arrival_engine import Question, explain, load_world, stream_arrivals
from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.cli.main import main
from tests.support.importing import BIG, HYBRID_SHOP, ONLINE, SHOPS
from tests.support.named import IDS, TEXTS


def printed(capsys, *words):
    code = main([*words])
    return code, capsys.readouterr()


@pytest.mark.parametrize("text", [TEXTS[HYBRID_SHOP], TEXTS[BIG]])
def test_a_text_an_id_and_its_digits_ask_for_one_arrival(text, named_run):
    found = [explain(named_run, Question(given, seq=2)) for given in (text, IDS[text], str(IDS[text]))]
    assert found[0].agrees
    assert found[0].history == found[1].history == found[2].history
    assert found[0].history.entity.merchant == text
    assert found[0].history.entity.merchant_id == IDS[text]


def test_a_site_is_asked_for_by_country_and_order(named_run):
    by_name = explain(named_run, Question(TEXTS[SHOPS], site="DE:2"))
    assert by_name.history.picks[-1].chosen_name.startswith("DE:2 ")
    site = int(str(by_name.history.row["site_id"]))
    assert explain(named_run, Question(TEXTS[SHOPS], site=site)).history == by_name.history
    with pytest.raises(ArrivalError, match="neither a site id nor COUNTRY:ORDER"):
        explain(named_run, Question(TEXTS[SHOPS], site="Berlin"))


@pytest.mark.parametrize(
    ("question", "says", "hint"),
    [
        (
            Question("café nord 北", seq=1),
            "'café nord 北' is not a merchant of this world",
            "did you mean 'Café Nord 北'?",
        ),
        (Question(TEXTS[777], seq=1), f"merchant {TEXTS[777]!r} has no arrivals", "check the id"),
        (Question(TEXTS[BIG], seq=10**6), "merchant '007' has arrivals 1 to 16", "--seq 1"),
        (Question(12345, seq=1), "merchant 12345 has no arrivals", "check the id"),
    ],
)
def test_a_question_without_an_answer_names_the_text(question, says, hint, named_run):
    with pytest.raises(ArrivalError) as caught:
        explain(named_run, question)
    assert caught.value.code == Code.OPTION_INVALID
    assert says in caught.value.message
    assert hint in caught.value.hint
    if question.merchant_id == TEXTS[777]:
        assert caught.value.context["merchant"] == TEXTS[777]


def test_the_tree_begins_with_the_text(named_run, capsys):
    code, screen = printed(capsys, "explain", str(named_run), "--merchant", TEXTS[HYBRID_SHOP], "--seq", "1")
    assert code == 0
    assert screen.out.startswith(f"arrival 1 of merchant {TEXTS[HYBRID_SHOP]!r}: ")
    assert f"merchant {IDS[TEXTS[HYBRID_SHOP]]} is {TEXTS[HYBRID_SHOP]!r}\n" in screen.out


def test_a_document_has_the_id_and_the_text(named_run, capsys):
    words = ("explain", str(named_run), "--merchant", TEXTS[ONLINE], "--seq", "1", "--json", "--quiet")
    code, screen = printed(capsys, *words)
    entity = json.loads(screen.out)["history"]["entity"]
    assert (code, entity["merchant_id"], entity["merchant"]) == (0, IDS[TEXTS[ONLINE]], TEXTS[ONLINE])
    assert screen.out.isascii()


def test_a_failure_shows_nothing_that_a_terminal_obeys(named_run, capsys):
    code, screen = printed(
        capsys, "explain", str(named_run), "--merchant", "\x1b[31m\u202ex\n", "--seq", "1", "--quiet"
    )
    assert code != 0
    assert "is not a merchant of this world" in screen.err
    assert not {"\x1b", "\u202e"} & set(screen.err)


def test_an_empty_merchant_is_a_usage_error(named_run, capsys):
    for command in (("explain", str(named_run), "--seq", "1"), ("stream", str(named_run))):
        code, screen = printed(capsys, *command, "--merchant", "")
        assert code == 2
        assert "the merchant is empty" in screen.err


def test_a_stream_takes_texts(named_run):
    world = load_world(named_run)
    wanted: list[int | str] = [TEXTS[SHOPS], IDS[TEXTS[BIG]]]
    found = {
        merchant for batch in stream_arrivals(world, merchants=wanted) for merchant in batch["merchant_id"].to_pylist()
    }
    assert found == {IDS[TEXTS[SHOPS]], IDS[TEXTS[BIG]]}
    with pytest.raises(ArrivalError, match=f"merchant {TEXTS[777]!r} has no arrivals"):
        next(stream_arrivals(world, merchants=[TEXTS[777]]))


def test_the_stream_command_takes_texts(named_run, capfdbinary):
    words = ["stream", str(named_run), "--merchant", TEXTS[ONLINE], "--merchant", "007", "--columns", "merchant_id"]
    assert main([*words, "--quiet"]) == 0
    rows = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert {row["merchant_id"] for row in rows} == {IDS[TEXTS[ONLINE]], IDS["007"]}
    assert len(rows) == 8 * 9 + 8 * 2
