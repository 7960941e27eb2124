"""Makes Philox wrong, from the start, in every Python process that has this folder on its path.

A process that compiles kernels under this fault needs a kernel cache of its own: numba does not see the change.
"""

from __future__ import annotations

from arrival_engine.cpu_fallback import philox

philox.MULTIPLIER -= 1
