"""Damage to valid samples: of bytes, of JSON values, of lines, of texts. A mutation depends on its `Random` alone."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import Any

Mutate = Callable[[bytes, Random], bytes]
Path = tuple[str | int, ...]

# Texts that a console, a shell, a spreadsheet, a path or a decoder may take for something else.
TEXTS = (
    "", " ", "\0", "a\0b", "\x1b[2J\x1b[31mPASS", "line\nline", "\r", "\u202ePASS", "\u2066x", "\x9b2J", "..", ".",
    "/", "../../etc/passwd", "/etc/passwd", "a//b", "a\\b", "C:\\x", "~", "$HOME", "`id`", "=cmd|'/c calc'!A0", "NaN",
    "null", "inf", "-0", "1e999", "0x10", "\u0661", "\uff11", "\ufeff", "e\u0301", "a" * 300, "\U0001f600", "\ud800",
    "\udfff x", "2026-02-30", "9999-12-31T23:59:60Z", "0000-00-00", "PASS", "FAIL", "a" * 64, "A" * 64, "f" * 63,
    "0" * 40,
)  # fmt: skip
NUMBERS: tuple[int | float, ...] = (
    0, 1, -1, 2, 7, 255, 256, 2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63),
    -(2**63) - 1, 10**30, 10**400, 0.5, -0.0, 1.0, 1e22, 1e308, 5e-324, 1.7976931348623157e308,
)  # fmt: skip
# JSON that `json.dumps` would not write.
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-999", "00", "01", "1.", ".5", "+1", "1E400", "-", "tru",
    "9" * 5000, "0." + "1" * 5000, "[" * 3000, "[" * 3000 + "]" * 3000, '{"a":' * 3000, "[[[[[[[[[[]]]]]]]]]]",
    '"\\ud800"', '"\\u0000"', '"\x1b"', '"\\x"', '"', "", "'a'", '{"a":1,"a":2}', "{1:2}", "[1,]", "/**/1", "1//",
    "\u00a01", "\ufeff1",
)  # fmt: skip
_RAW_MARK = "\x00raw\x00"
_MARK_IN_JSON = json.dumps(_RAW_MARK)
_SIGNS = (0, 9, 10, 13, 27, 32, 45, 46, 47, 48, 57, 58, 90, 127, 0x202E)
_WORDS = ("<B", "<H", "<I", "<q", "<Q", ">I", ">q")


def value(draw: Random) -> Any:
    """A value of any type."""
    match draw.randrange(9):
        case 0 | 1 | 2:
            return draw.choice(TEXTS)
        case 3 | 4:
            return draw.choice(NUMBERS)
        case 5:
            return draw.choice((None, True, False))
        case 6:
            return draw.choice(([], [None], [1, 2], ["a", "a"], [[]], [{}]))
        case 7:
            return draw.choice(({}, {"": ""}, {"a": None}, {"path": "..", "status": "PASS"}))
        case _:
            return draw.randrange(-(2**66), 2**66)


def mutated_bytes(data: bytes, draw: Random) -> bytes:
    """One to four damages: flipped, overwritten, inserted, removed, repeated and cut off bytes."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4))):
        at = draw.randrange(len(out) + 1)
        match draw.randrange(8):
            case 0 | 1 if out:
                out[at % len(out)] ^= 1 << draw.randrange(8)
            case 2 if out:
                out[at % len(out)] = draw.choice((0, 1, 10, 0x1B, 0x22, 0x7F, 0x80, 0xC0, 0xFF))
            case 3:
                word = draw.choice(_WORDS)
                size = struct.calcsize(word)
                number = int(draw.choice(NUMBERS[:17])) & ((1 << 8 * size - 1) - 1)
                out[at : at + size] = struct.pack(word, number)
            case 4:
                out[at:at] = draw.randbytes(draw.choice((1, 4, 64)))
            case 5:
                del out[at : at + draw.choice((1, 8, 200))]
            case 6:
                del out[at:]
            case _:
                other = draw.randrange(len(out) + 1)
                out[at:at] = out[other : other + draw.choice((2, 12, 100, 4000))]
    return bytes(out)


