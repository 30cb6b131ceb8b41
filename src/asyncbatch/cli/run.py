"""The command ``asyncbatch run``: a RIOS script, unchanged, with our managers registered."""

import ast
import os
import sys
from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from asyncbatch.cli import arguments as read
from asyncbatch.errors import ProgramError, RiosMissing

HELP = "run a RIOS script, unchanged, on AWS Batch"

EPILOG = """\
The script runs as `python SCRIPT.py` runs it. Where it asks RIOS for `AWSBatch`, by setJobManagerType,
$RIOS_DFLT_JOBMGRTYPE, or a ConcurrencyStyle of that kind or of CW_AWSBATCH, its tiles are computed by our workers.

example:
  asyncbatch run --local --workers 2 ndvi.py scene.tif
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script with its arguments."""

    named: str
    """The path as it was given."""
    path: Path
    """The same, absolute."""
    source: bytes
    arguments: list[str]


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.epilog = EPILOG
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(command=run)
    parser.add_argument("--local", action="store_true", help="on this machine, with an embedded endpoint; needs no AWS")
    parser.add_argument(
        "--workers", type=read.positive, metavar="N", help="how many to start (default: what the script asks for)"
    )
    parser.add_argument("script", type=Path, metavar="SCRIPT.py", help="what to run")
    parser.add_argument("arguments", nargs=REMAINDER, metavar="ARGS", help="the script's own arguments")


def prepared(arguments: Namespace) -> Script:
    """Read the script, put what is wished for it into the environment, and register the managers.

    Raises
    ------
    ProgramError
        If there is no such script.
    RiosMissing
        If the script imports RIOS, and it is not installed.
    """
    try:
        source = arguments.script.read_bytes()
    except OSError as error:
        raise ProgramError(f"{arguments.script} can't be read: {error.strerror}") from error
    if arguments.local:
        os.environ["ASYNCBATCH_LOCAL"] = "1"
    if arguments.workers:
        os.environ["ASYNCBATCH_WORKERS"] = str(arguments.workers)
    try:
        import_module("asyncbatch.rios")
    except RiosMissing:
        if _names_rios(source):  # one that uses a pool of its own needs no RIOS
            raise
    sys.excepthook = _from_the_script_on(sys.excepthook)
    return Script(
        named=str(arguments.script), path=arguments.script.absolute(), source=source, arguments=arguments.arguments
    )


def run(script: Script) -> None:
    """Run a script as ``__main__``; whatever it raises goes on."""
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(script.path), __builtins__=sys.modules["builtins"])
    # It stays there: what the script leaves for the end of the process still needs its names.
    sys.modules["__main__"] = main
    sys.argv = [script.named, *script.arguments]
    sys.path[0] = str(script.path.parent)
    code = compile(script.source, str(script.path), "exec", dont_inherit=True)
    exec(code, main.__dict__)  # noqa: S102 - the user's own script, at the user's command


def _names_rios(source: bytes) -> bool:
    """Return whether a script imports RIOS; one that can't be read will say so itself."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return False
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return any(name.split(".")[0] == "rios" or name.startswith("asyncbatch.rios") for name in names)


def _from_the_script_on(
    shown: Callable[[type[BaseException], BaseException, TracebackType | None], Any],
) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """Return an exception hook that shows tracebacks without the frames of ours that lead to the script."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        below = trace
        while below is not None and below.tb_frame.f_code is not run.__code__:
            below = below.tb_next
        kept = trace if below is None else below.tb_next
        shown(kind, error.with_traceback(kept), kept)

    return hook
