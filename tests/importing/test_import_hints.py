"""Names of columns and files in messages and hints: what a hint says can be pasted into a shell."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.quoting import listed, shell_word
from tests.support.commands import words_of
from tests.support.import_refused import GOOD, SCHEMA_BAD, edited, refused, request_of

AWKWARD = [
    *("", " ", "#x", "-x", "a b", "it's", '"', "`id`", "$HOME", "!!", "a\\b", "*", "~", "a=b", "a;b", "a\nb", "\t"),
    *("\x1b[31m", "\ufeffid", "\u200b", "\u202e", "ü", "\U0001f600", "\udcff", "'\n\\'", "\x7f", "\u0085"),
]


def test_a_word_means_the_text_in_a_shell():
    words = [shell_word(text) for text in AWKWARD]
    assert words_of(" ".join(words)) == AWKWARD
    assert all(word.isprintable() for word in words)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_any_texts_are_words_of_a_shell(texts):
    assert words_of(" ".join(shell_word(text) for text in texts)) == texts


def test_names_in_a_sentence_are_told_apart():
    assert listed(["tz", "", " tz", "a, b", "a\nb", "shop_id"]) == "tz, '', ' tz', 'a, b', 'a\\nb', shop_id"


def with_extra(name):
    """The counts with one more column, of that name."""
    header, *lines = GOOD["counts"].splitlines()
    quoted = name.replace('"', '""')
    return "\n".join([f'{header},"{quoted}"', *(f"{line},x" for line in lines)]) + "\n"


@pytest.mark.parametrize("name", ["", " ", "#x", "-x", "a b", "it's", '"', "$HOME", "!!", "a=b", "\x1b[31m", "\u200b"])
def test_the_hint_of_an_unknown_column_can_be_pasted(tmp_path, name):
    error = refused(request_of(tmp_path, edited(counts=with_extra(name))), SCHEMA_BAD, f"has a column {name!r}")
    option, ignored = words_of(error.hint.rpartition("leave it out: ")[2])
    assert (option, ignored) == ("--ignore", name)
    plain = import_world(request_of(tmp_path, GOOD))
    (tmp_path / "world").rename(tmp_path / "first")
    result = import_world(request_of(tmp_path, edited(counts=with_extra(name)), ignore=[ignored]))
    assert result.identity == plain.identity


@pytest.mark.parametrize("name", [" tz", "#tz", "Tz ", "TZ"])
def test_the_hint_of_a_rename_can_be_pasted(tmp_path, name):
    tables = edited(counts=GOOD["counts"].replace(",tz,", f",{name},"))
    error = refused(request_of(tmp_path, tables), SCHEMA_BAD, f"has a column {name!r}", "did you mean tz?")
    option, pair = words_of(error.hint.removeprefix("rename it: ").partition(", or ")[0])
    assert (option, pair) == ("--rename", f"{name}=tz")
    assert import_world(request_of(tmp_path, tables, rename=[tuple(pair.rsplit("=", 1))])).arrivals == 18


def test_columns_without_a_name_can_all_be_left_out(tmp_path):
    """As of a spreadsheet whose lines end in separators."""
    tables = edited(counts=GOOD["counts"].replace("\n", ",,\n"))
    error = refused(request_of(tmp_path, tables), SCHEMA_BAD, "has several columns ''")
    option, ignored = words_of(error.hint.rpartition("leave all out: ")[2])
    assert (option, ignored) == ("--ignore", "")
    assert import_world(request_of(tmp_path, tables, ignore=[""])).arrivals == 18


def test_names_that_are_not_there_are_shown_as_they_are(tmp_path):
    tables = edited(counts=with_extra("a\tb"))
    refused(request_of(tmp_path, tables), SCHEMA_BAD, "'a\\tb'", "--ignore $'a\\x09b'")
    with pytest.raises(ArrivalError) as caught:
        import_world(request_of(tmp_path, tables, ignore=["a\tb", "a b"]))
    assert "--ignore 'a b': no file has a column of that name" in caught.value.message
    assert "the columns are 'a\\tb', bucket_start" in caught.value.hint


def test_a_missing_column_is_told_beside_those_that_are_there(tmp_path):
    tables = edited(sites=GOOD["sites"].replace("tz,country", " tz ,country"))
    refused(request_of(tmp_path, tables, ignore=[" tz "]), SCHEMA_BAD, "it has merchant_id, ' tz ', country")
