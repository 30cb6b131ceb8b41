"""Digests of functions and arguments that are the same in another process, where pickles are not.

Pickles of equal objects differ from process to process: sets have another order, classes of a script get a random id,
and equal strings are one object or two. Here, what a program or a tile would be pickled from is reduced to what decides
about its result.
"""

import hashlib
import io
import struct
from collections.abc import Callable
from functools import partial
from types import CodeType, ModuleType
from typing import Any, Final

from asyncbatch.main.pickling import CodePickler, pickle_with_code
from asyncbatch.wire import codec

_CODE: Final = (
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_flags",
    "co_name",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_code",
    "co_exceptiontable",
)
"""What a code object does; not in which file and lines."""

_OF_THE_SOURCE: Final = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
"""Attributes of classes that say nothing of what they do; dataclasses write the order of sets into their docstring."""

_CLASS_REDUCTION: Final = 6
"""Parts of cloudpickle's reduction of a class; the second has a random id in its last place but one."""


def identify(*objects: object) -> bytes:
    """Return a digest of some objects, and of the user's code that they refer to.

    It differs wherever a function's code, or anything that it refers to, differs. Comments, line numbers and file
    names of sources do not count, and neither do versions of installed packages.

    Returns
    -------
    bytes
        32 of them.

    Raises
    ------
    Exception
        Whatever pickling raises.
    """
    digest: bytes = pickle_with_code(objects, _hash, tile=True, pickler=_Canonical)
    return digest


def _hash(obj: object, *, dump: codec.Dump) -> bytes:
    """Return the digest of a pickle and of the buffers beside it."""
    buffers: list[Any] = []
    hasher = hashlib.sha256(dump(obj, protocol=5, buffer_callback=buffers.append))
    for buffer in buffers:
        raw = buffer.raw()
        hasher.update(struct.pack("<Q", raw.nbytes))
        hasher.update(raw)
    return hasher.digest()


class _Canonical(CodePickler):
    """Pickles for a digest: what it writes can't be unpickled."""

    def __init__(
        self,
        stream: io.BytesIO,
        protocol: int,
        buffer_callback: Callable[[Any], object],
        *,
        code: Any,  # noqa: ANN401 - as of the base class
        found: dict[str, ModuleType],
        make: Callable[..., ModuleType],
    ) -> None:
        super().__init__(stream, protocol, buffer_callback, code=code, found=found, make=make)
        self._renew: Callable[[io.BytesIO], _Canonical] = partial(
            _Canonical, protocol=protocol, buffer_callback=buffer_callback, code=code, found=found, make=make
        )

    def persistent_id(self, obj: object) -> bytes | None:
        """Return what stands for an object; None where it is pickled.

        Strings and constants are the same whether or not they are one object.
        """
        match obj:
            case str() if type(obj) is str:
                return b"str" + obj.encode("utf-8", "surrogatepass")
            case bytes() if type(obj) is bytes:
                return b"bytes" + obj
            case set() | frozenset() if type(obj) in {set, frozenset}:
                return type(obj).__name__.encode() + b"".join(sorted(map(self._hash_alone, obj)))
            case CodeType():
                return b"code" + _hash_code(obj)
        return None

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - whatever is pickled
        """Return how an object is pickled: classes without their random id."""
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == _CLASS_REDUCTION:
            make, arguments, (attributes, slots), *rest = reduced
            kept = {name: value for name, value in attributes.items() if name not in _OF_THE_SOURCE}
            return make, (*arguments[:-2], None), (kept, slots), *rest
        return reduced

    def _hash_alone(self, obj: object) -> bytes:
        stream = io.BytesIO()
        pickler = self._renew(stream)
        pickler.dump(obj)
        return hashlib.sha256(stream.getvalue()).digest()

    def _note_text(self, file: str) -> None:
        """Leave the source's text out: comments do not count."""


def _hash_code(code: CodeType) -> bytes:
    """Return the digest of a code object."""
    parts = [repr(getattr(code, name)).encode() for name in _CODE]
    parts += [_describe_constant(constant) for constant in code.co_consts]
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(struct.pack("<Q", len(part)))
        hasher.update(part)
    return hasher.digest()


def _describe_constant(constant: object) -> bytes:
    """Return what tells a constant of a code object from others, its type included: 1, 1.0 and True are three."""
    kind = type(constant).__name__.encode()
    if isinstance(constant, CodeType):
        return kind + _hash_code(constant)
    if isinstance(constant, tuple):
        return kind + b"".join(struct.pack("<Q", len(part)) + part for part in map(_describe_constant, constant))
    if isinstance(constant, frozenset):
        return kind + b"".join(sorted(hashlib.sha256(_describe_constant(each)).digest() for each in constant))
    return kind + repr(constant).encode("utf-8", "surrogatepass")
