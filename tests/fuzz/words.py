"""Words from command lines, names of files and cells of tables."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from arrival_engine.contracts.identity import check_token
from arrival_engine.contracts.moments import microseconds, utc_text
from arrival_engine.contracts.part_names import parse_part_name
from arrival_engine.engine.cli.places import BATCH_ARRIVALS, INSTANT, PLACE, TABLE, U64
from arrival_engine.engine.cli.values import Choice, FilePath, FolderPath, Number
from arrival_engine.engine.importing import times, values, zone_texts
from arrival_engine.engine.importing.numbers import Marks, plain
from arrival_engine.engine.importing.values import Refused
from tests.fuzz.mutation import mutated_bytes, mutated_words, one_of
from tests.fuzz.target import Opened, Target, demand

_WORDS = one_of(mutated_words, mutated_words, mutated_words, mutated_bytes)


def _text(data: bytes) -> str:
    # As the operating system gives arguments and names.
    return data.decode("utf-8", "surrogateescape")


def _options(_folder: Path) -> Opened:
    """Values of options; the first byte chooses the type."""
    types: tuple[Any, ...] = (
        U64, BATCH_ARRIVALS, Number(0.0), INSTANT, PLACE, TABLE, FilePath(), FolderPath(),
        Choice(["cpu", "cuda"]),
    )  # fmt: skip
    words = (
        b"42",
        b"500_000",
        b"0.25",
        b"2026-01-31T09:30:00Z",
        b"s3://b/run?region=x",
        b"a.csv",
        b"out/x",
        b"run",
        b"cpu",
    )

    def read(data: bytes) -> str:
        kind = types[(data or b"\0")[0] % len(types)]
        try:
            found = kind.convert(_text(data[1:]), None, None)
        except click.UsageError as error:
            demand(error.message, "a refusal without a reason")
            return f"{kind.name} refused"
        if kind is U64:
            assert 0 <= found < 2**64
        if isinstance(found, float):
            assert math.isfinite(found)
            assert found > 0
        return str(kind.name)

    def mutate(data: bytes, draw: Any) -> bytes:
        return data[:1] + _WORDS(data[1:], draw)

    return Opened([bytes([at]) + word for at, word in enumerate(words)], mutate, read)


def _instant(_folder: Path) -> Opened:
    """Instants of options, compared with Python's own reader."""

    def read(data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        try:
            found = microseconds(text)
        except ValueError as error:
            demand(str(error), "a refusal without a reason")
            return "refused"
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=found)
        assert microseconds(utc_text(found)) == found
        if "." not in text:
            assert moment == datetime.fromisoformat(text.upper())
        return "an instant"

    samples = [
        b"2026-01-31T09:30:00Z",
        b"2026-01-31T10:30:00.2500001+01:00",
        b"1970-01-01 00:00:00-00:30",
        b"9998-12-31t23:59:59z",
    ]
    return Opened(samples, _WORDS, read)


def _cells(_folder: Path) -> Opened:
    """Cells of a user's table, by each kind of column; the first byte chooses."""
    readers: tuple[Any, ...] = (
        values.merchant_id, values.count, values.order, values.bucket_index, values.weight, zone_texts.tzid,
        values.country, values.channel, values.mode, lambda cell: times.instant(cell, assume_utc=True),
        lambda cell: times.bucket_start(cell, assume_utc=False), times.day_start, zone_texts.ZoneReader().optional_tzid,
    )  # fmt: skip
    words = ("12", "3.0", "7", "0", "0.25", "Europe/Berlin", "DE", "online", "HYBRID", "2026-03-29T01:00:00Z",
             "2026-03-29 01:00+02:00", "2026-03-29", "")  # fmt: skip

    def read(data: bytes) -> str:
        at = (data or b"\0")[0] % len(readers)
        cell = data[1:].decode("utf-8", "replace")
        try:
            found = readers[at](cell)
        except Refused as refused:
            demand(refused.what and refused.hint, "a refusal without a reason or a hint")
            return f"{at} {refused.code.value} {refused.what[:24]}"
        if isinstance(found, float):
            assert math.isfinite(found)
        if isinstance(found, str):
            assert "\0" not in found
            assert "\x1b" not in found
        return f"{at}"

    def mutate(data: bytes, draw: Any) -> bytes:
        return data[:1] + _WORDS(data[1:], draw)

    return Opened([bytes([at]) + word.encode() for at, word in enumerate(words)], mutate, read)


def _marks(_folder: Path) -> Opened:
    """Numbers with marks, under every reading; a reading leaves no mark but a decimal point."""
    every = [Marks(decimal, thousands) for decimal in ("", ".", ",") for thousands in ("", ".", ",", "'", " ")]
    every = [marks for marks in every if not marks.decimal or marks.decimal != marks.thousands]

    def read(data: bytes) -> str:
        text, seen = data.decode("utf-8", "replace"), set()
        for marks in every:
            for whole in (True, False):
                for comma_separated in (True, False):
                    try:
                        found = plain(text, marks, whole=whole, comma_separated=comma_separated)
                    except Refused as refused:
                        demand(refused.hint, "a refusal without a hint")
                        seen.add("refused")
                        continue
                    if found != text:
                        float(found)
                        seen.add("read")
        return " ".join(sorted(seen)) or "no marks"

    samples = [b"1.000", b"1.234,5", b"12 345", "1\u202f000,25".encode(), b"-1'000.5e3", b"0,5"]
    return Opened(samples, _WORDS, read)


def _names(_folder: Path) -> Opened:
    """Names of part files, and tokens of paths."""

    def read(data: bytes) -> str:
        text = _text(data)
        name = parse_part_name(text)
        if name is not None:
            assert str(name) == text
        token = check_token("scenario_id", text)
        assert token == text
        assert not set(token) & set("/\\\0\n\x1b")
        token.encode()
        return "a part" if name else "a token"

    samples = [b"part-000001-0123456789ab.parquet", b"part-000000.arrow", b"baseline_v1", "\u00e4 b".encode()]
    return Opened(samples, _WORDS, read)


TARGETS = (
    Target("option", "values of options", _options),
    Target("instant", "instants of options, compared with Python's reader", _instant),
    Target("cell", "cells of a user's tables", _cells),
    Target("number_marks", "numbers with decimal and thousands marks", _marks),
    Target("name", "names of part files and tokens of paths", _names),
)
