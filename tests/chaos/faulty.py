"""Mishaps of requests over HTTP: what stands before the endpoint does what a schedule says."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Final

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer
from tests.chaos.schedule import Mishap, Step
from tests.chaos.victims import Victims
from tests.integration.strict import Call, CutError, Forward

SCALE: Final = 1 / 15
"""Of a schedule's seconds, those that pass here: a lease of 30 s is one of 2 s."""

HANG: Final = 4.0
"""Seconds for which a request hangs before its connection ends."""

STEPS: Final[dict[Step, tuple[str, str]]] = {
    "received": ("sqs:ReceiveMessage", "-task"),
    "fetched": ("s3:GetObject", "/in/"),
    "stored": ("s3:PutObject", "/out/"),
    "announced": ("sqs:SendMessageBatch", "-result"),
    "acking": ("sqs:DeleteMessageBatch", "-task"),
}
"""The requests that steps are seen by. In `computing` there is none."""

_STATUS: Final = {
    "SlowDown": 503,
    "ServiceUnavailable": 503,
    "RequestLimitExceeded": 503,
    "InternalError": 500,
    "InternalFailure": 500,
    "OverLimit": 403,
    "TooManyRequestsException": 429,
}
_JSON: Final = "application/x-amz-json-1.0"


@dataclass(slots=True, kw_only=True)
class Faulty:
    """A rule that lets requests go wrong."""

    mishaps: Sequence[Mishap]
    victims: Victims
    outage: bool = False
    expired: bool = False
    _seen: dict[int, int] = field(default_factory=dict)

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Answer a request, or do not."""
        if self.outage:
            raise CutError
        if self.expired:
            code = "ExpiredToken" if call.service == "s3" else "ExpiredTokenException"
            raise ServiceError(code, "The security token included in the request is expired")
        mishap = self._find(call)
        if mishap is None:
            return await forward(call)
        if mishap.kind in {"kill", "terminate", "freeze"}:
            return await self._strike(call, forward, mishap)
        return await _DO[mishap.kind](call, forward, mishap)

    def _find(self, call: Call) -> Mishap | None:
        """Count a request, and return what is to happen to it."""
        found = None
        about = str(call.fields.get("QueueUrl", "")) or call.request.path
        for place, mishap in enumerate(self.mishaps):
            operation, part = mishap.operation, mishap.about
            if not operation:
                operation, part = STEPS.get(mishap.step, ("", "")) if mishap.kind in _BEFALL else ("", "")
            if call.operation != operation or part not in about:
                continue
            seen = self._seen[place] = self._seen.get(place, 0) + 1
            if found is None and mishap.after < seen <= mishap.after + mishap.times:
                found = mishap
        return found

    async def _strike(self, call: Call, forward: Forward, mishap: Mishap) -> Answer:
        """Let happen to the worker that asks what a mishap says, when its request is done."""
        answer = None if mishap.step == "acking" else await forward(call)
        worker = await asyncio.to_thread(self.victims.find_by_port, call.peer)
        self.victims.strike(worker, mishap.kind, mishap.seconds * SCALE)
        if answer is None:
            raise CutError
        return answer


_BEFALL: Final = frozenset({"kill", "terminate", "freeze"})


async def _refuse(call: Call, _: Forward, mishap: Mishap) -> Answer:
    if mishap.code.isdigit():  # by something on the way, in words of its own
        return Answer(status=int(mishap.code), body=b"<html>not now</html>", content_type="text/html")
    raise ServiceError(mishap.code, f"{call.operation}: not now", status=_STATUS.get(mishap.code, 400))


async def _reset(_call: Call, _: Forward, _mishap: Mishap) -> Answer:
    raise CutError


async def _lose_answer(call: Call, forward: Forward, _: Mishap) -> Answer:
    await forward(call)
    raise CutError


async def _hang(_call: Call, _: Forward, _mishap: Mishap) -> Answer:
    await asyncio.sleep(HANG)
    raise CutError


async def _slow(call: Call, forward: Forward, mishap: Mishap) -> Answer:
    await asyncio.sleep(mishap.seconds * SCALE)
    return await forward(call)


async def _corrupt(call: Call, forward: Forward, _: Mishap) -> Answer:
    answer = await forward(call)
    if call.service == "s3":
        return replace(answer, body=bytes([answer.body[0] ^ 1]) + answer.body[1:]) if answer.body else answer
    found = json.loads(answer.body or b"{}")
    for message in found.get("Messages", [])[:1]:
        text, middle = message["Body"], len(message["Body"]) // 2
        message["Body"] = text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1 :]
    return replace(answer, body=json.dumps(found).encode())


async def _truncate(call: Call, forward: Forward, _: Mishap) -> Answer:
    raise CutError(await forward(call))


async def _double(call: Call, forward: Forward, _: Mishap) -> Answer:
    await forward(call)
    return await forward(call)


async def _hide(call: Call, forward: Forward, mishap: Mishap) -> Answer:
    delay = ceil(mishap.seconds * SCALE)
    return await forward(call.with_fields(Entries=[{**one, "DelaySeconds": delay} for one in call.fields["Entries"]]))


async def _drop(call: Call, _: Forward, _mishap: Mishap) -> Answer:
    done = [{"Id": entry["Id"], "MessageId": "0", "MD5OfMessageBody": ""} for entry in call.fields["Entries"]]
    return Answer(body=json.dumps({"Successful": done, "Failed": []}).encode(), content_type=_JSON)


async def _refuse_entries(call: Call, forward: Forward, mishap: Mishap) -> Answer:
    entries: list[dict[str, Any]] = call.fields["Entries"]
    refused = [entry for place, entry in enumerate(entries) if place in {0, 2}]
    done = [entry for entry in entries if entry not in refused]
    found = json.loads((await forward(call.with_fields(Entries=done))).body) if done else {}
    failed = [{"Id": one["Id"], "Code": mishap.code, "Message": "not now", "SenderFault": False} for one in refused]
    body = json.dumps({"Successful": found.get("Successful", []), "Failed": found.get("Failed", []) + failed}).encode()
    return Answer(body=body, content_type=_JSON)


_DO: Final[dict[str, Callable[[Call, Forward, Mishap], Awaitable[Answer]]]] = {
    "refuse": _refuse,
    "reset": _reset,
    "lose answer": _lose_answer,
    "hang": _hang,
    "slow": _slow,
    "corrupt": _corrupt,
    "truncate": _truncate,
    "double": _double,
    "hide": _hide,
    "drop": _drop,
    "refuse entries": _refuse_entries,
}
