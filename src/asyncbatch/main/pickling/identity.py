"""Digests of functions and arguments that are the same in every process, unlike pickles.

Pickles of equal objects differ from process to process: sets have another order, classes of a script get a random id,
and equal strings are one object or two. Here, the objects from which a program or a tile would be pickled are reduced
to what determines its result.
"""

import hashlib
import io
import struct
from collections.abc import Callable
from functools import partial
from types import CodeType, ModuleType
from typing import Any, Final

from asyncbatch.main.pickling.pickler import CodePickler, pickle_with_code
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
"""Attributes of a code object that affect what it does, without file and line numbers."""

_OF_THE_SOURCE: Final = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
"""Attributes of classes that do not affect what they do; docstrings of dataclasses depend on the order of sets."""

_CLASS_REDUCTION: Final = 6
"""Parts of cloudpickle's reduction of a class; the second has a random id in its last place but one."""


def identify(*objects: object) -> bytes:
    """Return a digest of some objects, and of the user's code that they refer to.

    It changes if a function's code, or anything it refers to, changes. Comments, line numbers, file names and versions
    of installed packages have no effect.

    Returns
    -------
    bytes
        The digest, of 32 bytes.

    Raises
    ------
    Exception
        Pickling may raise any exception.
    """
    digest: bytes = pickle_with_code(objects, _hash, tile=True, pickler=_Canonical)
    return digest


def _hash(obj: object, *, dump: codec.Dump) -> bytes:
    """Return the digest of a pickle and its out-of-band buffers."""
    buffers: list[Any] = []
    hasher = hashlib.sha256(dump(obj, protocol=5, buffer_callback=buffers.append))
    for buffer in buffers:
        raw = buffer.raw()
        hasher.update(struct.pack("<Q", raw.nbytes))
        hasher.update(raw)
    return hasher.digest()


class _Canonical(CodePickler):
    """Pickles for a digest; its output can't be unpickled."""

    def __init__(
        self,
        stream: io.BytesIO,
        protocol: int,
        buffer_callback: Callable[[Any], object],
        *,
        code: Any,  # noqa: ANN401 - the base class's signature
        found: dict[str, ModuleType],
        make: Callable[..., ModuleType],
    ) -> None:
        super().__init__(stream, protocol, buffer_callback, code=code, found=found, make=make)
        self._renew: Callable[[io.BytesIO], _Canonical] = partial(
            _Canonical, protocol=protocol, buffer_callback=buffer_callback, code=code, found=found, make=make
        )

    def persistent_id(self, obj: object) -> bytes | None:
        """Return a replacement for an object; None to pickle it.

        Equal strings and constants have the same replacement, even if they are different objects.
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

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401 - any object
        """Return the reduction of an object: classes are reduced without their random id."""
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
        """Ignore source text, since comments have no effect."""


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
    """Return bytes that identify a constant of a code object, including its type: 1, 1.0 and True differ."""
    kind = type(constant).__name__.encode()
    if isinstance(constant, CodeType):
        return kind + _hash_code(constant)
    if isinstance(constant, tuple):
        return kind + b"".join(struct.pack("<Q", len(part)) + part for part in map(_describe_constant, constant))
    if isinstance(constant, frozenset):
        return kind + b"".join(sorted(hashlib.sha256(_describe_constant(each)).digest() for each in constant))
    return kind + repr(constant).encode("utf-8", "surrogatepass")
