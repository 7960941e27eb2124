"""A server of the S3 protocol that lies: what it lists, how long it says that objects are, and what it sends differ."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase, BytesIO
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "hostile"


@dataclass
class Lies:
    """What the server answers. Objects are as they are, unless a lie about them is told."""

    port: int = 0
    objects: dict[str, bytes] = field(default_factory=dict)
    # Listed in place of the objects below the prefix: (key as XML text, size as text).
    listed: list[tuple[bytes, str]] | None = None
    # Sizes that are told of objects before they are sent.
    told: dict[str, int] = field(default_factory=dict)
    # Bytes of objects that were sent.
    sent: int = 0

    def url(self, prefix: str) -> str:
        return (
            f"s3://{BUCKET}/{prefix}?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
            "&max_attempts=1&anonymous=true"
        )


def _listing(lies: Lies, prefix: str) -> bytes:
    listed = lies.listed
    if listed is None:
        listed = [(key.encode(), str(len(data))) for key, data in lies.objects.items() if key.startswith(prefix)]
    contents = b"".join(
        b"<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>%s</Size></Contents>"
        % (key, size.encode())
        for key, size in listed
    )
    return (
        b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<IsTruncated>false</IsTruncated><KeyCount>%d</KeyCount>%s</ListBucketResult>" % (len(listed), contents)
    )


def _chunks(source: BufferedIOBase) -> Iterator[bytes]:
    while size := int(source.readline().partition(b";")[0], 16):
        yield source.read(size)
        source.readline()
    while source.readline().strip():
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, lies: Lies) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lies = lies
        lies.port = self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    @property
    def lies(self) -> Lies:
        return self.server.lies

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}").removeprefix("/")

    def _answer(self, status: int, body: bytes = b"", length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        key = self._key()
        known = not key or key in self.lies.objects
        self._answer(200 if known else 404, length=self.lies.told.get(key, len(self.lies.objects.get(key, b""))))

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = parse_qs(parts.query)
        if "list-type" in asked:
            self._answer(200, _listing(self.lies, asked.get("prefix", [""])[0]))
            return
        data = self.lies.objects.get(self._key())
        if data is None:
            self._answer(404)
            return
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        body = data[int(first) : int(last) + 1 if last else None]
        self.lies.sent += len(body)
        self._answer(206, body)

    def _body(self) -> bytes:
        if length := self.headers["Content-Length"]:
            return self.rfile.read(int(length))
        # The client's chunks, in each of which are chunks of the S3 protocol.
        return b"".join(_chunks(BytesIO(b"".join(_chunks(self.rfile)))))

    def do_PUT(self) -> None:
        self.lies.objects[self._key()] = self._body()
        self._answer(200)

    def do_DELETE(self) -> None:
        self.lies.objects.pop(self._key(), None)
        self._answer(204)


@contextmanager
def lying() -> Iterator[Lies]:
    """A server on a free port of this machine until the end of the block."""
    lies = Lies()
    with _Server(lies) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield lies
        finally:
            server.shutdown()
            thread.join()
