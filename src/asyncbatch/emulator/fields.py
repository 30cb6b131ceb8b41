"""Reads the fields of a JSON request, and checks the types and ranges that SQS requires."""

import json
from collections.abc import Mapping
from dataclasses import fields as names_of
from dataclasses import replace
from typing import Any, Final

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.limits import SIZE_LIMIT
from asyncbatch.emulator.queues import VISIBILITY_LIMIT, QueueAttributes

Fields = Mapping[str, Any]

ATTRIBUTES: Final = {
    "VisibilityTimeout": ("visibility", 0, VISIBILITY_LIMIT),
    "MessageRetentionPeriod": ("retention", 60, 14 * 24 * 3600),
    "DelaySeconds": ("delay", 0, 900),
    "ReceiveMessageWaitTimeSeconds": ("wait", 0, 20),
    "MaximumMessageSize": ("size_limit", 1024, SIZE_LIMIT),
}
"""Attributes of a queue that can be set: their names in `QueueAttributes`, minimum and maximum."""


def read_fields(body: bytes) -> Fields:
    """Return the fields of a request's body.

    Raises
    ------
    ServiceError
        If it is not a JSON object.
    """
    try:
        fields = json.loads(body or b"{}")
    except ValueError as error:
        raise ServiceError("SerializationException", f"The request is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ServiceError("SerializationException", "The request is not a JSON object.")
    return fields


def read_text(fields: Fields, name: str) -> str:
    """Return a field that must be text.

    Raises
    ------
    ServiceError
        If it is missing, or not text.
    """
    value = fields.get(name)
    if value is None:
        raise ServiceError("MissingParameter", f"The request must contain the parameter {name}.")
    if not isinstance(value, str):
        raise ServiceError("InvalidParameterValue", f"{name} must be text.")
    return value


def read_number(fields: Fields, name: str, least: int, most: int) -> int | None:
    """Return a field that must be an integer, or None if it is missing.

    Raises
    ------
    ServiceError
        If it is not an integer, or out of range.
    """
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        reason = f"Must be between {least} and {most}, if provided"
        raise ServiceError(
            "InvalidParameterValue", f"Value {value!r} for parameter {name} is invalid. Reason: {reason}."
        )
    return value


def read_texts(fields: Fields, name: str) -> dict[str, str]:
    """Return a field that must be an object of texts; an empty object if it is missing.

    Raises
    ------
    ServiceError
        If it is invalid.
    """
    value = fields.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ServiceError("InvalidParameterValue", f"{name} must be an object of texts.")
    return value


def read_list(fields: Fields, name: str) -> list[Any]:
    """Return a field that must be a list; an empty list if it is missing.

    Raises
    ------
    ServiceError
        If it is invalid.
    """
    value = fields.get(name) or []
    if not isinstance(value, list):
        raise ServiceError("InvalidParameterValue", f"{name} must be a list.")
    return value


def read_attributes(texts: Mapping[str, str], before: QueueAttributes) -> QueueAttributes:
    """Return a queue's attributes after those in `texts` are set.

    Raises
    ------
    ServiceError
        If an attribute is unknown, or its value is out of range.
    """
    changes = {}
    for name, text in texts.items():
        if name not in ATTRIBUTES:
            raise ServiceError("InvalidAttributeName", f"Unknown Attribute {name}.")
        own, least, most = ATTRIBUTES[name]
        if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            raise ServiceError("InvalidAttributeValue", f"Invalid value for the parameter {name}.")
        changes[own] = int(text)
    return replace(before, **changes)


def write_attributes(attributes: QueueAttributes) -> dict[str, str]:
    """Return a queue's attributes as texts."""
    values = {field.name: str(getattr(attributes, field.name)) for field in names_of(attributes)}
    return {name: values[own] for name, (own, _, _) in ATTRIBUTES.items()}
