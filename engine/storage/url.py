"""Places of run directories: a local path, or the URL of a place in an object store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from arrival_engine.contracts import ArrivalError, Code

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# What file systems take as one name, and what object stores take as one key.
_NAME_BYTES_MAX = 255
_PATH_BYTES_MAX = 1024
# The names are pyarrow.fs's, so that its documentation explains them; times are in seconds.
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_COUNT = re.compile(r"[1-9][0-9]*")
_TEXT = re.compile(r"[A-Za-z0-9._:\[\]/-]+")
_SCHEME = re.compile(r"https?")
_BOOLEAN = re.compile(r"true|false")
OPTIONS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "s3": {
        "region": _TEXT,
        "endpoint_override": _TEXT,
        "scheme": _SCHEME,
        "anonymous": _BOOLEAN,
        "connect_timeout": _NUMBER,
        "request_timeout": _NUMBER,
        "max_attempts": _COUNT,
    },
    "gs": {
        "endpoint_override": _TEXT,
        "scheme": _SCHEME,
        "anonymous": _BOOLEAN,
        "retry_time_limit": _NUMBER,
    },
}


@dataclass(frozen=True)
class StoreUrl:
    """A place in an object store; `prefix` has no slash at either end, `options` are the query's, in order."""

    scheme: str
    bucket: str
    prefix: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The URL without its options, for messages."""
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def text(self) -> str:
        """The URL with its options, for commands."""
        return f"{self}?{urlencode(self.options, safe=':/[]')}" if self.options else str(self)

    @property
    def name(self) -> str:
        """The last part, the run directory's name."""
        return self.prefix.rpartition("/")[2] or self.bucket


Place = Path | StoreUrl


def is_url(text: str) -> bool:
    """Whether `text` has the form SCHEME://..."""
    return _URL.match(text) is not None


def parse_place(place: str | Path | StoreUrl) -> Place:
    """A path, or the place that a URL names; `file:///path` is the path.

    Raises IO_READ_FAILED for an unknown scheme, and for a URL that is malformed or holds credentials.
    """
    if not isinstance(place, str):
        return place
    if not is_url(place):
        return Path(place)
    scheme = place.partition("://")[0].lower()
    if scheme == "file":
        return _local(place)
    if scheme not in OPTIONS:
        known = ", ".join(f"{name}://" for name in (*OPTIONS, "file"))
        _refuse(f"{scheme}:// is not a known kind of storage", f"known are {known} and plain paths")
    # A key may hold characters that a URL would quote, and object stores do not unquote names. So only the query is
    # split off.
    head, _, query = place.partition("://")[2].partition("?")
    bucket, _, prefix = head.partition("/")
    if "@" in bucket:
        _refuse(
            f"a {scheme}:// URL with credentials in it",
            "leave them out: they come from the environment or the store's own configuration files",
        )
    prefix = prefix.strip("/")
    shown = f"{scheme}://{head}"
    if not bucket or not _TEXT.fullmatch(bucket) or ":" in bucket:
        _refuse(f"{shown} names no bucket", f"write {scheme}://BUCKET/PREFIX")
    if prefix:
        fault = path_fault(prefix)
        if fault:
            _refuse(f"{shown} {fault}", f"write {scheme}://BUCKET/PREFIX")
    return StoreUrl(scheme, bucket, prefix, _options(scheme, shown, query))


def path_fault(path: str) -> str:
    """Why a store's path cannot be a path below a local directory; empty if it can."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        return "has an empty part, a `.` or a `..` in its path"
    if "\\" in path or _CONTROL.search(path):
        return "has a backslash or a control character in its path"
    try:
        sizes = [len(part.encode()) for part in path.split("/")]
    except UnicodeEncodeError:
        return "has a character in its path that UTF-8 lacks"
    if max(sizes) > _NAME_BYTES_MAX or sum(sizes) + len(sizes) - 1 > _PATH_BYTES_MAX:
        return f"has a name of more than {_NAME_BYTES_MAX} bytes, or {_PATH_BYTES_MAX} altogether"
    return ""


def _local(url: str) -> Path:
    try:
        parts = urlsplit(url)
    except ValueError as failure:
        _refuse(f"{url!r} is not a file URL: {failure}", "write file:///absolute/path")
    if "\0" in unquote(parts.path):
        _refuse(f"{url!r} has a NUL in its path", "write file:///absolute/path")
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path:
        _refuse(f"{parts.scheme}://{parts.netloc}{parts.path} is not a file URL", "write file:///absolute/path")
    return Path(unquote(parts.path))


def _options(scheme: str, shown: str, query: str) -> tuple[tuple[str, str], ...]:
    known = OPTIONS[scheme]
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        _refuse(f"{shown}: what follows the ? is not NAME=VALUE&NAME=VALUE", f"known are {', '.join(known)}")
    names = [name for name, _ in pairs]
    for name, value in pairs:
        # The message repeats neither, because people put keys there.
        if name not in known:
            _refuse(f"{shown} has an option that is not known", f"known are {', '.join(known)}")
        if not known[name].fullmatch(value) or names.count(name) > 1:
            _refuse(f"{shown} has an invalid value of {name}, or two values", "see docs/how-to/object-stores.md")
    return tuple(pairs)


def _refuse(problem: str, hint: str) -> NoReturn:
    raise ArrivalError(Code.IO_READ_FAILED, problem, hint=hint)