@lru_cache(maxsize=512)
def _parsed(data: bytes) -> tuple[Any, tuple[Path, ...]]:
    """A document and the paths of its values; no paths for bytes that are not JSON."""
    try:
        document = json.loads(data)
        return document, tuple(_paths(document))
    except (ValueError, RecursionError):
        return None, ()


def _paths(node: Any, at: Path = ()) -> list[Path]:
    found = [at]
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        found += _paths(child, (*at, key))
    return found


def _replaced(node: Any, at: Path, change: Callable[[Any], Any]) -> Any:
    """A copy of the document with what is at the path changed; the rest is shared."""
    if not at:
        return change(node)
    copy: Any = dict(node) if isinstance(node, dict) else list(node)
    copy[at[0]] = _replaced(node[at[0]], at[1:], change)
    return copy


def mutated_json(data: bytes, draw: Random) -> bytes:
    """A JSON document with one or two values, keys or rows changed; one in eight is damaged as bytes instead."""
    document, paths = _parsed(data)
    if not paths or not draw.randrange(8):
        return mutated_bytes(data, draw)
    raws: list[str] = []
    for _ in range(draw.choice((1, 1, 2))):
        try:
            document = _replaced(document, draw.choice(paths), lambda node: _changed(node, draw, raws))
        except (KeyError, IndexError, TypeError):
            # The first change has removed what the second was for.
            continue
    text = json.dumps(document, ensure_ascii=draw.random() < 0.7)
    for raw in raws:
        text = text.replace(_MARK_IN_JSON, raw, 1)
    return text.encode("utf-8", "surrogatepass")


def _changed(node: Any, draw: Random, raws: list[str]) -> Any:
    """Another value; or a mark for text that `json.dumps` would not write, which is added to `raws`."""
    kind = draw.randrange(12)
    if kind < 2:
        raws.append(draw.choice(RAW))
        return _RAW_MARK
    if kind < 5 and isinstance(node, dict) and node:
        return _changed_object(node, draw, raws)
    if kind < 7 and isinstance(node, list) and node:
        return draw.choice(([*node, draw.choice(node)], node[::-1], node[1:], node[:1] * 3))
    if kind < 9 and isinstance(node, str):
        return mutated_text(node, draw)
    if kind < 10 and isinstance(node, int | float) and abs(node) < 2**70:
        return draw.choice((node + 1, -node, float(node), str(node), [node]))
    return value(draw)


def _changed_object(node: dict[str, Any], draw: Random, raws: list[str]) -> dict[str, Any]:
    """A key less, a key more, or a key twice."""
    key = draw.choice(list(node))
    match draw.randrange(3):
        case 0:
            return {name: node[name] for name in node if name != key}
        case 1:
            return {**node, str(draw.choice(TEXTS)): value(draw)}
        case _:
            raws.append(f"1,{json.dumps(key)}:{json.dumps(node[key])}")
            return {**node, key: _RAW_MARK}


def mutated_text(text: str, draw: Random) -> str:
    """A text with characters changed, removed, doubled or put in."""
    out = text
    for _ in range(draw.choice((1, 1, 2, 3))):
        at = draw.randrange(len(out) + 1)
        match draw.randrange(6):
            case 0:
                out = out[:at] + draw.choice(TEXTS) + out[at:]
            case 1:
                out = out[:at] + out[at + draw.choice((1, 2, 5)) :]
            case 2:
                out = out[:at] + chr(draw.choice(_SIGNS)) + out[at:]
            case 3:
                out = out[:at] + str(draw.choice(NUMBERS)) + out[at:]
            case 4:
                out = out[:at] + out[at : at + 1].swapcase() + out[at + 1 :]
            case _:
                out = out[:at] + out[draw.randrange(len(out) + 1) :]
    return out


