"""The fuzz targets on sound inputs and some thousand plain mutations of them; `python -m tests.fuzz` goes further."""

from __future__ import annotations

import random

import pytest

from arrival_engine.contracts import ArrivalError
from arrival_engine.engine.tz.tzc1 import decode
from tests.fuzz.targets import TARGETS, seeds


def mutated(data, draw):
    """One to four small damages: flipped, inserted, removed, repeated bytes."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(out) + 1)
        match draw.randrange(4):
            case 0 if out:
                out[at % len(out)] ^= 1 << draw.randrange(8)
            case 1:
                out[at:at] = draw.randbytes(draw.choice((1, 4, 64)))
            case 2:
                del out[at : at + draw.choice((1, 8, 200))]
            case _:
                out[at:at] = out[: draw.choice((2, 12, 100))]
    return bytes(out)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_are_refused_by_name_or_read_soundly(name):
    draw = random.Random(f"fuzz {name}")
    for seed in seeds(name):
        TARGETS[name](seed)
        for _ in range(1500 // len(seeds(name))):
            TARGETS[name](mutated(seed, draw))


def test_the_seeds_get_past_the_first_check():
    assert decode(seeds("tzc1")[0], "seed").tzids == ("Etc/UTC", "Europe/Berlin")
    with pytest.raises(ArrivalError):
        decode(b"", "empty")
