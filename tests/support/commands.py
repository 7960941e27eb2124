"""Every command of the command line that does something, found by walking it."""

from __future__ import annotations

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
