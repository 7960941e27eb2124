"""Numbers with marks: a decimal sign, grouped thousands. Each has one meaning or is refused."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.importing import import_world
from arrival_engine.engine.importing.columns import Naming, Reading, layouts
from arrival_engine.engine.importing.numbers import Marks, marks_of, plain
from arrival_engine.engine.importing.reading import read_table
from arrival_engine.engine.importing.values import Refused
from tests.support.import_refused import GOOD, SCHEMA_BAD, edited, refused, request_of

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
AS_IS = Naming({}, frozenset())


def counts_read(path, marks=None):
    return read_table(layouts(Reading())["counts"], [path], AS_IS, marks or Marks())[0]["count"].tolist()


def weights_read(path, marks=None):
    return read_table(layouts(Reading())["group weights"], [path], AS_IS, marks or Marks())[0]["weight"].tolist()


def written(folder, header, row, separator):
    """A table with one row; values are quoted, so that any mark may be in them."""
    path = folder / "table.csv"
    lines = (header, tuple(f'"{value}"' for value in row))
    path.write_text("".join(separator.join(line) + "\n" for line in lines), encoding="utf-8")
    return path


def with_count(folder, text, separator):
    row = ("1", "Europe/Berlin", "2026-03-29T00:00:00Z", text)
    return written(folder, ("merchant_id", "tz", "bucket_start", "count"), row, separator)


def with_weight(folder, text, separator):
    return written(folder, ("merchant_id", "tz", "weight"), ("1", "Europe/Berlin", text), separator)


# What each text is without options: a number, or what the refusal says and proposes.
COUNTS: dict[str, Any] = {
    "12": 12,
    "12.0": 12,
    "12.00": 12,
    "12.0000": 12,
    "0.000": 0,
    "12.000": ("is ambiguous: 12 or 12000", "--decimal . to read 12, or --thousands . to read 12000"),
    "1.000": ("is ambiguous: 1 or 1000", "--thousands . to read 1000"),
    "12.500": ("is ambiguous: 12.5 or 12500", "--thousands . to read 12500"),
    "12.5": ("is not a whole number", ""),
    "1,000": ("is ambiguous: 1 or 1000", "--decimal , to read 1, or --thousands , to read 1000"),
    "1.000.000": ("groups its thousands", "write 1000000, or give --thousands . to read it so"),
    "1,000,000": ("groups its thousands", "--thousands , to read it so"),
    "1 000": ("groups its thousands", "write 1000, or give --thousands ' ' to read it so"),
    "1\u00a0000": ("groups its thousands", "--thousands ' ' to read it so"),
    "1\u202f000": ("groups its thousands", "--thousands ' ' to read it so"),
    "1'000": ("groups its thousands", 'write 1000, or give --thousands "\'" to read it so'),
    "1\u2019000": ("groups its thousands", '--thousands "\'" to read it so'),
    "1,00,000": ("is not a whole number", ""),
    "1,5": ("is not a whole number", ""),
    "1.00.0": ("is not a whole number", ""),
}


@pytest.mark.parametrize(("text", "separator"), list(product(COUNTS, SEPARATORS)))
def test_a_count_with_marks_has_one_meaning_or_is_refused(tmp_path, text, separator):
    path, expected = with_count(tmp_path, text, separator), COUNTS[text]
    if isinstance(expected, int):
        assert counts_read(path) == [expected]
        return
    with pytest.raises(ArrivalError) as caught:
        counts_read(path)
    error = caught.value
    assert (error.code, error.context["line"], error.context["column"]) == (SCHEMA_BAD, 2, "count")
    assert error.context["value"] == repr(text)
    assert error.message == f"{path}, line 2: count {text!r} {expected[0]}"
    assert expected[1] in error.hint


WEIGHTS: dict[str, Any] = {
    "0.5": 0.5,
    "0.125": 0.125,
    "1.25": 1.25,
    "1.2345": 1.2345,
    "1234.567": 1234.567,
    "1.234e3": 1234.0,
    "0,5": ("has a decimal comma", "write 0.5, or give --decimal , to read it so"),
    "0,125": ("has a decimal comma", "write 0.125"),
    "1,234": ("is ambiguous: 1.234 or 1234", "--decimal , to read 1.234, or --thousands , to read 1234"),
    "1.234,5": ("groups its thousands", "write 1234.5, or give --thousands . to read it so"),
    "1,234.5": ("groups its thousands", "write 1234.5, or give --thousands , to read it so"),
    "1 234,5": ("groups its thousands", "write 1234.5, or give --thousands ' ' --decimal , to read it so"),
    "1 234.5": ("groups its thousands", "write 1234.5, or give --thousands ' ' to read it so"),
}


@pytest.mark.parametrize(("text", "separator"), list(product(WEIGHTS, SEPARATORS)))
def test_a_weight_with_marks_has_one_meaning_or_is_refused(tmp_path, text, separator):
    path, expected = with_weight(tmp_path, text, separator), WEIGHTS[text]
    if isinstance(expected, float):
        assert weights_read(path) == [expected]
        return
    with pytest.raises(ArrivalError) as caught:
        weights_read(path)
    assert caught.value.message == f"{path}, line 2: weight {text!r} {expected[0]}"
    assert expected[1] in caught.value.hint


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_weight_of_three_decimals_is_plain_only_between_commas(tmp_path, separator):
    """A comma-separated file cannot have plain decimal commas, so its dots are decimal points."""
    path = with_weight(tmp_path, "1.234", separator)
    if separator == ",":
        assert weights_read(path) == [1.234]
    else:
        with pytest.raises(ArrivalError, match=r"is ambiguous: 1\.234 or 1234"):
            weights_read(path)


EXPLAINED = {
    (None, "."): {"1.000": 1000, "12.500": 12500, "1.000.000": 1_000_000, "12": 12, "12,0": 12, "1,000": 1},
    (None, ","): {"1,000": 1000, "1,000,000": 1_000_000, "12.0": 12, "12.000": 12},
    (None, " "): {"1 000": 1000, "1\u00a0000": 1000, "1\u2009000\u202f000": 1_000_000, "12.000": 12},
    (None, "'"): {"1'000": 1000, "1\u2019000": 1000, "12.000": 12},
    (".", None): {"1.000": 1, "12.000": 12},
    (",", None): {"1,000": 1, "12,0": 12},
    (",", " "): {"1 000,0": 1000, "12,000": 12},
    (",", "'"): {"1'000,000": 1000},
    (".", ","): {"1,000.000": 1000},
}


@pytest.mark.parametrize("given", EXPLAINED)
@pytest.mark.parametrize("separator", [",", ";"])
def test_options_give_marks_their_meaning(tmp_path, given, separator):
    for text, expected in EXPLAINED[given].items():
        assert counts_read(with_count(tmp_path, text, separator), marks_of(*given)) == [expected]


AGAINST = {
    ((None, "."), "12.5"): "with --decimal . it is 12.5",
    ((None, "."), "1.00"): "with --decimal . it is 1",
    ((".", None), "1,000"): "with --thousands , it is 1000",
    ((",", None), "1.000"): "with --thousands . it is 1000",
    ((None, " "), "1.000.000"): "with --thousands . it is 1000000",
    ((None, ","), "1,00,000"): "correct the number, or these options",
}


@pytest.mark.parametrize(("given", "text"), AGAINST)
def test_a_number_against_the_options_is_refused(tmp_path, given, text):
    marks = marks_of(*given)
    with pytest.raises(ArrivalError) as caught:
        counts_read(with_count(tmp_path, text, ";"), marks)
    assert f"count {text!r} does not agree with {marks.options}" in caught.value.message
    assert AGAINST[given, text] in caught.value.hint


def grouped(digits, mark):
    head = len(digits) % 3 or 3
    return mark.join([digits[:head], *(digits[at : at + 3] for at in range(head, len(digits), 3))])


STYLES = [(d, t) for d in ".," for t in ("", ".", ",", "'", " ", "\u00a0", "\u202f", "\u2019") if d != t]


@given(st.integers(0, 2**64 - 1), st.text("0123456789", max_size=8), st.sampled_from(STYLES), st.booleans())
def test_no_number_is_read_as_another(number, fraction, style, comma_separated):
    """A number in any style, read without options, is the number or refused; with the style's options, the number."""
    decimal, thousands = style
    text = (grouped(str(number), thousands) if thousands else str(number)) + (decimal + fraction if fraction else "")
    meant = Decimal(f"{number}.{fraction}" if fraction else number)
    options = marks_of(decimal, {"\u00a0": " ", "\u202f": " ", "\u2019": "'"}.get(thousands, thousands) or None)
    assert Decimal(plain(text, options, whole=True, comma_separated=comma_separated)) == meant
    try:
        read = Decimal(plain(text, Marks(), whole=True, comma_separated=comma_separated))
    except (Refused, ArithmeticError):
        return  # refused here, or left as it is for the column to refuse
    assert read == meant


