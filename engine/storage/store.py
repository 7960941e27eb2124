"""An object store, or a directory, behind the few operations that a run needs."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import IO, Any, Self, cast
from urllib.parse import urlsplit

from arrival_engine.contracts import ArrivalError, Code
from arrival_engine.contracts.inside import InsidePath
from arrival_engine.contracts.oserrors import reading
from arrival_engine.engine.storage.url import Place, StoreUrl, parse_place, path_fault

# The size of one request: large enough that latency does not matter, small enough to end soon after an interruption.
_BLOCK = 8 * 2**20
# The S3 protocol copies at most this size from object to object in one request.
COPY_LIMIT = 5 * 2**30
# How long a Google client retries by itself; by default, it is silent for a quarter of an hour.
_GCS_RETRY_S = 60.0
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

# Characters of a foreign name in a message.
_SHOWN = 200

Check = Callable[[int], object]


@dataclass(frozen=True)
class Object:
    """A file of a store: its path below the store's place, and its size in bytes."""

    path: str
    bytes: int


@dataclass(frozen=True)
class Transfer:
    """The bytes transferred, and their SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Store:
    """Files below one place. Hashable and picklable: the process that needs a connection opens it.

    Paths are relative, with `/`. Every failure is an ArrivalError, IO_READ_FAILED or IO_WRITE_FAILED. A file appears
    whole, by a rename or at the end of its upload, but an interrupted upload may leave a shorter object.
    """

    place: Place

    def __str__(self) -> str:
        return str(self.place)

    def url(self, path: str = "") -> str:
        """The full URL of a path, for messages and readers."""
        return f"{self.place}/{path}".rstrip("/")

    @property
    def filesystem(self) -> Any:
        """The pyarrow file system; for readers that take one, with `key`."""
        with _named(Code.IO_READ_FAILED, "open", self):
            return _filesystem(self.place)

    def key(self, path: str = "") -> str:
        """A path in the form that `filesystem` expects."""
        if path:
            fault = path_fault(path)
            if fault:
                raise _foreign(self, f"{_shortened(path)} {fault}")
        if isinstance(self.place, Path):
            return os.fspath(self.place / path)
        return "/".join(part for part in (self.place.bucket, self.place.prefix, path) if part)

    def list(self, folder: str = "") -> list[Object]:
        """Every file below `folder`, by path; none if the folder does not exist.

        Raises IO_READ_FAILED, also for an object whose name cannot be one in a directory.
        """
        from pyarrow.fs import FileSelector, FileType

        base, filesystem = f"{self.key().rstrip('/')}/", self.filesystem
        with _named(Code.IO_READ_FAILED, "list", self, folder):
            infos = filesystem.get_file_info(FileSelector(self.key(folder), recursive=True, allow_not_found=True))
            files = [(info.path, info.size) for info in infos if info.type == FileType.File]
        found = []
        for path, size in files:
            # Consoles of object stores represent directories by keys that end in a slash.
            if path.endswith("/"):
                continue
            if not path.startswith(base) or size is None or size < 0:
                raise _foreign(self, f"{_shortened(path)} is listed, but is not below it or has no size")
            found.append(Object(path.removeprefix(base), size))
            self.key(found[-1].path)
        return sorted(found, key=lambda item: item.path)

    def stat(self, path: str) -> Object | None:
        """The file at `path`, or None."""
        from pyarrow.fs import FileType

        filesystem = self.filesystem
        with _named(Code.IO_READ_FAILED, "look for", self, path):
            info = filesystem.get_file_info(self.key(path))
        return Object(path, info.size or 0) if info.type == FileType.File else None

    def modified(self, path: str) -> datetime | None:
        """When the store got the file, by the store's clock; None if it does not say."""
        with suppress(ArrivalError, ValueError, OverflowError):
            found: datetime | None = self.filesystem.get_file_info(self.key(path)).mtime
            return found
        return None

    def require(self) -> None:
        """Raise IO_READ_FAILED unless the bucket or the directory exists and can be listed."""
        from pyarrow.fs import FileType

        filesystem = self.filesystem
        root = self.place.bucket if isinstance(self.place, StoreUrl) else self.key()
        with _named(Code.IO_READ_FAILED, "look for", self):
            info = filesystem.get_file_info(root)
        if info.type != FileType.Directory:
            what = "bucket" if isinstance(self.place, StoreUrl) else "directory"
            raise ArrivalError(
                Code.IO_READ_FAILED, f"there is no {what} {root}", hint=f"check the name, or make the {what} first"
            )

    def open_input_file(self, path: str) -> Any:
        """A pyarrow file open for reading at any place; the caller closes it."""
        filesystem = self.filesystem
        with _named(Code.IO_READ_FAILED, "read", self, path):
            return filesystem.open_input_file(self.key(path))

    def read_bytes(self, path: str, limit: int) -> bytes:
        """The whole file; IO_READ_FAILED if it is larger than `limit` bytes."""
        with self.open_input_file(path) as file, _named(Code.IO_READ_FAILED, "read", self, path):
            size = file.size()
            if size <= limit:
                return _filled(file, size)
        raise ArrivalError(
            Code.IO_READ_FAILED,
            f"{self.url(path)} is larger than {limit} bytes",
            hint="no command wrote it: restore the file of the run, or delete it",
        )

    def download(self, path: str, target: InsidePath, check: Check | None = None, limit: int | None = None) -> Transfer:
        """Copy a file to `target`, which must not exist; `check` is called with the size of every block.

        Raises IO_READ_FAILED, also if the file has more than `limit` bytes.
        """
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as sink:
            return self._read(path, sink, check, limit)

    def sha256(self, path: str, check: Check | None = None, limit: int | None = None) -> Transfer:
        """Read a file and hash it. Raises as `download`."""
        return self._read(path, None, check, limit)

    def _read(self, path: str, sink: IO[bytes] | None, check: Check | None, limit: int | None) -> Transfer:
        filesystem, state, size = self.filesystem, hashlib.sha256(), 0
        with _named(Code.IO_READ_FAILED, "read", self, path):
            source = filesystem.open_input_stream(self.key(path))
        with source:
            while True:
                with _named(Code.IO_READ_FAILED, "read", self, path):
                    block = _filled(source, _BLOCK)
                if not block:
                    return Transfer(size, state.hexdigest())
                state.update(block)
                size += len(block)
                if limit is not None and size > limit:
                    raise ArrivalError(
                        Code.IO_READ_FAILED,
                        f"{self.url(path)} should have {limit} bytes, but has more",
                        hint="another program is changing it; run again when that has ended",
                    )
                if sink is not None:
                    sink.write(block)
                if check is not None:
                    check(len(block))

    def upload(self, source: InsidePath, path: str, check: Check | None = None) -> Transfer:
        """Write a local file to the store, a large one in several pieces, and check that it is complete there.

        Raises IO_WRITE_FAILED, IO_READ_FAILED for the local file.
        """
        state, size = hashlib.sha256(), 0
        with _opened(source) as file, self._output(path) as sink:
            while block := file.read(_BLOCK):
                state.update(block)
                size += len(block)
                sink.write(block)
                if check is not None:
                    check(len(block))
        self._expect(path, size)
        return Transfer(size, state.hexdigest())

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a small file by one request, or replace it."""
        with self._output(path) as sink:
            sink.write(data)
        self._expect(path, len(data))

    def create(self, path: str) -> IO[bytes]:
        """A new object to write, in several pieces if it is large; it appears when it is closed.

        Raises IO_WRITE_FAILED, also in writing and closing.
        """
        with _named(Code.IO_WRITE_FAILED, "write", self, path):
            return cast("IO[bytes]", _Upload(self, path, self.filesystem.open_output_stream(self.key(path))))

    def failure(self, code: Code, verb: str, failure: Exception) -> ArrivalError:
        """The error for an exception of another library that works at this place."""
        what, hint = _explained(failure, self)
        return ArrivalError(code, f"cannot {verb} {self}: {what}", hint=hint, url=str(self))

    @contextmanager
    def _output(self, path: str) -> Iterator[Any]:
        filesystem, final = self.filesystem, self.key(path)
        local = isinstance(self.place, Path)
        # A local file must be complete before it gets its name; an object does not exist before its upload ends.
        key = f"{final}.{secrets.token_hex(4)}.part" if local else final
        with _named(Code.IO_WRITE_FAILED, "write", self, path):
            if local:
                filesystem.create_dir(os.path.dirname(final), recursive=True)  # noqa: PTH120 - pyarrow wants texts
            try:
                with filesystem.open_output_stream(key) as sink:
                    yield sink
                if local:
                    filesystem.move(key, final)
            except BaseException:
                if local:
                    with suppress(OSError):
                        filesystem.delete_file(key)
                raise

    def _expect(self, path: str, size: int) -> None:
        found = self.stat(path)
        if found is None or found.bytes != size:
            there = "nothing" if found is None else f"{found.bytes} bytes"
            raise ArrivalError(
                Code.IO_WRITE_FAILED,
                f"{size} bytes were written to {self.url(path)}, but {there} are there",
                hint="another program writes there, or the store loses data; run again",
            )

    def copy(self, source: str, target: str) -> None:
        """Copy a file within the store; the data does not pass through here. At most COPY_LIMIT bytes."""
        filesystem = self.filesystem
        with _named(Code.IO_WRITE_FAILED, "write", self, target):
            if isinstance(self.place, Path):
                filesystem.create_dir(os.path.dirname(self.key(target)), recursive=True)  # noqa: PTH120
            filesystem.copy_file(self.key(source), self.key(target))

    def delete(self, path: str) -> None:
        """Delete a file if it exists."""
        filesystem = self.filesystem
        with _named(Code.IO_WRITE_FAILED, "delete", self, path), suppress(FileNotFoundError):
            filesystem.delete_file(self.key(path))

    def delete_folder(self, folder: str) -> None:
        """Delete every file below `folder`, if there are any."""
        filesystem = self.filesystem
        with _named(Code.IO_WRITE_FAILED, "delete", self, folder):
            filesystem.delete_dir_contents(self.key(folder), missing_dir_ok=True)
            with suppress(FileNotFoundError):
                filesystem.delete_dir(self.key(folder))


class _Upload:
    """An object that is being written, as a file."""

    def __init__(self, store: Store, path: str, stream: Any) -> None:
        self._store, self._path, self._stream = store, path, stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether the object is complete."""
        return bool(self._stream.closed)

    def write(self, data: bytes) -> int:
        """Send bytes, or keep them for the next piece."""
        with _named(Code.IO_WRITE_FAILED, "write", self._store, self._path):
            return int(self._stream.write(data))

    def tell(self) -> int:
        """The number of bytes written."""
        return int(self._stream.tell())

    def flush(self) -> None:
        """Nothing: a piece is sent when it is full."""

    def writable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """End the upload: the object appears."""
        with _named(Code.IO_WRITE_FAILED, "write", self._store, self._path):
            self._stream.close()


