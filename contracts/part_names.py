"""Names of the part files of arrivals: a number, which orders them, and a token of their publication.

part-<number, six digits>-<token, twelve digits>.<format>    published
part-<number, six digits>.<format>                            staged, and published by version 0.1.0

The token is made of the bytes of all parts. So publications that differ in any byte have no name in common: a reader
that listed one of them and opens the files of another finds none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

TOKEN_DIGITS = 12
_NAME = re.compile(rf"(part-[0-9]{{6,}})(?:-([0-9a-f]{{{TOKEN_DIGITS}}}))?\.(parquet|arrow)")


class PartName(NamedTuple):
    """A name's three parts; `token` is empty for a name without one."""

    stem: str
    token: str
    format: str

    @property
    def number(self) -> int:
        """The place of the part in arrival order, from 0."""
        return int(self.stem.removeprefix("part-"))

    def __str__(self) -> str:
        return f"{self.stem}{f'-{self.token}' if self.token else ''}.{self.format}"


def part_name(number: int, file_format: str, token: str = "") -> str:
    """The file name of part `number`, counted from 0; names in their order are in arrival order."""
    return str(PartName(f"part-{number:06d}", token, file_format))


def parse_part_name(name: str) -> PartName | None:
    """What a file name says; None for the name of something else."""
    match = _NAME.fullmatch(name)
    return PartName(match[1], match[2] or "", match[3]) if match else None


def published_name(staged: str, token: str) -> str:
    """The name of a staged part in the publication with this token. Raises ValueError for any other file."""
    name = parse_part_name(staged)
    if name is None:
        raise ValueError(f"{staged} is not the name of a part file")
    return str(name._replace(token=token))


def publication_token(part_sha256s: Iterable[str]) -> str:
    """The token of parts whose files have these SHA-256, in arrival order: SHA-256 of their lines, shortened."""
    digest = hashlib.sha256("".join(f"{sha256}\n" for sha256 in part_sha256s).encode("ascii"))
    return digest.hexdigest()[:TOKEN_DIGITS]


def naming_fault(names: Sequence[str]) -> str:
    """What is wrong with the names of a scenario's parts, in their order; empty for those of one publication."""
    found = [parse_part_name(name) for name in names]
    parts = [part for part in found if part is not None]
    for name, part in zip(names, found, strict=True):
        if part is None:
            return f"{name} is not the name of a part"
    formats, tokens = (sorted({part[field] for part in parts}) for field in (2, 1))
    if len(formats) > 1:
        return f"parts of several formats: {', '.join(formats)}"
    if len(tokens) > 1:
        return f"parts of several publications: {', '.join(token or 'one without a token' for token in tokens)}"
    for number, part in enumerate(parts):
        if part.stem != f"part-{number:06d}":
            return f"part {number} is named {part}"
    return "" if parts else "there is no part"
