"""S5's codes for failures of the readers that it shares with other states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from arrival_engine.contracts import ArrivalError, Code, unforeseen


@contextmanager
def own_codes() -> Iterator[None]:
    """Translate failures of shared readers to S5's codes."""
    try:
        yield
    except ArrivalError as error:
        code = _S5.get(error.code)
        if code is None:
            raise
        raise ArrivalError(code, error.message, hint=error.hint, **error.context) from error
    except KeyboardInterrupt:
        raise
    except Exception as failure:
        raise unforeseen(failure, Code.S5_UNEXPECTED_INTERNAL_ERROR) from failure


def _s5_codes() -> dict[Code, Code]:
    # A reader's failure without a code of S5 means that an input differs from what was sealed.
    return {
        code: Code.__members__.get(f"S5_{code.name}", Code.S5_S0_SEALED_INPUTS_INCONSISTENT)
        for code in Code
        if code.value.startswith("5B.S4.")
    }


_S5 = _s5_codes()