def open_store(place: str | Path | StoreUrl) -> Store:
    """The store at a URL (s3://BUCKET/PREFIX?OPTIONS, gs://..., file:///...) or a path; nothing is contacted yet.

    Raises IO_READ_FAILED for a URL that is not valid.
    """
    return Store(parse_place(place))


@cache
def _filesystem(place: Place) -> Any:
    from pyarrow import fs

    if isinstance(place, Path):
        return fs.LocalFileSystem()
    given: dict[str, Any] = dict(place.options)
    for name in ("connect_timeout", "request_timeout"):
        if name in given:
            given[name] = float(given[name])
    if "anonymous" in given:
        given["anonymous"] = given["anonymous"] == "true"
    if place.scheme == "s3":
        given = {**_endpoint(), **given}
        attempts = int(given.pop("max_attempts", 3))
        # A small file is then a single request, which succeeds or fails as a whole, and opening needs no request.
        return fs.S3FileSystem(
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts), allow_delayed_open=True, **given
        )
    from datetime import timedelta

    limit = timedelta(seconds=float(given.pop("retry_time_limit", _GCS_RETRY_S)))
    return fs.GcsFileSystem(retry_time_limit=limit, **given)


def s3_settings(place: StoreUrl) -> dict[str, str]:
    """The options of an s3:// URL, with the endpoint of the environment if the URL has none, for other libraries."""
    return {**_endpoint(), **dict(place.options)}


