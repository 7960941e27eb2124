"""The `arrivals` command, also as `python -m arrival_engine`: its first import and its last flush.

It is quiet on Ctrl-C throughout. Python's own answer, a traceback, would show wherever no code of the command is there
to catch it: while its modules load, and while the interpreter ends.

It ends with the command's exit code. Threads of Arrow give Python objects back when they get to it, and Python up to
3.13 ends a thread that asks for an interpreter which is being taken down. C++ aborts the process for that
(apache/arrow#34314): 13 of 360 processes of `arrivals verify` on a busy machine. So the interpreter is not taken down.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

_EXIT_INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the process's command line and give its exit code, with which the process ends whatever follows."""
    _leave_quietly()
    codes: list[int] = []
    # The first handler that is registered is the last one called: all threads that Python waits for have ended by then.
    atexit.register(_leave, codes)
    try:
        from arrival_engine.engine.cli.main import main as run_command_line

        codes.append(run_command_line())
    except KeyboardInterrupt:
        codes.append(_EXIT_INTERRUPTED)
    finally:
        _leave_quietly()
    return codes[0]


def _leave(codes: list[int]) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 - contextlib takes longer to load than all else here
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed, or broken: the command has said so
    if codes:
        os._exit(codes[0])


def _leave_quietly() -> None:
    # A shell ignores SIGINT for jobs in the background, and so it stays.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Nothing is under way that would need to be cleaned up.
        signal.signal(signal.SIGINT, lambda *_: os._exit(_EXIT_INTERRUPTED))


if os.path.basename(sys.argv[0]) == "arrivals":  # noqa: PTH119 - pathlib takes longer to load than all else here
    # The script that pip makes does some work of its own between the import of this module and the call of `main`.
    _leave_quietly()

if __name__ == "__main__":
    sys.exit(main())
