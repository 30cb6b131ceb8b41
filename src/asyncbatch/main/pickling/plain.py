"""Recognises values that can be pickled without a search for the user's code, like most arguments. Does no I/O."""

from typing import Any, Final

_SCALARS: Final = frozenset({bool, bytes, complex, float, int, str, type(None)})

_DTYPES: Final = frozenset("biufcSUmM")
"""Kinds of dtypes whose arrays contain no Python objects."""


def is_plain(value: Any, *, depth: int = 8) -> bool:  # noqa: ANN401 - any value
    """Return whether a value consists of Python's numbers and texts and of numpy's arrays, in tuples, lists and dicts.

    Subclasses are not plain, since their pickles refer to their class. What is nested deeper than `depth` counts as not
    plain, as does what contains itself.
    """
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is tuple or kind is list:
        return depth > 0 and all(is_plain(item, depth=depth - 1) for item in value)
    if kind is dict:
        return is_plain([*value, *value.values()], depth=depth)
    return kind.__module__ == "numpy" and _is_plain_array(value)


def _is_plain_array(value: Any) -> bool:  # noqa: ANN401 - of a type of numpy's, which is not imported here
    return type(value).__name__ == "ndarray" and value.dtype.kind in _DTYPES
