"""The command ``asyncbatch completion``."""

from argparse import Action, ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from asyncbatch.cli import functions

HELP = "print the completion script of a shell"

SHELLS = ("bash", "fish", "tcsh", "zsh")

EPILOG = """\
examples:
  asyncbatch completion bash > ~/.local/share/bash-completion/completions/asyncbatch
  asyncbatch completion zsh > ~/.zfunc/_asyncbatch      # a folder in $fpath
  asyncbatch completion fish > ~/.config/fish/completions/asyncbatch.fish
"""


def describe(parser: ArgumentParser, top: ArgumentParser) -> None:
    """Add the command's arguments to its parser; `top` is the parser to complete."""
    parser.epilog = EPILOG
    parser.set_defaults(command=run, top=top)
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))


def run(arguments: Namespace) -> None:
    """Run the command."""
    import shtab  # noqa: PLC0415 - only this command needs it

    for action in list_actions(arguments.top):
        if action.type in {Path, functions.place}:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab's own attribute
    print(shtab.complete(arguments.top, shell=arguments.shell))


def list_actions(parser: ArgumentParser) -> Iterator[Action]:
    """Yield the arguments of a parser and its commands."""
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way; shtab does the same
        yield action
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from list_actions(command)
