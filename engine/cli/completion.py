"""`arrivals completion`: the script of a shell that completes command lines, and the words it asks for."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

from arrival_engine.engine.cli.groups import COMPLETION_VARIABLE
from arrival_engine.engine.cli.output import present
from arrival_engine.engine.cli.session import output_options
from arrival_engine.engine.cli.values import Choice

__all__ = ["command", "complete"]

PROGRAM = "arrivals"


class _Bash(BashComplete):
    def source(self) -> str:
        """The script; without a look at the installed bash, which need not be the one that reads it."""
        return ShellComplete.source(self)

    def get_completion_args(self) -> tuple[list[str], str]:
        """Words before the cursor's, and that one. Bash makes `--option=value` three words."""
        words, incomplete = super().get_completion_args()
        return [word for word in words if word != "="], "" if incomplete == "=" else incomplete

    def format_completion(self, item: CompletionItem) -> str:
        """A line of the answer; bash puts the value on the command line as it is."""
        return f"{item.type},{shlex.quote(item.value) if item.type == 'plain' else item.value}"


_SHELLS: Mapping[str, type[ShellComplete]] = {"bash": _Bash, "zsh": ZshComplete, "fish": FishComplete}


def complete(commands: click.Command, instruction: str) -> str:
    """The answer to a shell's script, by the words in COMP_WORDS and COMP_CWORD, or the script itself.

    instruction: `bash_complete` or `bash_source`, and the same with zsh and fish. Raises UsageError for another one,
    and without the words.
    """
    shell, _, wanted = instruction.partition("_")
    if shell not in _SHELLS or wanted not in ("complete", "source"):
        known = ", ".join(f"{name}_{what}" for name in _SHELLS for what in ("source", "complete"))
        raise click.UsageError(f"{COMPLETION_VARIABLE} is {instruction!r}, which is not one of {known}")
    completion = _SHELLS[shell](commands, {}, PROGRAM, COMPLETION_VARIABLE)
    if wanted == "source":
        return completion.source()
    if "COMP_WORDS" not in os.environ or (shell != "fish" and not os.environ.get("COMP_CWORD", "").isdecimal()):
        raise click.UsageError(
            f"{COMPLETION_VARIABLE} is for the script of `arrivals completion {shell}`, "
            "which sets COMP_WORDS and COMP_CWORD"
        )
    return completion.complete() + "\n"


@click.command(
    epilog="Example: arrivals completion bash > ~/.local/share/bash-completion/completions/arrivals",
    short_help="Print the script that completes commands in a shell.",
)
@click.argument("shell", type=Choice(list(_SHELLS)))
@output_options
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    r"""Print the script that lets SHELL complete the commands, options, choices and paths of `arrivals`.

    \b
    bash, 4.4 or newer    eval "$(arrivals completion bash)"
    zsh, after compinit   eval "$(arrivals completion zsh)"
    fish                  arrivals completion fish | source

    Add the line to the file that your shell reads when it starts.
    """
    script = _SHELLS[shell](context.find_root().command, {}, PROGRAM, COMPLETION_VARIABLE).source()
    present(context, {"shell": shell, "script": script}, lambda _: click.echo(script, nl=False))
