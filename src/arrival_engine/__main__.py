"""The `arrivals` command, also as `python -m arrival_engine`: quiet on Ctrl-C from its first import to its last flush.

Python's own answer to an interrupt, a traceback, would show wherever no code of the command is there to catch it:
while its modules load, and while the interpreter ends.
"""

from __future__ import annotations

import os
import signal
import sys

_EXIT_INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the process's command line and give its exit code."""
    _leave_quietly()
    try:
        from arrival_engine.engine.cli.main import main as run_command_line

        return run_command_line()
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    finally:
        _leave_quietly()


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