def mutated_words(data: bytes, draw: Random) -> bytes:
    """A text of UTF-8, changed as text; surrogates become bytes that are not UTF-8."""
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return mutated_bytes(data, draw)
    return mutated_text(text, draw).encode("utf-8", "surrogatepass")


def mutated_lines(data: bytes, draw: Random) -> bytes:
    """JSON Lines: one line changed as JSON, cut off, doubled, removed, moved or joined to the next."""
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    match draw.randrange(10):
        case 0:
            lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
        case 1:
            lines.insert(draw.randrange(len(lines) + 1), lines[at])
        case 2:
            lines.insert(draw.randrange(len(lines)), lines.pop(at))
        case 3:
            lines.insert(at, draw.choice((b"", b" ", b"\xff", b"{}", b"[]", b"null", b"1", b"{", b"\0" * 64)))
        case 4:
            return mutated_bytes(data, draw)
        case _:
            full = [number for number, line in enumerate(lines) if line.startswith(b"{")]
            at = draw.choice(full) if full else at
            lines[at] = (mutated_json if full else mutated_bytes)(lines[at], draw).replace(b"\n", b" ")
    return b"\n".join(lines)


def mutated_yaml(data: bytes, draw: Random) -> bytes:
    """YAML: a value, a key or an indent of a line changed; one in four is damaged as bytes."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        lines = []
    if not lines or not draw.randrange(4):
        return mutated_bytes(data, draw)
    at = draw.choice([number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")] or [0])
    head, colon, tail = lines[at].partition(":")
    match draw.randrange(8):
        case 0 | 1:
            lines[at] = f"{head}: {json.dumps(value(draw))}"
        case 2:
            lines[at] = f"{head}: {draw.choice(YAML)}"
        case 3:
            lines[at] = f"{mutated_text(head, draw)}{colon}{tail}"
        case 4:
            lines[at] = f"{head}{colon}{mutated_text(tail, draw)}"
        case 5:
            lines[at] = draw.choice((" ", "  ", "\t", "- ", "")) + lines[at].lstrip()
        case 6:
            lines.insert(at, lines[at])
        case _:
            del lines[at]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


YAML = (
    "&a x", "*a", "!!python/object/apply:os.system [id]", "!!binary aGk=", "<<: {}", "|\n  x", ">-", "? x", "---",
    "...", "{a: 1, a: 2}", "[" * 500, "- " * 500, "{" * 100, "0o17", "0x1F", "1_000", "12:30:45", ".inf", ".nan", "~",
    "yes", "1e-500", "9" * 100, "0." + "3" * 100, "2026-01-01", "'", '"', "%TAG", "\x07", "\x85", "\u2028", "@x",
    "`x",
)  # fmt: skip


def one_of(*kinds: Mutate) -> Mutate:
    """A mutation of one of these kinds."""
    return lambda data, draw: draw.choice(kinds)(data, draw)


# --- Several files as one input ----------------------------------------------------------------------


def packed(files: Sequence[bytes]) -> bytes:
    """Several files as one input: each with its length before it."""
    return b"".join(struct.pack("<I", len(data)) + data for data in files)


def unpacked(data: bytes, count: int) -> list[bytes]:
    """The files of an input; those that it does not hold are empty."""
    found = []
    for _ in range(count):
        (size,) = struct.unpack("<I", data[:4].ljust(4, b"\0"))
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def mutated_files(*kinds: Mutate, heal: Callable[[list[bytes]], list[bytes]] = lambda files: files) -> Mutate:
    """One of the files changed, each by its own kind; three in four are then made to agree again by `heal`."""

    def mutate(data: bytes, draw: Random) -> bytes:
        files = unpacked(data, len(kinds))
        at = draw.randrange(len(kinds))
        files[at] = kinds[at](files[at], draw)
        return packed(heal(files) if draw.randrange(4) else files)

    return mutate
