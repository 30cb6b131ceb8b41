"""XML in the form of AWS's services."""

from collections.abc import Mapping, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from asyncbatch.emulator.faults import ServiceError

Element = str | int | bool | Mapping[str, "Element | Sequence[Element]"]
"""Text, or elements by name; a sequence repeats its element."""

_ESCAPES: Final = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"} | {chr(code): f"&#{code};" for code in range(32)}
)


def write_xml(name: str, content: Element, *, namespace: str = "") -> bytes:
    """Return a document with one element."""
    start = f'<{name} xmlns="{namespace}">' if namespace else f"<{name}>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{start}{_write(content)}</{name}>'.encode("utf-8", "replace")


def read_xml(body: bytes) -> ET.Element:
    """Return a document's root element, with namespaces removed from names.

    Raises
    ------
    ServiceError
        If it is not well-formed.
    """
    try:
        root = ET.fromstring(body)  # noqa: S314 - only clients with the endpoint's key can send it
    except ET.ParseError as error:
        raise ServiceError("MalformedXML", f"The XML you provided was not well-formed: {error}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _write(content: Element) -> str:
    if isinstance(content, Mapping):
        return "".join(_write_named(name, one) for name, one in content.items())
    if isinstance(content, bool):
        return str(content).lower()
    return str(content).translate(_ESCAPES)


def _write_named(name: str, content: "Element | Sequence[Element]") -> str:
    several = content if isinstance(content, Sequence) and not isinstance(content, str) else (content,)
    return "".join(f"<{name}>{_write(one)}</{name}>" for one in several)
