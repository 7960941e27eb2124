"""Damage to files of machine code."""

from __future__ import annotations

__all__ = ["DAMAGES"]

# What a file becomes, by name.
DAMAGES = {
    "empty": lambda data: data[:0],
    "cut off": lambda data: data[: len(data) // 2],
    "flipped": lambda data: data[:-3] + bytes([data[-3] ^ 16]) + data[-2:],
}
