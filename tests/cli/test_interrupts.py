"""Ctrl-C at any moment of a command, from its first import to its last flush."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from arrival_engine.engine.sealing import seal
from tests.support.world_files import write_world
from tests.support.worlds import small_world

# Runs the command, and tells on a pipe when the command has taken charge of SIGINT: what comes earlier is Python's.
PROGRAM = """
import os, signal, sys
ready, install = int(sys.argv.pop(1)), signal.signal
def told(number, handler):
    before = install(number, handler)
    if signal.signal is told:
        signal.signal = install
        os.write(ready, b"!")
    return before
signal.signal = told
from arrival_engine.__main__ import main
sys.exit(main())
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("interrupts") / "world"
    write_world(small_world(), root)
    seal(root)
    return root


def interrupted(words, *delays):
    """Exit code, standard output and standard error of a command to which SIGINT is sent after each delay, in s."""
    reading, writing = os.pipe()
    command = [sys.executable, "-c", PROGRAM, str(writing), *map(str, words)]
    with subprocess.Popen(
        command, pass_fds=[writing], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(writing)
        assert os.read(reading, 1) == b"!"
        os.close(reading)
        for delay in delays:
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    return process.returncode, out, err


def is_quiet(code, err):
    """Whether a command ended as one that is interrupted, or had ended before."""
    told = [line for line in err.splitlines() if not line.startswith("[")]
    # In its very last moments, Python has given the signal back to the system, which ends the process as quietly.
    return (code in (130, -signal.SIGINT, 0)) and (told in ([], ["interrupted: nothing half-written was published"]))


@pytest.mark.parametrize("words", [["doctor", "--json"], ["run", "{world}", "--replace"]], ids=" ".join)
def test_an_interrupt_at_any_moment_is_quiet(words, world):
    words = [word.format(world=world) for word in words]
    ends = [(delay, *interrupted(words, delay / 1000)) for delay in range(0, 401, 40)]
    assert [end for end in ends if not is_quiet(end[1], end[3])] == []
    assert ends[0][1] == 130


@pytest.mark.slow
def test_an_interrupt_at_every_moment_is_quiet(world):
    words = ["run", str(world), "--replace"]
    ends = [(delay, *interrupted(words, delay / 1000)) for delay in range(0, 1000, 15)]
    assert [end for end in ends if not is_quiet(end[1], end[3])] == []


def test_two_interrupts_are_quiet(world):
    ends = [interrupted(["run", world, "--replace"], first, gap) for first in (0.1, 0.4) for gap in (0.0, 0.02, 0.1)]
    assert [end for end in ends if not is_quiet(end[0], end[2])] == []


def test_an_ignored_interrupt_stays_ignored():
    script = (
        "import os, signal, sys\n"
        "from arrival_engine.__main__ import main\n"
        "code = main()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(code)\n"
    )
    program = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", sys.executable, "-c", script, "--version"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0], done.stderr) == (0, "arrivals", "")


def test_an_interrupt_is_heard_between_two_imports(tmp_path):
    (tmp_path / "first.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True\n")
    (tmp_path / "second.py").write_text("raise AssertionError('imported after the interrupt')\n")
    script = (
        "import sys, threading\n"
        "from arrival_engine.engine.process.interrupts import heard_interrupts, import_in_steps\n"
        "with heard_interrupts():\n"
        "    try:\n"
        "        import_in_steps('first', 'second')\n"
        "    except KeyboardInterrupt:\n"
        "        assert sys.modules['first'].whole\n"
        "        for timer in threading.enumerate()[1:]:\n"
        "            timer.join()\n"
        "        sys.exit(7)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ['PYTHONPATH']}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")
