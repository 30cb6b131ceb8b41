"""The operations of CloudFormation and STS that local mode uses, over the query protocol (forms and XML)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qsl

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer, Request
from asyncbatch.emulator.stack import ACCOUNT
from asyncbatch.emulator.xml import Element, write_xml

_CLOUDFORMATION: Final = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
_STS: Final = "https://sts.amazonaws.com/doc/2011-06-15/"
_SERVER_ERROR: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The only stack."""

    name: str
    region: str
    created: float
    outputs: Mapping[str, str]

    @property
    def id(self) -> str:
        """Its ARN."""
        return f"arn:aws:cloudformation:{self.region}:{ACCOUNT}:stack/{self.name}/embedded"


class Query:
    """The services whose requests are forms.

    Parameters
    ----------
    stack : Stack
        The stack that CloudFormation describes.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._operations: dict[str, Callable[[Mapping[str, str], str], Answer]] = {
            "cloudformation:DescribeStacks": self._describe_stacks,
            "sts:GetCallerIdentity": self._identify,
        }

    def answer(self, request: Request, operation: str) -> Answer:
        """Answer a request for an operation, as ``service:Operation``.

        Raises
        ------
        ServiceError
            If it is rejected.
        """
        if operation not in self._operations:
            raise ServiceError("InvalidAction", f"The embedded endpoint has no operation {operation}.")
        form = dict(parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True))
        return self._operations[operation](form, request.scope.region)

    def _describe_stacks(self, form: Mapping[str, str], region: str) -> Answer:
        stack, name = self._stack, form.get("StackName")
        if region != stack.region or name not in {None, stack.name, stack.id}:
            raise ServiceError("ValidationError", f"Stack with id {name} does not exist")
        described: Element = {
            "StackName": stack.name,
            "StackId": stack.id,
            "CreationTime": datetime.fromtimestamp(stack.created, UTC).isoformat(),
            "StackStatus": "CREATE_COMPLETE",
            "Outputs": {
                "member": [{"OutputKey": key, "OutputValue": value} for key, value in stack.outputs.items()],
            },
        }
        return _answer("DescribeStacks", {"Stacks": {"member": [described]}}, _CLOUDFORMATION)

    def _identify(self, _form: Mapping[str, str], _region: str) -> Answer:
        found: Element = {"Arn": f"arn:aws:iam::{ACCOUNT}:user/local", "UserId": "local", "Account": ACCOUNT}
        return _answer("GetCallerIdentity", found, _STS)


def write_error(error: ServiceError) -> Answer:
    """Format an error for clients of these services."""
    side = "Receiver" if error.status >= _SERVER_ERROR else "Sender"
    content: Element = {"Error": {"Type": side, "Code": error.code, "Message": error.message}, "RequestId": "0"}
    return Answer(status=error.status, body=write_xml("ErrorResponse", content), content_type="text/xml")


def _answer(operation: str, result: Element, namespace: str) -> Answer:
    content: Element = {f"{operation}Result": result, "ResponseMetadata": {"RequestId": "0"}}
    return Answer(body=write_xml(f"{operation}Response", content, namespace=namespace), content_type="text/xml")
