"""Structs of the compact protocol read by the form of their fields: exactly those, or with further ones."""

from __future__ import annotations

import pytest

from arrival_engine.contracts.thrift import BINARY, I16, I32, I64, TRUE, Compact

FORM = {1: I32, 2: BINARY, 3: TRUE, 4: [I64], 5: {1: I16}, 6: [TRUE], 7: [{1: TRUE}], 9: [BINARY]}
STRUCT = bytes.fromhex("1505 18026869 12 192604 06 1c 1403 00 192101 02 191c 11 00 29 28 01 41 00 00")
FOUND = {1: -3, 2: b"hi", 3: False, 4: [2, 3], 5: {1: -2}, 6: [True, False], 7: [{1: True}], 9: [b"A", b""]}


def test_a_struct_is_read_by_its_form():
    thrift = Compact(STRUCT)
    assert thrift.record(FORM) == FOUND
    assert thrift.at == len(STRUCT)


def test_a_list_without_elements_may_be_of_any_type():
    assert Compact(b"\x49\x08\x00").record(FORM) == {4: []}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\x16\x02\x00", "field 1 of type 6"),
        (b"\x15\x02\x05\x02\x02\x00", "field 1 is there twice"),
        (b"\x85\x02\x00", "field 8 of type 5"),
        (b"\x49\x15\x02\x00", "a list of type 5"),
        (b"\x69\x15\x02\x00", "a list of type 5"),
        (b"\x69\x11\x03\x00", "a list of booleans has other values"),
        (b"\x79\x11\x01\x00", "a list of type 1"),
        (b"\x5c\x15\x02\x00\x00", "field 1 of type 5"),
        (b"\x49\xf6\xff\x01", "a list is longer"),
        (b"\x15", "ends within a value"),
        (b"\x15\x02", "ends within a value"),
        (b"\x28\x09ab", "ends within a value"),
    ],
)
def test_a_struct_of_another_form_is_refused(data, fault):
    with pytest.raises(ValueError, match=fault):
        Compact(data).record(FORM)


def test_further_fields_are_skipped_where_they_are_allowed():
    further = b"\x15\x02\x7c\x15\x02\x00\x2b\x00\x00"
    with pytest.raises(ValueError, match="field 8 of type 12"):
        Compact(further).record(FORM)
    assert Compact(further).record(FORM, further=True) == {1: 1}
    assert Compact(b"\x5c\x14\x02\x15\x02\x00\x00").record(FORM, further=True) == {5: {1: 1}}
    with pytest.raises(ValueError, match="field 1 of type 6"):
        Compact(b"\x16\x02\x00").record(FORM, further=True)
