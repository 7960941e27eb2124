"""Groups of commands, and wrong names of commands and options with a guess at the right ones."""

from __future__ import annotations

import click

from arrival_engine.contracts.guesses import did_you_mean

__all__ = ["COMPLETION_VARIABLE", "Group", "with_guess"]

# The script of `arrivals completion` sets it to SHELL_complete; SHELL_source asks for the script.
COMPLETION_VARIABLE = "_ARRIVALS_COMPLETE"


class Group(click.Group):
    """A group that guesses which of its commands a wrong name stands for."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; a usage error with a guess if there is none."""
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name) is not None:
            return super().resolve_command(ctx, args)
        raise click.UsageError(f"No such command {name!r}.{_guess(name, self.list_commands(ctx))}", ctx)


def with_guess(error: click.ClickException) -> click.ClickException:
    """The error; that of a wrong option with a guess at the right one, or with the place where options go."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error
    command = error.ctx.command
    options = [name for parameter in command.get_params(error.ctx) for name in parameter.opts]
    guess = _guess(error.option_name, [name for name in options if name.startswith("--")])
    if not guess and isinstance(command, click.Group):
        guess = f" Options of a command follow its name: {error.ctx.command_path} COMMAND {error.option_name}"
    return click.UsageError(f"No such option {error.option_name!r}.{guess}", error.ctx)


def _guess(name: str, known: list[str]) -> str:
    guess = did_you_mean(name, known)
    return f" {guess[0].upper()}{guess[1:]}" if guess else ""
