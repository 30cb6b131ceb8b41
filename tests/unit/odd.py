"""Strategies for invalid JSON messages, which must be rejected."""

from typing import Any, Final

from hypothesis import strategies as st

texts: Final = st.text(st.characters(codec=None), max_size=12)
"""Any characters, including NUL, control characters and lone surrogates."""

numbers: Final = (
    st.floats()
    | st.integers()
    | st.sampled_from([-1, 0, 2**63, 2**64, 2**64 + 1, 10**400, -(10**400), float("nan"), float("inf"), 0.5, 1e300])
)

values: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
"""All values that Python's JSON supports."""


@st.composite
def changes(draw: st.DrawFn, values_of: dict[str, Any]) -> dict[str, Any]:
    """Return an object with up to two fields removed, replaced or added."""
    changed = dict(values_of)
    for _ in range(draw(st.integers(1, 2))):
        name = draw(st.sampled_from(sorted(values_of)) | texts)
        if draw(st.booleans()):
            changed[name] = draw(values)
        else:
            changed.pop(name, None)
    return changed
