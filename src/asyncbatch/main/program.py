"""Programs: a function with its shared arguments, pickled once."""

import functools
import hashlib
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import BuiltinFunctionType, MethodType
from typing import Any, Self

from asyncbatch.errors import ProgramError
from asyncbatch.main.options import Options, RetryOn
from asyncbatch.main.pickling.culprits import find_culprit
from asyncbatch.main.pickling.fingerprint import Fingerprint
from asyncbatch.main.pickling.pickler import encode_with_code
from asyncbatch.main.pickling.plain import is_plain
from asyncbatch.main.pickling.usermodules import find_module_name
from asyncbatch.main.storage.resumption import Resumption
from asyncbatch.wire import codec
from asyncbatch.wire.processstate import ProcessState


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A function with its shared arguments, pickled for the workers.

    Like ``functools.partial(fn, *shared, **shared)``, it puts shared arguments before those of a tile. Its content is
    the pickled tuple of main's `ProcessState`, the function, and its `UserCode`.
    """

    name: str
    """The function's name, for messages."""
    digest: str
    """SHA-256 of the content."""
    content: bytes = field(repr=False)
    options: Options = field(default_factory=Options)
    """Options for its tiles."""
    speculate: bool = True
    """Whether slow tiles may be sent a second time while they are being computed."""
    resumption: Resumption | None = field(default=None, repr=False, compare=False)
    """Stores the results of its tiles, if set."""

    def with_options(self, *, tile_timeout: float | None = None, retry_on: RetryOn = ()) -> Self:
        """Return the same program with other options for its tiles.

        Parameters
        ----------
        tile_timeout : float, optional
            Maximum number of seconds of an attempt at a tile; by default the pool's setting.
        retry_on : exception class, or sequence of them
            Exceptions of the function after which its tile is retried, up to the pool's `max_attempts`; by default
            none.

        Raises
        ------
        SettingsError
            If a value is invalid.
        """
        return replace(self, options=Options.read(tile_timeout=tile_timeout, retry_on=retry_on))

    @classmethod
    def of(
        cls,
        fn: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        *,
        state: ProcessState | None = None,
    ) -> Self:
        """Pickle a function and its shared arguments.

        The user's modules to which the function refers, and those that it imports while it runs, are pickled by value,
        so that workers need not have them.

        Parameters
        ----------
        fn : callable
            The function.
        args, kwargs : tuple, mapping
            The arguments that all tiles share.
        state : ProcessState, optional
            The process state for the function; by default the current state of this process.

        Raises
        ------
        ProgramError
            If they can't be pickled; the message names the part.
        """
        called_for = _find_callee(fn, args, kwargs)
        name = getattr(called_for, "__qualname__", None) or repr(called_for)
        called = functools.partial(fn, *args, **kwargs) if args or kwargs else fn
        try:
            content = codec.join(encode_with_code(state or ProcessState.capture(), called))
        except Exception as error:
            found = find_culprit({"function": fn, **_name_arguments(args, kwargs)}) or error
            raise ProgramError(f"{name} can't be sent to workers: {found}") from error
        return cls(name=name, digest=hashlib.sha256(content).hexdigest(), content=content)


def _find_callee(fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """Return the user's function, which is among the arguments if asyncbatch's own function calls it."""
    if find_module_name(fn).partition(".")[0] != __name__.partition(".")[0]:
        return fn
    return next(filter(callable, [*args, *kwargs.values()]), fn)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    function: weakref.ref[Any]
    fingerprint: Fingerprint
    state: ProcessState
    program: Program


class ProgramCache:
    """Caches the programs of functions, so that a function passed again is not pickled again.

    A function is considered the same if it is the same object, refers to the same objects, and the process state is the
    same; changes in large objects in place are not detected. Methods are new objects at each access, so they are
    pickled each time, but uploaded only if the pickle is different.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def program(self, fn: Callable[..., object]) -> Program:
        """Return the program of a function without shared arguments.

        Raises
        ------
        ProgramError
            If it can't be pickled.
        """
        key = id(fn)
        known = self._known.get(key)
        state = ProcessState.capture()
        if known is not None and known.function() is fn and known.state == state and known.fingerprint.fits(fn):
            return known.program
        fingerprint = Fingerprint.of(fn)  # before pickling, so that changes during pickling are detected next time
        program = Program.of(fn, (), {})
        if not isinstance(fn, BuiltinFunctionType | MethodType):
            try:
                function = weakref.ref(fn, lambda _: self._known.pop(key, None))
            except TypeError:  # its class does not support weak references
                return program
            self._known[key] = _Known(function=function, fingerprint=fingerprint, state=state, program=program)
        return program


def encode_arguments(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
    """Return a tile's payload, a copy, so that later changes to the arguments have no effect.

    Raises
    ------
    ProgramError
        If an argument can't be pickled; the message names the part.
    """
    try:
        # The search for the user's code takes ten times as long as pickling itself.
        if is_plain(args) and is_plain(kwargs):
            return codec.join(codec.encode((args, kwargs, None)))
        return codec.join(encode_with_code(args, kwargs, tile=True))
    except Exception as error:
        found = find_culprit(_name_arguments(args, kwargs)) or error
        raise ProgramError(f"a tile can't be sent to workers: {found}") from error


def _name_arguments(args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
    return {**{f"argument {place}": arg for place, arg in enumerate(args)}, **kwargs}
