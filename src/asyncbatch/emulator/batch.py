"""AWS Batch over its wire protocol, REST with JSON. The embedded endpoint has no jobs."""

import json
from typing import Final

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer, Request

_EMPTY: Final = {"/v1/listjobs": "jobSummaryList", "/v1/describejobs": "jobs"}
"""The empty list in responses, by request path."""


def answer(request: Request) -> Answer:
    """Answer a request.

    Raises
    ------
    ServiceError
        If it is anything but a request for jobs.
    """
    if request.path not in _EMPTY:
        reason = "The embedded endpoint runs no AWS Batch jobs; it is for workers on this machine."
        raise ServiceError("ClientException", f"{reason} Asked for {request.path}.")
    return Answer(body=json.dumps({_EMPTY[request.path]: []}).encode(), content_type="application/json")


def write_error(error: ServiceError) -> Answer:
    """Format an error for clients of Batch and other JSON services."""
    return Answer(
        status=error.status,
        body=json.dumps({"__type": error.code, "message": error.message}).encode(),
        headers={"x-amzn-errortype": error.code},
        content_type="application/json",
    )
