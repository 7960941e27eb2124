"""The entry point: finds the command, runs it, and turns every way of ending into an exit code.

0 success, 1 a named failure, 2 bad usage, 130 interrupted, 141 the reader of the output is gone, 143 terminated.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from arrival_engine.contracts import ArrivalError, Code, unforeseen
from arrival_engine.engine.cli.groups import COMPLETION_VARIABLE, Group, with_guess
from arrival_engine.engine.cli.session import Session, debug_option, honour_json
from arrival_engine.engine.process import human

__all__ = ["arrivals", "main"]

EXIT_FAILURE = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE
# With 2.0 GiB of address space `validate` and `report` failed on two cores, with 2.5 none of six commands did. With
# 350 MiB of data `run` hung in a library and with 400 `validate` failed, with 600 none of four commands did.
_LEAST = (
    (resource.RLIMIT_AS, "ulimit -v", 5 * 2**29, "address space", ", most of which they never touch"),
    (resource.RLIMIT_DATA, "ulimit -d", 3 * 2**28, "data", ""),
)
# How the parts of a traceback begin that Python makes itself.
_FRAMES = ('  File "', "Traceback (", "\nDuring handling of the above", "\nThe above exception was")
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)  # asked to end, or left by the terminal

# Order of the help page. Each module has one click command named `command`.
_COMMANDS = {
    "demo": "arrival_engine.engine.cli.demo",
    "synth": "arrival_engine.engine.cli.synth",
    "import": "arrival_engine.engine.cli.import_",
    "adopt": "arrival_engine.engine.cli.adopt",
    "seal": "arrival_engine.engine.cli.seal",
    "plan": "arrival_engine.engine.cli.plan",
    "run": "arrival_engine.engine.cli.run",
    "validate": "arrival_engine.engine.cli.validate",
    "verify": "arrival_engine.engine.cli.verify",
    "report": "arrival_engine.engine.cli.report",
    "export": "arrival_engine.engine.cli.export",
    "stream": "arrival_engine.engine.cli.stream",
    "explain": "arrival_engine.engine.cli.explain",
    "diff": "arrival_engine.engine.cli.diff",
    "parity": "arrival_engine.engine.cli.parity",
    "tz": "arrival_engine.engine.cli.tz",
    "doctor": "arrival_engine.engine.cli.doctor",
    "completion": "arrival_engine.engine.cli.completion",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, so that code that cleans up after Ctrl-C cleans up after these too."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class _LateGroup(Group):
    """Imports a command's module when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Every command, in the order of the help page."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The named command, imported now."""
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command


def _show_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:  # a shell that completes the line asks for words
        from arrival_engine.engine.process.version import version

        click.echo(f"arrivals {version()}")
        context.exit()


@click.group(
    cls=_LateGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Start with `arrivals demo`. Every command has an example: `arrivals COMMAND --help`.",
)
@debug_option
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
def arrivals() -> None:
    """Expand a sealed world of bucket counts into routed, timestamped arrival events."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and give its exit code."""
    if arguments is None:
        _settle_process()
    from arrival_engine.engine.process.interrupts import heard_interrupts
    from arrival_engine.engine.process.streams import standard_streams

    session = Session()
    words = list(sys.argv[1:] if arguments is None else arguments)
    instruction = None if arguments is not None else os.environ.get(COMPLETION_VARIABLE) or None
    try:
        with standard_streams(), _endings_as_exceptions(), heard_interrupts():
            return _run(session, words, instruction)
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except Terminated as again:
        return 128 + again.number
    except KeyboardInterrupt:
        # A second one, while the first was being told.
        return EXIT_INTERRUPTED


def _settle_process() -> None:
    """Settings that save a fifth of a second of a run. They are for our own process: a library must not change them."""
    # numpy's OpenBLAS would start a thread a core while it loads, and nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # numba and pyarrow make 130 000 objects that stay. The collector would look at the youngest after every 700 of
    # them, and at all of them twice before the first batch, for garbage that ends with the process anyway.
    gc.set_threshold(10_000)


