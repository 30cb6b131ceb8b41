"""RIOS on AWS Batch: importing this registers the managers that RIOS then finds by the name ``AWSBatch``.

For RIOS 1.4 that is a job manager, `AWSBatchJobManager`; for RIOS 2 compute worker managers of the kinds ``AWSBatch``
and ``CW_AWSBATCH``. RIOS finds its managers among the subclasses of its base class, and takes the newest of a kind.
"""

from importlib import import_module

from asyncbatch.errors import RiosMissing


def _has(module: str) -> bool:
    """Return whether this RIOS has a module."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):  # RIOS is there, and misses something else
            raise
        return False
    return True


if not _has("rios"):
    raise RiosMissing(
        "RIOS is not installed in this Python: install it as https://www.rioshome.org says, "
        "for instance by `conda install -c conda-forge rios`"
    )

from asyncbatch.rios.stackoutputs import AWSBatchException, getStackOutputs  # noqa: E402 - after the check for RIOS

if _has("rios.parallel.jobmanager"):
    # Its own manager first, so that a script that imports it later does not put it before ours.
    _has("rios.parallel.aws.batch")
    from asyncbatch.rios.jobmanager import AWSBatchJobManager  # noqa: F401 - public where RIOS has job managers
if _has("rios.computemanager"):
    import asyncbatch.rios.computeworkers  # noqa: F401 - registers its managers

__all__ = ["AWSBatchException", "getStackOutputs"]
