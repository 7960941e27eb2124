"""Whether a CUDA device can be used here, and if not, why."""

from __future__ import annotations

from importlib.util import find_spec


def unusable_reason() -> str:
    """Why no CUDA device can be used; empty when one can. Never raises, never initialises a device it cannot use."""
    for package, extra in (("numba_cuda", "numba-cuda"), ("cupy", "CuPy")):
        if find_spec(package) is None:
            return f"{extra} is not installed (extras: arrival-engine[cuda12] or [cuda13])"
    return "this release has no CUDA kernels yet"
