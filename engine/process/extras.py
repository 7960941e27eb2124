"""Packages of the distribution's extras."""

from __future__ import annotations

from importlib.util import find_spec

from arrival_engine.contracts import ArrivalError, Code

EXTRAS = {
    "report": ("matplotlib", "jinja2"),
    "dask": ("distributed", "cryptography"),
    "delta": ("deltalake",),
    "iceberg": ("pyiceberg",),
}


def require(extra: str, purpose: str) -> None:
    """Raise DEPENDENCY_MISSING, naming the extra, if one of its packages is not installed."""
    missing = [name for name in EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise ArrivalError(
            Code.DEPENDENCY_MISSING,
            f"{purpose} needs {' and '.join(missing)}, which this installation lacks",
            hint=f"pip install 'arrival-engine[{extra}]'",
        )
