"""Texts as codes that all batches share, and back as dictionaries that depend on the rows alone.

Batches bring dictionaries of their own, with texts that no row has. A Parquet writer stores a dictionary as it is
given, so the bytes of a file would depend on how its rows were divided into batches.
"""

from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa

__all__ = ["CODE", "Texts", "coded_schema"]

CODE = pa.int32()


class Texts:
    """The texts of one column by code, in the order in which threads bring them. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: dict[str, int] = {}
        self._texts: list[str] = []

    def encode(self, column: pa.Array) -> pa.Array:
        """The code of each text of a column, plain or dictionary; null stays null."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        with self._lock:
            known = np.array([self._code(text) for text in column.dictionary.to_pylist()], np.int32)
        if not known.size:
            return pa.nulls(len(column), CODE)
        return pa.array(known).take(column.indices)

    def _code(self, text: str) -> int:
        code = self._codes.setdefault(text, len(self._texts))
        if code == len(self._texts):
            self._texts.append(text)
        return code

    def decode(self, codes: pa.Array) -> pa.DictionaryArray:
        """The texts of codes: a dictionary of those that occur, in the order of their first row."""
        coded = codes.dictionary_encode()
        with self._lock:
            texts = pa.array([self._texts[code] for code in coded.dictionary.to_pylist()], pa.string())
        return pa.DictionaryArray.from_arrays(coded.indices, texts, safe=False)


def coded_schema(schema: pa.Schema) -> pa.Schema:
    """The same columns with codes in place of texts."""
    return pa.schema([field.with_type(CODE) if _is_text(field.type) else field for field in schema])


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(kind) or pa.types.is_string(kind))
