"""Incidents of requests over HTTP: a rule for the proxy in front of the endpoint that follows a schedule."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, Final

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer
from tests.chaos.schedule import Incident, Step
from tests.chaos.victims import Victims
from tests.integration.strict import Call, CutError, Forward

SCALE: Final = 1 / 15
"""Ratio of seconds here to seconds of a schedule: a lease of 30 s takes 2 s."""

HANG: Final = 4.0
"""Seconds for which a request hangs before its connection ends."""

STEPS: Final[dict[Step, tuple[str, str]]] = {
    "received": ("sqs:ReceiveMessage", "-task"),
    "fetched": ("s3:GetObject", "/in/"),
    "stored": ("s3:PutObject", "/out/"),
    "announced": ("sqs:SendMessageBatch", "-result"),
    "acking": ("sqs:DeleteMessageBatch", "-task"),
}
"""The requests by which steps are recognised. `computing` has none."""

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
    """A rule that makes requests fail."""

    incidents: Sequence[Incident]
    victims: Victims
    outage: bool = False
    expired: bool = False
    _seen: dict[int, int] = field(default_factory=dict)

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Answer a request, or make it fail."""
        if self.outage:
            raise CutError
        if self.expired:
            code = "ExpiredToken" if call.service == "s3" else "ExpiredTokenException"
            raise ServiceError(code, "The security token included in the request is expired")
        incident = self._find(call)
        if incident is None:
            return await forward(call)
        if incident.kind in {"kill", "terminate", "freeze"}:
            return await self._apply_to_worker(call, forward, incident)
        return await _DO[incident.kind](call, forward, incident)

    def _find(self, call: Call) -> Incident | None:
        """Count a request, and return its incident, if any."""
        found = None
        about = str(call.fields.get("QueueUrl", "")) or call.request.path
        for place, incident in enumerate(self.incidents):
            operation, part = incident.operation, incident.about
            if not operation:
                operation, part = STEPS.get(incident.step, ("", "")) if incident.kind in _OF_WORKERS else ("", "")
            if call.operation != operation or part not in about:
                continue
            seen = self._seen[place] = self._seen.get(place, 0) + 1
            if found is None and incident.after < seen <= incident.after + incident.times:
                found = incident
        return found

    async def _apply_to_worker(self, call: Call, forward: Forward, incident: Incident) -> Answer:
        """Apply an incident to the worker that made the request, after the request."""
        answer = None if incident.step == "acking" else await forward(call)
        worker = await asyncio.to_thread(self.victims.find_by_port, call.peer)
        self.victims.apply_incident(worker, incident.kind, incident.seconds * SCALE)
        if answer is None:
            raise CutError
        return answer


_OF_WORKERS: Final = frozenset({"kill", "terminate", "freeze"})


async def _refuse(call: Call, _: Forward, incident: Incident) -> Answer:
    if incident.code.isdigit():  # by a proxy, with its own text
        return Answer(status=int(incident.code), body=b"<html>not now</html>", content_type="text/html")
    raise ServiceError(incident.code, f"{call.operation}: not now", status=_STATUS.get(incident.code, 400))


async def _reset(_call: Call, _: Forward, _incident: Incident) -> Answer:
    raise CutError


async def _lose_answer(call: Call, forward: Forward, _: Incident) -> Answer:
    await forward(call)
    raise CutError


async def _hang(_call: Call, _: Forward, _incident: Incident) -> Answer:
    await asyncio.sleep(HANG)
    raise CutError


async def _slow(call: Call, forward: Forward, incident: Incident) -> Answer:
    await asyncio.sleep(incident.seconds * SCALE)
    return await forward(call)


async def _corrupt(call: Call, forward: Forward, _: Incident) -> Answer:
    answer = await forward(call)
    if call.service == "s3":
        return replace(answer, body=bytes([answer.body[0] ^ 1]) + answer.body[1:]) if answer.body else answer
    found = json.loads(answer.body or b"{}")
    for message in found.get("Messages", [])[:1]:
        text, middle = message["Body"], len(message["Body"]) // 2
        message["Body"] = text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1 :]
    return replace(answer, body=json.dumps(found).encode())


async def _truncate(call: Call, forward: Forward, _: Incident) -> Answer:
    raise CutError(await forward(call))


async def _double(call: Call, forward: Forward, _: Incident) -> Answer:
    await forward(call)
    return await forward(call)


async def _hide(call: Call, forward: Forward, incident: Incident) -> Answer:
    delay = ceil(incident.seconds * SCALE)
    return await forward(call.with_fields(Entries=[{**one, "DelaySeconds": delay} for one in call.fields["Entries"]]))


async def _drop(call: Call, _: Forward, _incident: Incident) -> Answer:
    done = [{"Id": entry["Id"], "MessageId": "0", "MD5OfMessageBody": ""} for entry in call.fields["Entries"]]
    return Answer(body=json.dumps({"Successful": done, "Failed": []}).encode(), content_type=_JSON)


async def _refuse_entries(call: Call, forward: Forward, incident: Incident) -> Answer:
    entries: list[dict[str, Any]] = call.fields["Entries"]
    refused = [entry for place, entry in enumerate(entries) if place in {0, 2}]
    done = [entry for entry in entries if entry not in refused]
    found = json.loads((await forward(call.with_fields(Entries=done))).body) if done else {}
    failed = [{"Id": one["Id"], "Code": incident.code, "Message": "not now", "SenderFault": False} for one in refused]
    body = json.dumps({"Successful": found.get("Successful", []), "Failed": found.get("Failed", []) + failed}).encode()
    return Answer(body=body, content_type=_JSON)


_DO: Final[dict[str, Callable[[Call, Forward, Incident], Awaitable[Answer]]]] = {
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
