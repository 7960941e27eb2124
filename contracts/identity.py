"""Run identity and the partition tokens that may appear in a path."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any

from arrival_engine.contracts.errors import ArrivalError, Code
from arrival_engine.contracts.safe_text import is_line

U64_MAX = 2**64 - 1
_HEX64 = re.compile(r"[a-f0-9]{64}")
_HEX32 = re.compile(r"[a-f0-9]{32}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,19}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# A path component holds 255 bytes on the usual file systems; the longest token name and its "=" take 21.
_TOKEN_BYTES_MAX = 200


def _is_day(value: str) -> bool:
    if not _DAY.fullmatch(value):
        return False
    try:
        dt.date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _form_fault(name: str, value: str) -> str:
    """The fault of `value` in the form that `name` requires; empty if there is none."""
    if name in ("manifest_fingerprint", "parameter_hash") and not _HEX64.fullmatch(value):
        return "is not 64 lower-case hexadecimal digits"
    if name == "run_id" and not _HEX32.fullmatch(value):
        return "is not 32 lower-case hexadecimal digits"
    if name == "seed" and not (_DECIMAL.fullmatch(value) and int(value) <= U64_MAX):
        return "is not a plain decimal number from 0 to 2^64-1"
    if name == "utc_day" and not _is_day(value):
        return "is not a calendar day YYYY-MM-DD"
    return ""


def _fault(name: str, value: object) -> str:
    """The fault of `value` as the token `name`; empty if there is none."""
    if not isinstance(value, str):
        return f"is {type(value).__name__}, not text"
    if value in ("", ".", ".."):
        return "is empty or a relative path step"
    if "/" in value or "\\" in value or not is_line(value):
        return "contains a path separator, a control character or a mark of writing direction"
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        return "is not valid Unicode text"
    if size > _TOKEN_BYTES_MAX:
        return f"is longer than {_TOKEN_BYTES_MAX} bytes"
    return _form_fault(name, value)


def check_token(name: str, value: str) -> str:
    """Return `value` if it is valid as the partition token `name` in a path.

    Raises PARTITION_OR_PK_VIOLATION for empty text, `.`, `..`, separators, NUL and other control characters,
    and for hashes, run ids, seeds and days in another form.
    """
    fault = _fault(name, value)
    if fault:
        raise ArrivalError(
            Code.PARTITION_OR_PK_VIOLATION,
            f"path token {name}={value!r} {fault}",
            hint=f"give {name} in the form that the dataset dictionary's partitions expect",
            token=name,
            value=value,
        )
    return value


@dataclass(frozen=True)
class Identity:
    """Identity of a run: two 64-digit hashes, an unsigned 64-bit seed, and the 32-digit run id.

    Raises PARTITION_OR_PK_VIOLATION if one of them has another form. The run id influences no data.
    """

    manifest_fingerprint: str
    parameter_hash: str
    seed: int
    run_id: str

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int):
            raise ArrivalError(
                Code.PARTITION_OR_PK_VIOLATION,
                f"seed {self.seed!r} is {type(self.seed).__name__}, not an integer",
                hint="give the seed as a whole number from 0 to 2^64-1",
                value=self.seed,
            )
        self.tokens()

    def columns(self) -> dict[str, str | int]:
        """The values of a dataset's identity columns, which exclude the run id."""
        return {
            "manifest_fingerprint": self.manifest_fingerprint,
            "parameter_hash": self.parameter_hash,
            "seed": self.seed,
        }

    def document(self) -> dict[str, Any]:
        """The identity as a JSON document states it."""
        return {**self.columns(), "run_id": self.run_id}

    def tokens(self, **extra: str) -> dict[str, str]:
        """The path tokens as text, with `extra` ones (such as `scenario_id`) added; each value is checked."""
        tokens = {
            **{name: str(value) for name, value in self.document().items()},
            **extra,
        }
        return {name: check_token(name, value) for name, value in tokens.items()}
