"""Reading of sealed inputs: a file hands out only bytes that the seal check has hashed.

The check keeps a hash per block of each file that it hashes. Later readers of the file read whole blocks and compare
each with its hash, so that no change after the check is ever used.
"""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EINVAL
from functools import partial
from typing import IO, TYPE_CHECKING, Any, cast

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import writing

if TYPE_CHECKING:
    from arrival_engine.config.policies import Policy

BLOCK_BYTES = 2**20
_DIGEST_BYTES = 32
_COPY = "checked"
# Neighbouring columns share the block at their border.
_KEPT_BLOCKS = 2


@dataclass(frozen=True)
class Blocks:
    """A file as it was hashed: its size, and the SHA-256 of each MiB, one after another."""

    size: int
    digests: bytes

    def digest(self, block: int) -> bytes:
        """SHA-256 of one block."""
        return self.digests[block * _DIGEST_BYTES : (block + 1) * _DIGEST_BYTES]


@dataclass(frozen=True)
class SealedFiles:
    """The inputs of a run as the seal check found them.

    blocks: of each file by its path below the run root; of_dataset: these paths by dataset id; policies: by id.
    """

    blocks: Mapping[str, Blocks]
    of_dataset: Mapping[str, tuple[str, ...]]
    policies: Mapping[str, Policy]


@dataclass(frozen=True)
class InputFile:
    """A file to read, checked block by block if it is sealed; safe to send to another process."""

    path: InsidePath
    blocks: Blocks | None = None

    def open(self) -> IO[bytes]:
        """The file's bytes. Raises OSError.

        Reading raises S0_GATE_MISSING_OR_INVALID for a sealed file that differs.
        """
        raw = self.path.open("rb", 0)
        return cast("IO[bytes]", raw if self.blocks is None else CheckedFile(raw, self.path, self.blocks))


class CheckedFile(io.RawIOBase):
    """A file that reads whole blocks and compares each with its hash before it hands out a byte."""

    def __init__(self, file: io.FileIO, path: InsidePath, blocks: Blocks) -> None:
        super().__init__()
        self._file, self._path, self._blocks = file, path, blocks
        self._at = 0
        self._kept: dict[int, memoryview] = {}

    def close(self) -> None:
        """Close the file."""
        self._kept.clear()
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, counted from the start, from here or from the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._blocks.size}[whence]
        if base + offset < 0:
            raise OSError(EINVAL, os.strerror(EINVAL))
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the file goes; return the number of bytes."""
        target = memoryview(buffer).cast("B")
        wanted = max(min(len(target), self._blocks.size - self._at), 0)
        done = 0
        while done < wanted:
            block, first = divmod(self._at, BLOCK_BYTES)
            part = self._block(block)[first : first + wanted - done]
            target[done : done + len(part)] = part
            done += len(part)
            self._at += len(part)
        return done

    def readall(self) -> bytes:
        """Everything from here to the end."""
        data = bytearray(max(self._blocks.size - self._at, 0))
        self.readinto(data)
        return bytes(data)

    def _block(self, block: int) -> memoryview:
        if block not in self._kept:
            while len(self._kept) >= _KEPT_BLOCKS:
                del self._kept[next(iter(self._kept))]
            self._kept[block] = self._checked(block)
        return self._kept[block]

    def _checked(self, block: int) -> memoryview:
        data = memoryview(bytearray(min(BLOCK_BYTES, self._blocks.size - block * BLOCK_BYTES)))
        self._file.seek(block * BLOCK_BYTES)
        if filled(self._file, data) < len(data) or hashlib.sha256(data).digest() != self._blocks.digest(block):
            raise changed(self._path)
        return data


@contextmanager
def checked_copy(file: InputFile, folder: InsidePath) -> Iterator[str]:
    """A checked copy for a library that opens paths only: a path that is the open copy itself.

    The copy lies in `folder`, which must be this process's own, and has no name there. Raises IO_WRITE_FAILED, OSError,
    and what reading raises.
    """
    written = partial(writing, "copy of an input", folder)
    place = folder / f"{_COPY}-{secrets.token_hex(8)}"
    with written():
        copy = place.open("xb", 0)
    with copy:
        with written():
            place.unlink()
        with file.open() as source:
            while data := source.read(BLOCK_BYTES):
                with written():
                    copy.write(data)
        yield f"/dev/fd/{copy.fileno()}"


def filled(file: io.FileIO, buffer: memoryview) -> int:
    """Read until the buffer is full or the file ends; the number of bytes read."""
    done = 0
    while done < len(buffer) and (size := file.readinto(buffer[done:])):
        done += size
    return done


def changed(path: InsidePath) -> ArrivalError:
    """The error for a sealed file whose bytes are no longer those that the seal check hashed."""
    return ArrivalError(
        Code.S0_GATE_MISSING_OR_INVALID,
        f"{path} changed while it was being read: its bytes are not those that were compared with the seal",
        hint="let nothing write below the run directory, restore the inputs that were sealed, and run this again",
        path=path,
    )
