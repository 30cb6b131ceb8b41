"""AWS Batch whose jobs are processes of this machine. It lists new jobs with a delay, as AWS does."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from asyncbatch.emulator.faults import ServiceError
from asyncbatch.emulator.requests import Answer
from tests import watchdog
from tests.integration.endpoint import CREDENTIALS
from tests.integration.strict import Call, Forward
from tests.integration.team import MARK

_ENDED: Final = {"SUCCEEDED", "FAILED"}


@dataclass(slots=True, kw_only=True)
class _Job:
    """A job, or a child of an array."""

    id: str
    process: subprocess.Popen[bytes]

    @property
    def status(self) -> str:
        code = self.process.poll()
        return "RUNNING" if code is None else "FAILED" if code else "SUCCEEDED"

    def describe(self) -> dict[str, Any]:
        """Return the job's entry in the answer of DescribeJobs."""
        code = self.process.poll()
        ended = {} if code is None else {"exitCode": code if code >= 0 else 128 - code}
        return {"jobId": self.id, "jobName": "job", "status": self.status, "container": ended}


@dataclass(slots=True, kw_only=True)
class ProcessesAsJobs:
    """A rule that answers all requests for Batch.

    The first description of a new job does not find it, and the first descriptions of an array find no children.
    """

    mark: str
    folder: Path
    """Folder for the jobs' output."""
    hidden_descriptions: int = 3
    """Number of descriptions that do not find an array's children."""
    slots: int = 1
    url: str = ""
    """URL of AWS for the jobs."""
    arrays: dict[str, list[_Job]] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)
    """Names of jobs by id."""
    _descriptions: Counter[str] = field(default_factory=Counter)

    async def __call__(self, call: Call, forward: Forward) -> Answer:
        """Answer a request for Batch."""
        answers = {
            "batch:submitjob": self._submit,
            "batch:describejobs": self._describe,
            "batch:describejobdefinitions": self._define,
            "batch:listjobs": self._list,
            "batch:terminatejob": self._terminate,
        }
        if call.service != "batch":
            return await forward(call)
        if call.operation not in answers:
            raise ServiceError("ClientException", f"The emulator has no {call.operation}.")
        found = answers[call.operation](call.fields)
        return Answer(body=json.dumps(found).encode(), content_type="application/json")

    def output(self) -> str:
        """Return the jobs' output so far."""
        return "".join(file.read_text() for file in sorted(self.folder.iterdir()))

    @property
    def started(self) -> int:
        """Number of jobs started so far, including the children of arrays."""
        return sum(map(len, self.arrays.values()))

    def close(self) -> None:
        """Wait until all jobs have ended, as they do with their runs."""
        for job in (job for jobs in self.arrays.values() for job in jobs):
            try:
                job.process.wait(timeout=60)
            finally:
                job.process.kill()

    def _submit(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        job, size = str(uuid4()), fields.get("arrayProperties", {}).get("size", 0)
        if size and not 2 <= size <= 10_000:
            raise ServiceError("ClientException", "Array size must be between 2 and 10000.")
        variables = {entry["name"]: entry["value"] for entry in fields["containerOverrides"]["environment"]}
        names = [f"{job}:{place}" for place in range(size)] if size else [job]
        self._names[job] = fields["jobName"]
        self.arrays[job] = [_Job(id=name, process=self._start(name, variables)) for name in names]
        return {"jobId": job, "jobName": fields["jobName"]}

    def _start(self, job: str, variables: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        environment = {
            **{
                name: os.environ[name]
                for name in ("PATH", "HOME", "PYTHONPATH", "XDG_STATE_HOME")
                if name in os.environ
            },
            **watchdog.variables(),
            **CREDENTIALS,
            **variables,
            MARK: self.mark,
            "AWS_BATCH_JOB_ID": job,
            "AWS_BATCH_JOB_ATTEMPT": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.url,
        }
        with (self.folder / job).open("wb") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "asyncbatch.worker"], env=environment, stdin=subprocess.DEVNULL, stdout=file
            )

    def _describe(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        names: Sequence[str] = fields["jobs"]
        for parent in {name.partition(":")[0] for name in names}:
            self._descriptions[parent] += 1
        return {"jobs": [found for name in names if (found := self._describe_job(name))]}

    def _describe_job(self, name: str) -> dict[str, Any] | None:
        """Return a job's description, or None if it is unknown or not listed yet."""
        parent, is_child, _ = name.partition(":")
        jobs = self.arrays.get(parent, [])
        if not jobs or self._descriptions[parent] <= (self.hidden_descriptions if is_child else 1):
            return None
        if is_child or len(jobs) == 1:
            return next((job.describe() for job in jobs if job.id == name), None)
        summary = Counter(job.status for job in jobs)
        status = "PENDING" if summary.keys() - _ENDED else "FAILED" if summary["FAILED"] else "SUCCEEDED"
        properties = {"size": len(jobs), "statusSummary": dict(summary)}
        return {"jobId": name, "jobName": "job", "status": status, "arrayProperties": properties}

    def _list(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return the jobs and arrays whose names match a filter, in which ``*`` stands for any text."""
        wanted = {value for one in fields.get("filters", []) for value in one["values"]}
        summaries = [
            {"jobId": job, "jobName": name, "status": "RUNNING", "createdAt": place}
            for place, (job, name) in enumerate(self._names.items())
            if any(fnmatchcase(name, pattern) for pattern in wanted)
        ]
        return {"jobSummaryList": summaries}

    def _define(self, _fields: Mapping[str, Any]) -> dict[str, Any]:
        requirements = [{"type": "VCPU", "value": str(self.slots)}, {"type": "MEMORY", "value": "2048"}]
        container = {"image": "worker", "resourceRequirements": requirements}
        return {"jobDefinitions": [{"revision": 1, "containerProperties": container}]}

    def _terminate(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        for job in self.arrays.get(fields["jobId"], []):
            with suppress(ProcessLookupError):
                job.process.send_signal(signal.SIGTERM)
        return {}
