"""Every target by name."""

from __future__ import annotations

from tests.fuzz import binaries, documents, logs, stores, tables, words
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (documents, logs, binaries, stores, tables, words) for target in module.TARGETS
}
