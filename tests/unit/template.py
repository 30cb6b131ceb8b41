"""The template that ships, as tests read it."""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from cfnlint.decode import decode


@cache
def read_template() -> dict[str, Any]:
    """Return the template as plain objects, functions in their long form."""
    found, problems = decode(str(files("asyncbatch") / "infra" / "batch.yaml"))
    assert not problems
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]  # a template is an object


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type."""
    resources = read_template()["Resources"].items()
    return {name: resource["Properties"] for name, resource in resources if resource["Type"] == kind}


def listed(value: Any) -> list[Any]:  # noqa: ANN401 - IAM takes one or a list
    """Return what may be given as one or as a list, as a list."""
    return value if isinstance(value, list) else [value]


def find_statements(role: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a role's own policies."""
    return [statement for policy in role.get("Policies", []) for statement in policy["PolicyDocument"]["Statement"]]
