"""CloudFormation stacks and their outputs."""

from dataclasses import dataclass, field
from typing import Any, Final, Self

from asyncbatch.aws.errors import translated
from asyncbatch.aws.session import AwsSession
from asyncbatch.errors import AwsError, StackNotFound

_READY: Final = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_COMPLETE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOutputs:
    """The outputs of a stack, by name."""

    stack: str
    region: str
    values: dict[str, str]

    def need(self, name: str, purpose: str) -> str:
        """Return an output.

        Raises
        ------
        StackNotFound
            If the stack does not have it.
        """
        if name not in self.values:
            there = ", ".join(sorted(self.values)) or "none"
            raise StackNotFound(
                f"stack {self.stack!r} in {self.region} has no output {name}, needed {purpose}; it has: {there}"
            )
        return self.values[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """Stacks through one client."""

    region: str
    _client: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return stacks over a client of their own."""
        return cls(region=session.region, _client=await session.client("cloudformation"))

    async def outputs(self, stack: str) -> StackOutputs:
        """Return the outputs of a stack that is in working order.

        Raises
        ------
        StackNotFound
            If there is no such stack, or it is not in working order.
        """
        try:
            with translated(f"cloudformation:DescribeStacks {stack}"):
                answer = await self._client.describe_stacks(StackName=stack)
        except AwsError as error:
            if "does not exist" in str(error):
                raise StackNotFound(_absent(stack, self.region)) from error
            raise
        if not answer["Stacks"]:
            raise StackNotFound(_absent(stack, self.region))
        found = answer["Stacks"][0]
        if found["StackStatus"] not in _READY:
            raise StackNotFound(
                f"stack {stack!r} in {self.region} is in state {found['StackStatus']}, so it can't be used"
            )
        values = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
        return StackOutputs(stack=stack, region=self.region, values=values)

    async def create(self, stack: str, template: str) -> None:
        """Create a stack from a template, and wait until it stands."""
        with translated(f"cloudformation:CreateStack {stack}"):
            await self._client.create_stack(
                StackName=stack, TemplateBody=template, Capabilities=["CAPABILITY_NAMED_IAM"]
            )
            waiter = self._client.get_waiter("stack_create_complete")
            await waiter.wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 900})


def _absent(stack: str, region: str) -> str:
    return (
        f"no stack {stack!r} in region {region}; "
        "set RIOS_AWSBATCH_STACK and RIOS_AWSBATCH_REGION, or try it without AWS in local mode"
    )
