"""Failures of the system: named by what is at fault, whatever file happened to be open."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from arrival_engine.contracts import ArrivalError, Code, unforeseen
from arrival_engine.contracts.oserrors import lack_of_memory, reading, refusal, system_number, writing

PATH = Path("/a/part-000000.parquet")
EXHAUSTED = {errno.EMFILE: "ulimit -n", errno.ENFILE: "fs.file-max", errno.ENOMEM: "memory"}
ADVICE = {
    errno.ENOSPC: "space on the disk",
    errno.EDQUOT: "quota",
    errno.EFBIG: "ulimit -f",
    errno.EROFS: "mount",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ENAMETOOLONG: "shorter",
    errno.ELOOP: "symbolic link",
    errno.EIO: "health",
}


def failed(around, number):
    with pytest.raises(ArrivalError) as caught, around("counts", PATH):
        raise OSError(number, os.strerror(number), str(PATH))
    return caught.value


@pytest.mark.parametrize("number", EXHAUSTED, ids=errno.errorcode.get)
@pytest.mark.parametrize("around", [reading, writing])
def test_what_the_process_or_the_machine_has_run_out_of_is_no_fault_of_a_file(number, around):
    error = failed(around, number)
    assert error.code == Code.RESOURCES_INSUFFICIENT
    assert EXHAUSTED[number] in error.hint
    assert os.strerror(number) in error.message


@pytest.mark.parametrize("number", ADVICE, ids=errno.errorcode.get)
def test_the_hint_is_about_what_the_system_says(number):
    for around, code in ((reading, Code.IO_READ_FAILED), (writing, Code.IO_WRITE_FAILED)):
        error = failed(around, number)
        assert error.code == code
        assert ADVICE[number] in error.hint
        assert f"{PATH}: {os.strerror(number)}" in error.message


def test_other_failures_keep_the_hint_of_the_place():
    with pytest.raises(ArrivalError) as caught, reading("counts", PATH, hint="make it", also=(ValueError,)):
        raise ValueError("no footer")
    assert (caught.value.code, caught.value.hint) == (Code.IO_READ_FAILED, "make it")
    assert failed(reading, errno.ENOENT).hint == "check that the file exists and is readable"


@pytest.mark.parametrize("number", [*EXHAUSTED, *ADVICE], ids=errno.errorcode.get)
def test_the_message_of_a_library_names_the_cause_too(number):
    for failure in (
        duckdb.IOException(f'IO Error: Cannot open file "{PATH}": {os.strerror(number)}'),
        pa.ArrowInvalid(f"could not read: {os.strerror(number)}"),
    ):
        assert system_number(failure) == number
        error = refusal(Code.S5_IO_READ_FAILED, "cannot read", failure, "it is damaged")
        assert "damaged" not in error.hint


ABSURD = 2**60


def no_memory_of_arrow():
    pa.allocate_buffer(ABSURD)


def no_memory_of_duckdb():
    with duckdb.connect(config={"memory_limit": "1MB", "temp_directory": ""}) as connection:
        connection.execute("SELECT list(i) FROM range(1000000) t(i)").fetchall()


def no_memory_of_the_system():
    raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


# Each allocates more than there is; the last two are what C++ and Arrow tell of the same without a class of their own.
NO_MEMORY = {
    "python": lambda: bytearray(ABSURD),
    "numpy": lambda: np.empty(ABSURD, np.uint8),
    "arrow": no_memory_of_arrow,
    "duckdb": no_memory_of_duckdb,
    "system": no_memory_of_the_system,
}
WORDS = (pa.ArrowInvalid("malloc of size 1073741824 failed"), pa.ArrowException("std::bad_alloc"))


@pytest.mark.parametrize("library", NO_MEMORY)
@pytest.mark.parametrize("around", [partial(reading, also=(pa.ArrowException, duckdb.Error)), writing])
def test_lack_of_memory_is_no_fault_of_a_file_in_any_library(library, around):
    with pytest.raises((ArrivalError, duckdb.Error, pa.ArrowException)) as caught, around("counts", PATH):
        NO_MEMORY[library]()
    error = caught.value if isinstance(caught.value, ArrivalError) else unforeseen(caught.value)
    assert error.code == Code.RESOURCES_INSUFFICIENT
    assert "not enough memory" in error.hint
    assert "damaged" not in error.hint


@pytest.mark.parametrize("library", NO_MEMORY)
def test_lack_of_memory_where_nothing_foresaw_it_is_no_defect(library):
    with pytest.raises((MemoryError, OSError, duckdb.Error)) as caught:
        NO_MEMORY[library]()
    for code in (Code.UNEXPECTED_INTERNAL_ERROR, Code.S5_UNEXPECTED_INTERNAL_ERROR):
        error = unforeseen(caught.value, code)
        assert error.code == Code.RESOURCES_INSUFFICIENT
        assert error.message.startswith("out of memory: ")


@pytest.mark.parametrize("failure", WORDS, ids=str)
def test_lack_of_memory_in_other_words(failure):
    assert lack_of_memory(failure)
    assert refusal(Code.IO_READ_FAILED, "cannot read", failure, "it is damaged").code == Code.RESOURCES_INSUFFICIENT
    assert not lack_of_memory(pa.ArrowInvalid("malloc: no such column"))
    assert not lack_of_memory(ArrivalError(Code.SCHEMA_VIOLATION, "std::bad_alloc is not a zone"))


def test_a_thread_that_the_system_refuses():
    error = unforeseen(RuntimeError("can't start new thread"))
    assert (error.code, "--threads" in error.hint) == (Code.RESOURCES_INSUFFICIENT, True)


def test_a_library_that_names_no_cause_of_the_system():
    failure = pa.ArrowInvalid("Parquet magic bytes not found in footer")
    assert system_number(failure) is None
    assert refusal(Code.S5_IO_READ_FAILED, "cannot read", failure, "it is damaged").hint == "it is damaged"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG], ids=errno.errorcode.get)
def test_an_unforeseen_failure_of_the_system_is_no_defect(number):
    for code, written in (
        (Code.UNEXPECTED_INTERNAL_ERROR, Code.IO_WRITE_FAILED),
        (Code.S5_UNEXPECTED_INTERNAL_ERROR, Code.S5_IO_WRITE_FAILED),
    ):
        error = unforeseen(OSError(number, os.strerror(number)), code)
        assert error.code == (Code.RESOURCES_INSUFFICIENT if number == errno.EMFILE else written)
        assert "defect" not in error.hint
    assert "defect" in unforeseen(OSError(errno.EBADF, "Bad file descriptor")).hint
