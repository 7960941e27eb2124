"""The end of a command's process: its exit code is the command's, whatever the threads of libraries still do."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A thread of Arrow's reads a Python file while the command ends. Python up to 3.13 ends a thread that asks for the
# interpreter then, and C++ aborts the process if it cannot end the thread where it is.
ARROW_READS = """
import io, sys, threading, time
import pyarrow as pa
import pyarrow.parquet as pq
from arrival_engine.__main__ import main

kept = io.BytesIO()
pq.write_table(pa.table({"a": [1]}), kept)
reads = threading.Event()

class SlowFile(io.BytesIO):
    def read(self, size=-1):
        if threading.current_thread() is not asker:
            reads.set()
            time.sleep(10)
        return super().read(size)

def ask():
    pq.ParquetFile(SlowFile(kept.getvalue()), pre_buffer=True).read(use_threads=True)

asker = threading.Thread(target=ask, daemon=True)
asker.start()
reads.wait()
sys.exit(main())
"""
LAST_WORDS = """
import atexit, sys, threading, time
from arrival_engine.__main__ import main

def late():
    time.sleep(0.2)
    print("of a thread")

code = main()
atexit.register(print, "of the exit")
threading.Thread(target=late).start()
sys.exit(code)
"""
ENDINGS = {"success": (["--version"], 0), "failure": (["verify", "nowhere"], 1), "bad usage": (["verify"], 2)}


def ended(script, words):
    return subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("words", "code"), ENDINGS.values(), ids=ENDINGS)
def test_a_thread_of_arrow_does_not_change_how_a_command_ends(words, code):
    done = ended(ARROW_READS, words)
    assert done.returncode == code, done.stderr


def test_threads_and_exit_handlers_end_before_the_process():
    done = ended(LAST_WORDS, ["--version"])
    assert (done.returncode, done.stdout.splitlines()[1:], done.stderr) == (0, ["of a thread", "of the exit"], "")
