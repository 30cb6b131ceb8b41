"""CloudFormation stacks and their outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

from asyncbatch.aws.errors import is_stack_missing, is_unchanged, translate_errors
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
        """Return an output, which must exist.

        Raises
        ------
        StackNotFound
            If the stack does not have it.
        """
        if name not in self.values:
            there = ", ".join(sorted(self.values)) or "none"
            raise StackNotFound(
                f"stack {self.stack!r} in {self.region} has no output {name}, required {purpose}; its outputs: {there}"
            )
        return self.values[name]

    @property
    def max_jobs(self) -> int | None:
        """Maximum number of workers; None if the stack has no limit."""
        return int(self.values["BatchMaxJobs"]) if "BatchMaxJobs" in self.values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """The state of a stack."""

    id: str
    status: str
    reason: str
    parameters: dict[str, str]
    outputs: dict[str, str]

    @property
    def changing(self) -> bool:
        """Whether CloudFormation is changing the stack."""
        return self.status.endswith("_IN_PROGRESS")

    @property
    def ready(self) -> bool:
        """Whether the stack can be used."""
        return self.status in _READY

    @property
    def fix(self) -> str:
        """What to do if the stack is not ready."""
        return "wait until it ends" if self.changing else "delete it with `asyncbatch stack delete` and create it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackEvent:
    """An event of a resource of a stack."""

    id: str
    resource: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """Creates, changes and describes stacks."""

    region: str
    _client: Any = field(repr=False)

    @classmethod
    async def open(cls, session: AwsSession) -> Self:
        """Return an instance with its own client."""
        return cls(region=session.region, _client=await session.client("cloudformation"))

    async def outputs(self, stack: str) -> StackOutputs:
        """Return the outputs of a stack that is ready.

        Raises
        ------
        StackNotFound
            If there is no such stack, or it is not ready.
        """
        found = await self.state(stack)
        if found is None:
            raise StackNotFound(_format_not_found(stack, self.region))
        if not found.ready:
            raise StackNotFound(f"stack {stack!r} in {self.region} can't be used in state {found.status}: {found.fix}")
        return StackOutputs(stack=stack, region=self.region, values=found.outputs)

    async def state(self, stack: str) -> StackState | None:
        """Return the state of a stack, given its name, or its id even after its deletion; None if there is none."""
        try:
            with translate_errors(f"cloudformation:DescribeStacks {stack}"):
                answer = await self._client.describe_stacks(StackName=stack)
        except AwsError as error:
            if is_stack_missing(error):
                return None
            raise
        for found in answer["Stacks"]:
            return StackState(
                id=found["StackId"],
                status=found["StackStatus"],
                reason=found.get("StackStatusReason", ""),
                parameters={one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", [])},
                outputs={one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", [])},
            )
        return None

    async def begin(
        self,
        change: Literal["create", "update"],
        stack: str,
        template: str,
        *,
        parameters: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> bool:
        """Start to create or update a stack; return False if there is nothing to change.

        Parameters
        ----------
        parameters : mapping
            Values by name; others have the template's defaults.
        tags : mapping
            Tags for all its resources.
        """
        wanted = {
            "StackName": stack,
            "TemplateBody": template,
            "Capabilities": ["CAPABILITY_IAM"],
            "Parameters": [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        }
        if tags or change == "create":  # an update without tags keeps the current ones
            wanted["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        call = self._client.create_stack if change == "create" else self._client.update_stack
        try:
            with translate_errors(f"cloudformation:{change.title()}Stack {stack}"):
                await call(**wanted)
        except AwsError as error:
            if is_unchanged(error):
                return False
            raise
        return True

    async def begin_delete(self, stack: str) -> None:
        """Start to delete a stack, given its name or id."""
        with translate_errors(f"cloudformation:DeleteStack {stack}"):
            await self._client.delete_stack(StackName=stack)

    async def events(self, stack: str) -> list[StackEvent]:
        """Return the newest events of a stack, given its name or id, oldest first."""
        with translate_errors(f"cloudformation:DescribeStackEvents {stack}"):
            answer = await self._client.describe_stack_events(StackName=stack)
        return [
            StackEvent(
                id=found["EventId"],
                resource=found["LogicalResourceId"],
                status=found.get("ResourceStatus", ""),
                reason=found.get("ResourceStatusReason", ""),
            )
            for found in reversed(answer["StackEvents"])
        ]

    async def create(self, stack: str, template: str) -> None:
        """Create a stack from a template without parameters, and wait until it is ready."""
        await self.begin("create", stack, template, parameters={}, tags={})
        with translate_errors(f"cloudformation:CreateStack {stack}"):
            waiter = self._client.get_waiter("stack_create_complete")
            await waiter.wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 900})


def _format_not_found(stack: str, region: str) -> str:
    return (
        f"stack {stack!r} not found in {region}. Create it with 'asyncbatch stack create', "
        "set RIOS_AWSBATCH_STACK and RIOS_AWSBATCH_REGION, or use local mode, which needs no AWS"
    )
