"""Guesses at what a misspelt name was meant to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts.guesses import did_you_mean, nearest

COMMANDS = ("run", "report", "stream", "validate")


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("rnu", ["run"]),
        ("r", ["run", "report"]),
        ("rep", ["report"]),
        ("RUN", ["run"]),
        ("--run", ["run"]),
        ("vaildate", ["validate"]),
        ("validatee", ["validate"]),
        ("fly", []),
        ("", []),
        ("--", []),
    ],
)
def test_the_names_that_a_word_may_stand_for(word, near):
    assert nearest(word, COMMANDS) == near


def test_hyphens_and_underscores_do_not_count():
    assert nearest("batch_arrivals", ["--batch-arrivals", "--backend"]) == ["--batch-arrivals"]
    assert nearest("max-arrivals", ["max_arrivals"]) == ["max_arrivals"]


def test_a_beginning_is_likelier_than_a_resemblance():
    assert nearest("--thr", ["--strict", "--threads"]) == ["--threads"]


@given(st.text(), st.lists(st.text(), max_size=8))
def test_guesses_are_few_and_known_and_the_name_itself_comes_first(word, known):
    near = nearest(word, known)
    assert len(near) <= 3
    assert set(near) <= set(known)
    if near and word in known:
        assert len(near) == 1


def test_a_guess_is_a_question():
    assert did_you_mean("rnu", COMMANDS) == "did you mean 'run'?"
    assert did_you_mean("r", COMMANDS) == "did you mean 'run' or 'report'?"
    assert did_you_mean("a", ["ab", "ac", "ad", "ae"]) == "did you mean 'ab', 'ac' or 'ad'?"
    assert did_you_mean("fly", COMMANDS) == ""
