"""The known answers: those in vectors/, and the digest of the demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

VECTORS = Path(__file__).parent / "vectors"
# What `make demo` ends with; no change of the layout, of a version or of an option moves it.
DEMO_DIGEST = "1001705-8787e2f30c643c4991590c0fab10d15d"


class PhiloxAnswer(NamedTuple):
    word0: int
    word1: int
    key: int
    x0: int
    x1: int


def philox_answers() -> list[PhiloxAnswer]:
    """Every Philox2x64-10 line of random123.txt and philox_edges.txt."""
    answers = []
    for name in ("random123.txt", "philox_edges.txt"):
        for line in (VECTORS / name).read_text(encoding="ascii").splitlines():
            if line.startswith("#"):
                continue
            kind, rounds, *words = line.split()
            if (kind, rounds) != ("philox2x64", "10"):
                raise ValueError(f"{name}: unknown vector {line!r}")
            answers.append(PhiloxAnswer(*(int(word, 16) for word in words)))
    return answers


def law_vectors() -> dict[str, Any]:
    """vectors/law.json: section 8 of the law, 64-bit words as hexadecimal text."""
    return json.loads((VECTORS / "law.json").read_text(encoding="ascii"))
