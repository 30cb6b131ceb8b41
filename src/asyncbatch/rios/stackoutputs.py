"""The helper of RIOS 1.4 that returns a stack's outputs."""

from concurrent.futures import ThreadPoolExecutor

import anyio

from asyncbatch.aws.session import open_session
from asyncbatch.aws.stacks import Stacks
from asyncbatch.errors import StackNotFound
from asyncbatch.settings import Settings

AWSBatchException = StackNotFound
"""The name in RIOS 1.4."""


def getStackOutputs() -> dict[str, str]:
    """Return the outputs of the stack that ``$RIOS_AWSBATCH_STACK`` and ``$RIOS_AWSBATCH_REGION`` name.

    Raises
    ------
    AWSBatchException
        If there is no such stack.
    AwsError
        If a request to AWS fails.
    """
    with ThreadPoolExecutor(1) as thread:  # the caller's thread may already run an event loop, as in Jupyter
        return thread.submit(anyio.run, _outputs, Settings.from_environment()).result()


async def _outputs(settings: Settings) -> dict[str, str]:
    async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
        return dict((await (await Stacks.open(session)).outputs(settings.stack)).values)
