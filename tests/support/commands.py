"""Every command of the command line that does something, found by walking it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import click

from arrival_engine.engine.cli.main import arrivals


def _commands(group: click.Group, *names: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _commands(command, *names, name)
        elif command is not None:
            yield " ".join((*names, name)), command


# The words of a command, as "tz build", and its object.
COMMANDS = dict(_commands(arrivals))


def words_of(command):
    """The words that bash makes of a command line."""
    done = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True, env={"LC_ALL": "C"}
    )
    return [word.decode(errors="surrogateescape") for word in done.stdout.split(b"\0")[:-1]]
