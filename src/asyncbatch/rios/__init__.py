"""RIOS on AWS Batch: importing this package registers managers that RIOS finds by the name ``AWSBatch``.

For RIOS 1.4, this is the job manager `AWSBatchJobManager`; for RIOS 2, compute worker managers of the kinds
``AWSBatch`` and ``CW_AWSBATCH``. RIOS finds managers as subclasses of its base class, and uses the last one of a kind.
"""

from importlib import import_module

from asyncbatch.errors import RiosMissing


def _has(module: str) -> bool:
    """Return whether this RIOS has a module."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if not module.startswith(str(error.name)):  # RIOS is installed, but another module is missing
            raise
        return False
    return True


if not _has("rios"):
    raise RiosMissing(
        "RIOS is not installed in this Python. Install it (https://www.rioshome.org), "
        "for example with 'conda install -c conda-forge rios'"
    )

from asyncbatch.rios.stackoutputs import AWSBatchException, getStackOutputs  # noqa: E402 - after the check for RIOS

if _has("rios.parallel.jobmanager"):
    # Import RIOS's own manager first, so that a later import by the script does not make it the last one.
    _has("rios.parallel.aws.batch")
    from asyncbatch.rios.jobmanager import AWSBatchJobManager  # noqa: F401 - public where RIOS has job managers
if _has("rios.computemanager"):
    import asyncbatch.rios.computeworkers  # noqa: F401 - registers its managers

__all__ = ["AWSBatchException", "getStackOutputs"]
