"""Reads the project's template for tests."""

import re
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

TEMPLATE: Final = files("asyncbatch") / "infra" / "batch.yaml"


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """A YAML loader that converts CloudFormation's short forms of functions to long forms."""


def _expand(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    """Return the long form of a function, as in CloudFormation's reference."""
    sequence = isinstance(node, yaml.SequenceNode)
    value: Any = loader.construct_sequence(node, deep=True) if sequence else loader.construct_scalar(node)
    if name == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name if name in {"Ref", "Condition"} else f"Fn::{name}": value}


_Loader.add_multi_constructor("!", _expand)


@cache
def read_template() -> dict[str, Any]:
    """Return the template as plain objects, with functions in their long form."""
    found: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)  # noqa: S506 - as safe as the one that it extends
    return found


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type."""
    resources = read_template()["Resources"].items()
    return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}


def listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM takes one or a list
    """Return a value that may be a single item or a list as a list."""
    return value if isinstance(value, list) else [value]


def find_statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a role's inline policies."""
    return [statement for policy in role.get("Policies", []) for statement in policy["PolicyDocument"]["Statement"]]


def find_references(value: Any) -> set[str]:  # noqa: ANN401 - any part of a template
    """Return the resources to which a part of a template refers."""
    found: set[str] = set()
    if isinstance(value, dict):
        for key, part in value.items():
            if key in {"Ref", "DependsOn", "Condition"} and isinstance(part, str):
                found.add(part)
            elif key == "Fn::GetAtt":
                found.add(listed(part)[0].partition(".")[0])
            elif key == "Fn::Sub":
                found |= {name.partition(".")[0] for name in re.findall(r"\$\{([\w.]+)\}", listed(part)[0])}
            found |= find_references(part)
    elif isinstance(value, list):
        found |= {name for part in value for name in find_references(part)}
    return found
