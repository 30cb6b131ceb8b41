"""The outputs of the template's stack on the embedded endpoint."""

import re
from typing import Final

from asyncbatch.stack.template import DEFAULTS, read_template

ACCOUNT: Final = "123456789012"
"""The number of the emulated account."""

_OUTPUT: Final = re.compile(r"^  (\w+):$", re.MULTILINE)


def list_outputs() -> list[str]:
    """Return the names of the template's outputs."""
    return _OUTPUT.findall(read_template().partition("\nOutputs:\n")[2])


def make_outputs(stack: str, region: str, *, bucket: str, in_queue: str, out_queue: str) -> dict[str, str]:
    """Return the stack's outputs by name; for resources that the endpoint does not have, the names they would have.

    Parameters
    ----------
    stack, region : str
        The stack's name and region.
    bucket : str
        The bucket's name.
    in_queue, out_queue : str
        The queues' URLs.
    """
    batch = f"arn:aws:batch:{region}:{ACCOUNT}"
    registry = f"{ACCOUNT}.dkr.ecr.{region}.amazonaws.com"
    known = {
        "BatchBucket": bucket,
        "BatchInQueue": in_queue,
        "BatchOutQueue": out_queue,
        "BatchMaxJobs": DEFAULTS["MaxJobs"],
        "BatchLogGroup": f"/asyncbatch/{stack}",
        "BatchECR": f"{registry}/asyncbatch",
        "BatchECRMain": f"{registry}/asyncbatchmain",
        "BatchProcessingJobQueueName": "RIOSJobQueue",
        "BatchProcessingJobQueueMainName": "RIOSJobQueueMain",
        "BatchProcessingJobQueueArn": f"{batch}:job-queue/RIOSJobQueue",
        "BatchProcessingJobDefinitionName": "RIOSJobDefinition",
        "BatchProcessingJobDefinitionArn": f"{batch}:job-definition/RIOSJobDefinition:1",
        "BatchProcessingJobDefinitionMainName": "RIOSJobDefinitionMain",
        "BatchProcessingJobDefinitionMainArn": f"{batch}:job-definition/RIOSJobDefinitionMain:1",
        "ComputeEnvironmentArn": f"{batch}:compute-environment/{stack}",
        "VPC": "vpc-00000000",
    }
    return {name: known[name] for name in list_outputs()}
