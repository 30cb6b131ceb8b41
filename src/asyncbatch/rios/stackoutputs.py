"""The classic helper that tells a stack's outputs."""

from concurrent.futures import ThreadPoolExecutor

import anyio

from asyncbatch.aws.session import open_session
from asyncbatch.aws.stacks import Stacks
from asyncbatch.errors import StackNotFound
from asyncbatch.settings import Settings

AWSBatchException = StackNotFound
"""The classic system's name for it."""


def getStackOutputs() -> dict[str, str]:
    """Return the outputs of the stack that ``$RIOS_AWSBATCH_STACK`` and ``$RIOS_AWSBATCH_REGION`` name.

    Raises
    ------
    AWSBatchException
        If there is no such stack.
    AwsError
        If AWS can't be asked.
    """
    with ThreadPoolExecutor(1) as thread:  # the caller's thread may have an event loop of its own: Jupyter's, say
        return thread.submit(anyio.run, _outputs, Settings.from_environment()).result()


async def _outputs(settings: Settings) -> dict[str, str]:
    async with open_session(region=settings.region, endpoint_url=settings.endpoint_url) as session:
        return dict((await (await Stacks.open(session)).outputs(settings.stack)).values)
