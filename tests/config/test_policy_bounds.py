"""Policies of another program: refused within bounds of time and depth, whatever they hold.

A size is such that work which grows with its square would take minutes.
"""

from __future__ import annotations

import pytest

from arrival_engine.config.policies import SIZE_MAX, checked_policy, packaged_bytes
from arrival_engine.config.strict import DEPTH_MAX, FormatError, parse_json, parse_yaml
from arrival_engine.contracts import ArrivalError, Code

VALIDATION = packaged_bytes("validation_policy_5B").decode()
OPTIONAL = "optional: [2B]"


def test_json_nests_as_deep_as_yaml():
    for parse in (parse_json, parse_yaml):
        assert parse(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX)
        for levels in (DEPTH_MAX + 1, 900, SIZE_MAX):
            with pytest.raises(FormatError, match="nested"):
                parse(b"[" * levels + b"]" * levels)


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028"], ids=["lf", "cr", "nel", "ls"])
@pytest.mark.parametrize("before", ["", "a: 1\n...", "# first"], ids=["first", "after a document", "after a comment"])
def test_tag_directives_are_refused_before_the_library_compares_them_all(before, end):
    directives = end.join([before, *(f"%TAG !{number}! x" for number in range(60_000)), "--- {a: 1}"])
    text = directives if before else directives.removeprefix(end)
    with pytest.raises(FormatError, match=r"^%TAG directives are not allowed$"):
        parse_yaml(text.encode())


def test_a_percent_sign_elsewhere_is_text():
    assert parse_yaml(b"a: '%TAG !a! x'\nc: |\n  %TAG\n") == {
        "a": "%TAG !a! x",
        "c": "%TAG\n",
    }


def test_a_long_list_without_an_order_is_compared_by_value():
    # All but one are of the allowed type, so that the list has few faults of other kinds.
    items = ", ".join(["1", *(f"x{number}" for number in range(100_000))])
    with pytest.raises(
        ArrivalError, match="at /require_upstream_pass/optional/0: value 1 is not of type string"
    ) as caught:
        checked_policy("validation_policy_5B", VALIDATION.replace(OPTIONAL, f"optional: [{items}]").encode(), "policy")
    assert caught.value.code == Code.ROUTING_POLICY_INVALID
    assert OPTIONAL in VALIDATION


@pytest.mark.parametrize("key", ["k" * 10**6, "k" * 300], ids=len)
def test_a_key_of_any_length_is_named_in_a_short_message(key):
    for text in (f"? {key}\n: 1\n? {key}\n: 2\n", f'{{"{key}": 1, "{key}": 2}}'):
        with pytest.raises(FormatError, match="appears twice") as caught:
            (parse_json if text.startswith("{") else parse_yaml)(text.encode())
        assert len(str(caught.value)) < 200
