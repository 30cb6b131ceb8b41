"""The command ``asyncbatch run``: runs a RIOS script unchanged, with its tiles computed by workers."""

import ast
import logging
import os
import sys
from argparse import REMAINDER, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from asyncbatch.cli import arguments as read
from asyncbatch.errors import ProgramError, RiosMissing

if TYPE_CHECKING:
    from asyncbatch.rios.calls import Tally

log: Final = logging.getLogger(__name__)

HELP = "run a RIOS script, unchanged, on AWS Batch"

EPILOG = """\
Run the script as `python SCRIPT.py` does, but compute the tiles of each `rios.applier.apply` on workers, whatever
concurrency the script requests. A line at the end shows how many tiles workers computed. With --respect-script, use
workers only if the script requests them from RIOS, with the job manager type `AWSBatch`, or a ConcurrencyStyle of that
kind or of CW_AWSBATCH.

example:
  asyncbatch run --local --workers 2 ndvi.py scene.tif
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A script and its arguments."""

    named: str
    """The path as the user passed it."""
    path: Path
    """The absolute path."""
    source: bytes
    arguments: list[str]
    needs_rios: bool
    tally: "Tally | None"
    """Counts RIOS's tiles; None without RIOS."""


def describe(parser: ArgumentParser) -> None:
    """Add the command's arguments to its parser."""
    parser.epilog = EPILOG
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.set_defaults(command=run)
    parser.add_argument(
        "--local", action="store_true", help="run workers on this machine, with an embedded endpoint instead of AWS"
    )
    parser.add_argument(
        "--workers",
        type=read.parse_positive,
        metavar="N",
        help="number of workers (default: the script's own number, or 2)",
    )
    parser.add_argument(
        "--respect-script",
        action="store_true",
        help="keep the script's concurrency settings (default: send all tiles to workers)",
    )
    parser.add_argument("script", type=Path, metavar="SCRIPT.py", help="script to run")
    parser.add_argument("arguments", nargs=REMAINDER, metavar="ARGS", help="arguments of the script")


def prepare(arguments: Namespace) -> Script:
    """Read the script, pass the options in the environment, and register RIOS's managers.

    Raises
    ------
    ProgramError
        If there is no such script.
    RiosMissing
        If the script imports RIOS, but RIOS is not installed.
    """
    try:
        source = arguments.script.read_bytes()
    except OSError as error:
        raise ProgramError(f"{arguments.script} can't be read: {error.strerror}") from error
    if arguments.local:
        os.environ["ASYNCBATCH_LOCAL"] = "1"
    if arguments.workers:
        os.environ["ASYNCBATCH_WORKERS"] = str(arguments.workers)
    needs_rios, tally = _imports_rios(source), None
    try:
        import_module("asyncbatch.rios")
        tally = import_module("asyncbatch.rios.redirect").redirect_apply(respect_script=arguments.respect_script)
    except RiosMissing:
        if needs_rios:  # a script that opens its own pool needs no RIOS
            raise
    sys.excepthook = _hide_own_frames(sys.excepthook)
    return Script(
        named=str(arguments.script),
        path=arguments.script.absolute(),
        source=source,
        arguments=arguments.arguments,
        needs_rios=needs_rios,
        tally=tally,
    )


def run(script: Script) -> None:
    """Run a script as ``__main__``, and print where its tiles were computed; its exceptions propagate."""
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(script.path), __builtins__=sys.modules["builtins"])
    # It stays there, since code that runs at the end of the process still needs its names.
    sys.modules["__main__"] = main
    sys.argv = [script.named, *script.arguments]
    sys.path[0] = str(script.path.parent)
    code = compile(script.source, str(script.path), "exec", dont_inherit=True)
    try:
        exec(code, main.__dict__)  # noqa: S102 - the user's own script
    finally:
        error = sys.exception()
        _close(script, ended=error is None or isinstance(error, SystemExit))


def _close(script: Script, *, ended: bool) -> None:
    """Print how many tiles workers and main have computed.

    Parameters
    ----------
    script : Script
        The script that ran.
    ended : bool
        Whether it ended without an error.
    """
    if script.tally is None:
        return
    workers, main = script.tally.workers, script.tally.main
    with suppress(OSError, ValueError):  # the script may have closed the stream
        if workers or main:
            print(f"asyncbatch: {workers} tiles computed by workers, {main} by main", file=sys.stderr, flush=True)
        if ended and script.needs_rios and not workers:
            log.warning("workers computed no tiles of rios.applier.apply", extra={"action": "no_tiles_on_workers"})


def _imports_rios(source: bytes) -> bool:
    """Return whether a script imports RIOS; False if it can't be parsed, since running it will raise that error."""
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except (SyntaxError, ValueError):
        return False
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level]
    return any(name.split(".")[0] == "rios" or name.startswith("asyncbatch.rios") for name in names)


def _hide_own_frames(
    shown: Callable[[type[BaseException], BaseException, TracebackType | None], Any],
) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """Return an exception hook that hides asyncbatch's frames above the script's in tracebacks."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        below = trace
        while below is not None and below.tb_frame.f_code is not run.__code__:
            below = below.tb_next
        kept = trace if below is None else below.tb_next
        shown(kind, error.with_traceback(kept), kept)

    return hook
