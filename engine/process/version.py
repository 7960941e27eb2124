"""The engine's version and a digest of the code that decides output bits."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version

LAW_VERSION = 2
# The IANA release that civil times are checked against, and the version of the `tzdata` package that carries it.
TZDATA_RELEASE, TZDATA_VERSION = "2026f", "2026.6"


def version() -> str:
    """The distribution's version; `source` if it is not installed."""
    try:
        return distribution_version("arrival-engine")
    except PackageNotFoundError:
        return "source"


def code_digest() -> str:
    """SHA-256 over every law and kernel source."""
    from arrival_engine.cpu_fallback.jit import kernel_sources

    state = hashlib.sha256()
    for path in kernel_sources():
        state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()