def _endpoint() -> dict[str, str]:
    """The endpoint from the environment variables that every AWS client but pyarrow's reads."""
    url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc or parts.path.strip("/"):
        raise ArrivalError(
            Code.IO_READ_FAILED,
            "the environment variable AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is not an endpoint",
            hint="set it to http://HOST:PORT or https://HOST:PORT, without credentials and path, or unset it",
        )
    return {"scheme": parts.scheme, "endpoint_override": parts.netloc}


def _filled(source: Any, size: int) -> bytes:
    """At most `size` bytes of a pyarrow file, fewer only at its end.

    An object that becomes shorter after it was opened is read as if it had kept its size: pyarrow gives whatever was in
    its own buffer. In this one are zeros, not memory of the process, which a run could upload again.
    """
    buffer = bytearray(size)
    with memoryview(buffer) as view:
        at = 0
        while at < size and (got := source.readinto(view[at:])):
            at += got
    return bytes(buffer) if at == size else bytes(buffer[:at])


def _shortened(path: str) -> str:
    text = ascii(path) if any("\ud800" <= letter <= "\udfff" for letter in path) else repr(path)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(path)} characters)"


def _foreign(store: Store, fault: str) -> ArrivalError:
    return ArrivalError(
        Code.IO_READ_FAILED,
        f"{store.place}: {fault}",
        hint="rename or delete that object; only plain relative names are read and written",
    )