def _run(session: Session, words: list[str], instruction: str | None = None) -> int:
    try:
        if instruction is not None:
            return _complete(instruction)
        if not {"--help", "--version"} & {*words}:
            _refuse_cramped(session, words)
        return _invoke(session, words)
    except click.ClickException as error:
        return _usage(session, error, words)
    except Terminated as ending:
        return _stopped(session, "terminated", 128 + ending.number)
    except KeyboardInterrupt:
        return _stopped(session, "interrupted", EXIT_INTERRUPTED)
    except ArrivalError as error:
        return _failed(session, error)
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - every failure gets a name
        named = unforeseen(error)
        named.__cause__ = error
        return _failed(session, named)


def _refuse_cramped(session: Session, words: list[str]) -> None:
    # Below these limits numba's compiler, BLAS and DuckDB abort or hang the process, where no exception can be seen, or
    # fail where the fault seems to be a file's.
    for kind, option, least, what, unused in _LEAST:
        limit, _ = resource.getrlimit(kind)
        if limit != resource.RLIM_INFINITY and limit < least:
            # Before any command is imported, and so before the words are parsed.
            session.json = "--json" in words
            raise ArrivalError(
                Code.RESOURCES_INSUFFICIENT,
                f"`{option}` leaves this process {human.size(limit)} of {what}, and the libraries it loads "
                f"reserve up to {human.size(least)}{unused}",
                hint=f"raise `{option}`, or limit memory by a control group and lower --batch-arrivals and --threads",
                limit_bytes=limit,
            )


def _invoke(session: Session, words: list[str]) -> int:
    # Not click's own main(): it has answers to Ctrl-C and a broken pipe that cannot be switched off.
    code = 0
    try:
        with arrivals.make_context("arrivals", words, obj=session) as context:
            arrivals.invoke(context)
    except click.exceptions.Exit as early:
        code = early.exit_code
    sys.stdout.flush()
    return code


def _complete(instruction: str) -> int:
    from arrival_engine.engine.cli.completion import complete
    from arrival_engine.engine.process.streams import unescaped

    answer = unescaped(sys.stdout)
    answer.write(complete(arrivals, instruction))
    answer.flush()
    return 0


def _usage(session: Session, error: click.ClickException, words: list[str]) -> int:
    from arrival_engine.contracts.safe_text import visible
    from arrival_engine.engine.cli.output import emit_failure

    error = with_guess(error)
    honour_json(getattr(error, "ctx", None), words)
    if session.json:
        emit_failure(session, {"code": "USAGE", "message": error.format_message()})
    else:
        page = io.StringIO()
        error.show(page)
        # The lines of the page are click's, but a line end in the message is a value's.
        said = error.format_message()
        sys.stderr.write(page.getvalue().replace(said, visible(said)))
    return EXIT_USAGE


def _stopped(session: Session, how: str, code: int) -> int:
    from arrival_engine.engine.cli.output import emit_failure

    if session.json:
        emit_failure(session, {"code": how.upper(), "message": session.on_interrupt})
    else:
        sys.stderr.write(f"{how}: {session.on_interrupt}\n")
    return code


def _failed(session: Session, error: ArrivalError) -> int:
    from arrival_engine.engine.cli.output import show_failure

    if session.debug:
        sys.stderr.write(_traceback(error))
    show_failure(error, session)
    return EXIT_FAILURE


def _traceback(error: BaseException) -> str:
    """The traceback; the further lines of a message, which can be anything, are marked as its own."""
    import traceback

    parts = traceback.format_exception(error)
    return "".join(
        part if part.startswith(_FRAMES) else part.rstrip("\n").replace("\n", "\n    | ") + "\n" for part in parts
    )


@contextmanager
def _endings_as_exceptions() -> Iterator[None]:
    def terminate(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    # `nohup` has SIGHUP ignored, a shell SIGINT for jobs in the background, and so they stay.
    wanted = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(_ENDINGS, terminate)}
    heard = {number: handler for number, handler in wanted.items() if signal.getsignal(number) is not signal.SIG_IGN}
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
