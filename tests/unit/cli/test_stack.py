"""Tests of the questions before a stack is changed, and of the order in which it and its runs are deleted."""

from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncbatch import Settings
from asyncbatch.aws.stacks import StackState
from asyncbatch.cli.stack import delete, modify
from asyncbatch.errors import AccessDenied, StackFailed
from asyncbatch.stack.runs import FoundRun, StackRuns
from asyncbatch.stack.template import StackOptions

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Stack:
    """A deployment and a sweep that record their calls."""

    stack, region = "Trees", "us-west-2"

    def __init__(self, status: str = "CREATE_COMPLETE", error: Exception | None = None) -> None:
        self.done: list[str] = []
        self._status = status
        self._error = error

    async def to_delete(self) -> StackState:
        return StackState(id="stack/1", status=self._status, reason="", parameters={}, outputs={})

    async def to_modify(self) -> StackState:
        return await self.to_delete()

    async def modify(self, _wish: StackOptions) -> bool:
        self.done.append("modify")
        return True

    async def list_event_ids(self) -> set[str]:
        return set()

    async def delete(self) -> str:
        self.done.append("empty and delete")
        return "stack/1"

    @asynccontextmanager
    async def open(self, _settings: Settings) -> AsyncIterator["Stack"]:
        yield self

    async def list_runs(self) -> Sequence[FoundRun]:
        return [FoundRun(run="r", age=9.0, silence=1.0, run_lease=120.0, queues=("q",), objects=True, jobs=())]

    async def remove(self, run: FoundRun) -> None:
        self.done.append(f"remove {run.run}")

    async def end_all_jobs(self) -> None:
        self.done.append("end all jobs")
        if self._error:
            raise self._error


async def run_delete(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StackRuns, "open", stack.open)
    arguments = Namespace(stackname="Trees", region="us-west-2", yes=True, wait=False, quiet=True)
    deployment: Any = stack
    await delete(deployment, arguments)


async def test_bucket_is_emptied_after_all_writers_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack()
    await run_delete(stack, monkeypatch)
    assert stack.done == ["remove r", "end all jobs", "empty and delete"]


async def test_stack_whose_jobs_do_not_end_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(error=StackFailed("2 jobs have not ended"))
    with pytest.raises(StackFailed):
        await run_delete(stack, monkeypatch)
    assert "empty and delete" not in stack.done


async def test_stack_whose_jobs_can_not_be_listed_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack(error=AccessDenied("batch:ListJobs"))
    await run_delete(stack, monkeypatch)
    assert stack.done[-1] == "empty and delete"


async def test_failed_deletion_is_continued_without_searching_for_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = Stack("DELETE_FAILED")
    await run_delete(stack, monkeypatch)
    assert stack.done == ["empty and delete"]


@pytest.mark.parametrize("agreed", [True, False])
async def test_stack_with_open_runs_is_only_modified_if_confirmed(
    monkeypatch: pytest.MonkeyPatch,
    agreed: bool,  # noqa: FBT001 - a table
) -> None:
    stack = Stack()
    questions = []

    async def ask(question: str) -> bool:
        questions.append(question)
        return agreed

    monkeypatch.setattr(StackRuns, "open", stack.open)
    monkeypatch.setattr("asyncbatch.cli.stack._confirm", ask)
    monkeypatch.setattr("asyncbatch.cli.stack_options.read_from", lambda _: StackOptions())
    deployment: Any = stack
    await modify(deployment, Namespace(stackname="Trees", region="us-west-2", yes=False, wait=False, quiet=True))
    assert len(questions) == 1
    assert stack.done == (["modify"] if agreed else [])