@contextmanager
def _opened(source: InsidePath) -> Iterator[IO[bytes]]:
    with reading("file", source):
        file = source.open("rb", 0)
    with file:
        yield file


@contextmanager
def _named(code: Code, verb: str, store: Store, path: str = "") -> Iterator[None]:
    """Give exceptions of pyarrow a code, the URL and a hint."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowException, ValueError, ImportError) as failure:
        what, hint = _explained(failure, store)
        raise ArrivalError(
            code, f"cannot {verb} {store.url(path)}: {what}", hint=hint, url=store.url(path)
        ) from failure


# Common parts of messages of the AWS and Google clients, and hints for them.
_DENIED = (
    *("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "HTTP response code: 403", "UNAUTHENTICATED"),
    *("PERMISSION_DENIED", "credentials", "EXPIRED_TOKEN", "INVALID_CLIENT_TOKEN"),
)
_SILENT = ("NETWORK_CONNECTION", "curlCode", "REQUEST_TIMEOUT", "Could not connect", "timed out", "UNAVAILABLE")
_CAUSES = (
    (("NO_SUCH_BUCKET", "bucket does not exist"), "check the bucket's name and region"),
    (_DENIED, "check the credentials; they must allow list, read, write and delete below that place"),
    (_SILENT, "check the endpoint, the scheme and the network; the store did not answer"),
)


def _explained(failure: Exception, store: Store) -> tuple[str, str]:
    if isinstance(failure, FileNotFoundError):
        return "it is not there", "check the name"
    if isinstance(failure, UnicodeError):
        return "it has an object whose name is not UTF-8", "rename or delete that object"
    if isinstance(failure, ImportError):
        # Some distributions build pyarrow without every store.
        return str(failure), "install pyarrow from PyPI, which supports every store"
    text = next((line for line in str(failure).splitlines() if line), type(failure).__name__)
    for name in _SECRETS:
        secret = os.environ.get(name)
        if secret:
            text = text.replace(secret, f"<{name}>")
    for signs, hint in _CAUSES:
        if any(sign.lower() in text.lower() for sign in signs):
            return text, hint
    local = isinstance(store.place, Path)
    return text, "check that the disk has room and is writable" if local else "see the store's message, and try again"
