"""Destinations of a stream: a descriptor of this process, or a listener on this machine."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import select
import socket
import struct
import termios
import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.engine.process.streams import output_failure

__all__ = ["Address", "DescriptorSink", "Sink", "SocketSink", "connect", "parse_output"]

_CONNECT_SECONDS = 10.0
_POLL_SECONDS = 0.002
_SCHEME = "tcp://"


class Sink(Protocol):
    """Takes bytes, as slowly as its reader does."""

    def write(self, data: memoryview) -> int:
        """Write some of the bytes, waiting until there is room; return their number."""

    def finish(self) -> None:
        """Wait until everything is handed over."""

    def failure(self, error: OSError) -> Exception:
        """The exception to raise for an error of `write` or `finish`."""


class Address(NamedTuple):
    """A listener on this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{_SCHEME}[{self.host}]:{self.port}" if ":" in self.host else f"{_SCHEME}{self.host}:{self.port}"


def parse_output(text: str) -> Address | None:
    """A listener's address, or None for "-", standard output. Raises ValueError.

    Only loopback addresses are allowed: this is a generator, not a network client, and has neither encryption nor
    passwords. To send arrivals further, use a program that has them.
    """
    if text == "-":
        return None
    host, colon, port = text.removeprefix(_SCHEME).rpartition(":")
    if not text.startswith(_SCHEME) or not colon or not port.isascii() or not port.isdecimal():
        raise ValueError(f"{text!r} is neither - (standard output) nor tcp://127.0.0.1:PORT")
    if not 0 < int(port) < 1 << 16:
        raise ValueError(f"{text!r}: a port is a number from 1 to 65535")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    if not _is_loopback(host):
        raise ValueError(
            f"{text!r} is not on this machine. This tool is not a network client: it does not encrypt or log in. Give "
            "a loopback address, 127.0.0.1 or [::1], or pipe standard output into a program made for it, such as kcat "
            "or nc"
        )
    return Address(host, int(port))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class DescriptorSink:
    """An open descriptor, such as standard output."""

    descriptor: int

    def write(self, data: memoryview) -> int:
        """Write some of the bytes; return their number."""
        while True:
            try:
                return os.write(self.descriptor, data)
            except BlockingIOError:
                # The process that opened it made it non-blocking, and may rely on that.
                select.select([], [self.descriptor], [])

    def finish(self) -> None:
        """Nothing to wait for."""

    def failure(self, error: OSError) -> Exception:
        """BrokenPipeError for a reader that closed the pipe; anything else is a failure."""
        if isinstance(error, BrokenPipeError):
            return error
        return output_failure(error)


@dataclass(frozen=True)
class SocketSink:
    """One connection, never reopened: a second would not know which rows the first delivered."""

    connection: socket.socket
    address: Address

    def write(self, data: memoryview) -> int:
        """Send some of the bytes; return their number."""
        return self.connection.send(data)

    def finish(self) -> None:
        """End the stream and wait until the other side's system has acknowledged all of it."""
        self.connection.shutdown(socket.SHUT_WR)
        while self._unacknowledged():
            # A connection that was reset never acknowledges anything.
            if broken := self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(broken, os.strerror(broken))
            time.sleep(_POLL_SECONDS)

    def _unacknowledged(self) -> int:
        answer = fcntl.ioctl(self.connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        return int(struct.unpack("i", answer)[0])

    def failure(self, error: OSError) -> Exception:
        """Always a failure: a listener that closes the connection may have missed rows."""
        return ArrivalError(
            Code.IO_WRITE_FAILED,
            f"{self.address} stopped taking arrivals: {error.strerror}",
            hint="check why the listener closed the connection, then stream again with --from from where it stopped",
            address=str(self.address),
        )


def connect(address: Address) -> SocketSink:
    """Connect to a listener. Raises IO_WRITE_FAILED if there is none."""
    try:
        connection = socket.create_connection(address, timeout=_CONNECT_SECONDS)
    except OSError as error:
        raise ArrivalError(
            Code.IO_WRITE_FAILED,
            f"nothing accepts connections at {address}: {error.strerror or error}",
            hint=f"start the listener first, for example `nc -l {address.host} {address.port} > arrivals.jsonl`",
            address=str(address),
        ) from error
    connection.settimeout(None)
    return SocketSink(connection, address)