def test_text_that_is_not_a_number_is_left_to_its_column():
    for text in ("", "shop-1", "2026 001", "1.2.3", ".", ",", "1..000", "1.000 EUR", "\u0663.\u0660\u0660\u0660"):
        assert plain(text, Marks(), whole=False, comma_separated=False) == text


def test_a_table_in_the_european_style_is_the_same_table(tmp_path):
    plain_world = import_world(request_of(tmp_path, edited(counts=GOOD["counts"].replace(",6\n", ",1006\n"))))
    (tmp_path / "world").rename(tmp_path / "first")
    counts = GOOD["counts"].replace(",6\n", ",1.006\n").replace(",", ";")
    sites = GOOD["sites"].replace(",", ";").replace("0.5", "0,5")
    european = edited(counts=counts, sites=sites)
    refused(request_of(tmp_path, european), SCHEMA_BAD, "counts.csv, line 5: count '1.006' is ambiguous: 1.006 or 1006")
    assert import_world(request_of(tmp_path, european, thousands=".")).identity == plain_world.identity


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"thousands": ";"}, ("--thousands ';' is not a mark", "give one of ., ,, \"'\", ' '")),
        ({"decimal": "'"}, ("is not a mark", "give one of ., ,")),
        ({"decimal": ".", "thousands": "."}, ("one mark cannot be the decimal sign and group thousands",)),
        ({"thousands": ""}, ("--thousands '' is not a mark",)),
    ],
)
def test_marks_that_the_import_does_not_know_are_refused(tmp_path, options, says):
    with pytest.raises(ArrivalError) as caught:
        import_world(request_of(tmp_path, GOOD, **options))
    assert caught.value.code == Code.OPTION_INVALID
    for text in says:
        assert text in f"{caught.value.message} -> {caught.value.hint}"
