"""Documents with any number of faults: the message is short, and finding it takes no longer than the document is."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry

from arrival_engine.contracts import ArrivalError, Code, check_document
from arrival_engine.contracts.plainness import nested_deeper, repeated
from arrival_engine.contracts.schemas import _hashable, _validator

MESSAGE_MAX = 800


def fault(schema: str, document: object) -> str:
    with pytest.raises(ArrivalError) as caught:
        check_document(schema, document, code=Code.SCHEMA_VIOLATION, where="here")
    assert len(caught.value.message) < MESSAGE_MAX
    assert len(str(caught.value.context)) < MESSAGE_MAX
    return caught.value.message


def test_a_million_faults_are_not_all_looked_for():
    assert "at /0: missing key" in fault("sealed_inputs_5B", [{}] * 1_000_000)
    assert "one of at least 1000 faults" in fault("sealed_inputs_5B", [{}] * 1_000_000)
    assert "one of 6 faults" not in fault("sealed_inputs_5B", [{}] * 1000)


FLAG = {"manifest_fingerprint": "0" * 64, "bundle_digest_sha256": "0" * 64}


def test_unknown_keys_are_named_by_number():
    check_document("passed_flag", FLAG, code=Code.SCHEMA_VIOLATION, where="here")
    strangers = {f"bundle_digest_sha{number:06}": 1 for number in range(300_000)}
    assert "and 299995 more" in fault("passed_flag", {**FLAG, **strangers})
    assert "missing key" in fault("passed_flag", strangers)


@pytest.mark.parametrize("text", ["k" * 2_000_000, "\x00" * 2_000_000], ids=["letters", "controls"])
def test_a_key_or_a_value_of_any_length_is_cut(text):
    assert "unknown key" in fault("passed_flag", {**FLAG, text: 1})
    assert "/bundle_digest_sha256" in fault("passed_flag", {**FLAG, "bundle_digest_sha256": text})


UNIQUE = {"type": "array", "uniqueItems": True}
LISTS = [
    [], [1, 2], [1, 1], [1, True], [True, True], [1, "1"], [1, 1.0], [None, None], [None, 0, False, "", [], {}],
    [[1], [True]], [[1], [1]], [{"a": 1}, {"a": True}], [{"a": 1, "b": [2]}, {"b": [2], "a": 1}], [[1, [2]], [[2], 1]],
]  # fmt: skip


@pytest.mark.parametrize("items", LISTS, ids=str)
def test_repeated_items_are_those_that_json_schema_means(items):
    ours = _validator("validation_policy_5B").evolve(schema=UNIQUE)
    assert ours.is_valid(items) == Draft202012Validator(UNIQUE).is_valid(items)


def test_nesting_and_repetition():
    assert not nested_deeper(1, 0)
    assert nested_deeper([], 0)
    assert not nested_deeper([1, {"a": 2}], 2)
    assert nested_deeper([1, {"a": [2]}], 2)
    assert repeated(["a", "b"]) == ""
    assert repeated(["b", "a", "b", "a", "c"]) == "'a', 'b'"
    assert _hashable([1]) != _hashable([True])


def test_schemas_that_a_schema_refers_to_are_not_searched_once_per_fault(monkeypatch):
    """Counted are the searches of a registry for schemas within schemas, which took most of a refusal."""
    searched = []
    original = Registry.crawl

    def counted(registry):
        searched.append(registry)
        return original(registry)

    monkeypatch.setattr(Registry, "crawl", counted)
    for document in ([{}] * 1000, [{"manifest_fingerprint": 1, "bytes": "x", "sha256_hex": "?"}] * 10):
        fault("sealed_inputs_5B", document)
    assert not searched
