"""Programs: a function with its shared arguments, pickled once."""

import functools
import hashlib
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import BuiltinFunctionType, MethodType
from typing import Any, Self

from asyncbatch.errors import ProgramError
from asyncbatch.main.culprits import find_culprit
from asyncbatch.main.fingerprint import Fingerprint
from asyncbatch.main.options import Options, RetryOn
from asyncbatch.main.pickling import encode_with_code
from asyncbatch.main.resumption import Resumption
from asyncbatch.main.usermodules import find_module_name
from asyncbatch.wire import codec
from asyncbatch.wire.processstate import ProcessState


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A function with its shared arguments, as it is sent to the workers.

    Called with a tile's arguments it does what ``functools.partial(fn, *shared, **shared)`` does: the shared ones
    come first. The content is the pickled triple of main's `ProcessState`, that function, and its `UserCode`.
    """

    name: str
    """The function's name, for people."""
    digest: str
    """SHA-256 of the content."""
    content: bytes = field(repr=False)
    options: Options = field(default_factory=Options)
    """How its tiles are computed."""
    speculate: bool = True
    """Whether a slow tile may be computed a second time while it is being computed."""
    resumption: Resumption | None = field(default=None, repr=False, compare=False)
    """Where the results of its tiles are stored, if they are."""

    def with_options(self, *, tile_timeout: float | None = None, retry_on: RetryOn = ()) -> Self:
        """Return the same program for tiles that are computed in another way.

        Parameters
        ----------
        tile_timeout : float, optional
            Seconds that an attempt at a tile may take; by default the pool's setting.
        retry_on : exception class, or sequence of them
            What the function may raise for its tile to be computed again, up to the pool's `max_attempts`. By default
            what it raises is final.

        Raises
        ------
        SettingsError
            If a value is not usable.
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

        The user's own modules are pickled by value, so that a worker need not have them: those that the function
        refers to, and those that it imports while it runs.

        Parameters
        ----------
        fn : callable
            The function.
        args, kwargs : tuple, mapping
            The arguments that all tiles share.
        state : ProcessState, optional
            What the function is to find. Default is the state of this process now.

        Raises
        ------
        ProgramError
            If they do not pickle; it names the part that does not.
        """
        called_for = _called_for(fn, args, kwargs)
        name = getattr(called_for, "__qualname__", None) or repr(called_for)
        called = functools.partial(fn, *args, **kwargs) if args or kwargs else fn
        try:
            content = codec.join(encode_with_code(state or ProcessState.capture(), called))
        except Exception as error:
            found = find_culprit({"function": fn, **_named(args, kwargs)}) or error
            raise ProgramError(f"{name} can't be sent to workers: {found}") from error
        return cls(name=name, digest=hashlib.sha256(content).hexdigest(), content=content)


def _called_for(fn: Callable[..., object], args: tuple[object, ...], kwargs: Mapping[str, object]) -> object:
    """Return the user's function: where one of ours is to call it, it is among the arguments."""
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
    """The programs of plain functions, so that one passed again is not pickled again.

    A function counts as the same while it is the same object, refers to the same objects, and the process is in the
    same state; what was changed in place in a large object is not noticed. Methods are made anew at each access: they
    are pickled each time, and uploaded only where that gives something new.
    """

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}

    def program(self, fn: Callable[..., object]) -> Program:
        """Return the program of a function without shared arguments.

        Raises
        ------
        ProgramError
            If it does not pickle.
        """
        key = id(fn)
        known = self._known.get(key)
        state = ProcessState.capture()
        if known is not None and known.function() is fn and known.state == state and known.fingerprint.fits(fn):
            return known.program
        fingerprint = Fingerprint.of(fn)  # before pickling: what changes meanwhile is noticed the next time
        program = Program.of(fn, (), {})
        if not isinstance(fn, BuiltinFunctionType | MethodType):
            try:
                function = weakref.ref(fn, lambda _: self._known.pop(key, None))
            except TypeError:  # its class has no room for weak references
                return program
            self._known[key] = _Known(function=function, fingerprint=fingerprint, state=state, program=program)
        return program


def encode_arguments(args: tuple[object, ...], kwargs: Mapping[str, object]) -> bytes:
    """Return a tile's payload: a copy, so that what happens to the arguments afterwards does not matter.

    Raises
    ------
    ProgramError
        If an argument does not pickle; it names the part that does not.
    """
    try:
        return codec.join(encode_with_code(args, kwargs, tile=True))
    except Exception as error:
        found = find_culprit(_named(args, kwargs)) or error
        raise ProgramError(f"a tile can't be sent to workers: {found}") from error


def _named(args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
    return {**{f"argument {place}": arg for place, arg in enumerate(args)}, **kwargs}
