"""AWS Batch over its wire protocol, REST with JSON: there are no jobs on the embedded endpoint."""

import json
from typing import Final

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer, Request

_EMPTY: Final = {"/v1/listjobs": "jobSummaryList", "/v1/describejobs": "jobs"}
"""What is empty in the answers, by the paths of requests."""


def answer(request: Request) -> Answer:
    """Answer a request.

    Raises
    ------
    ServiceError
        If it asks for more than which jobs there are.
    """
    if request.path not in _EMPTY:
        reason = "The embedded endpoint runs no AWS Batch jobs; it is for workers on this machine."
        raise ServiceError("ClientException", f"{reason} Asked for {request.path}.")
    return Answer(body=json.dumps({_EMPTY[request.path]: []}).encode(), content_type="application/json")


def write_error(error: ServiceError) -> Answer:
    """Return an error as Batch's clients, and those of other services with JSON, read it."""
    return Answer(
        status=error.status,
        body=json.dumps({"__type": error.code, "message": error.message}).encode(),
        headers={"x-amzn-errortype": error.code},
        content_type="application/json",
    )
