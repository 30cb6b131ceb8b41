"""The peers. The class of each is only imported in the environment that has its packages."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol


class Peer(Protocol):
    """A system that maps a function over blocks."""

    has_workers: ClassVar[bool]
    """Whether each worker is a process that runs until the peer is closed."""

    def open(self, workers: int) -> None:
        """Start the workers."""

    def map(self, function: Callable[..., Any], blocks: Sequence[Any], *, shared: object = None) -> Iterator[Any]:
        """Yield the function's results in order. A value to share is passed as its argument `shared`."""

    def close(self) -> None:
        """Stop the workers and everything else that was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A peer's class and its requirements."""

    module: str
    name: str
    packages: tuple[str, ...]
    """Packages whose versions are recorded."""
    environment: str | None = None
    """Environment: a name in `environments.PACKAGES`, or one that the user provides. None is the project's."""
    needs_endpoint: bool = False


PEERS: Final = {
    "asyncbatch": Entry(
        module="peers.pool",
        name="Pool",
        packages=("asyncbatch", "numpy", "obstore", "aiobotocore"),
        needs_endpoint=True,
    ),
    "asyncbatch-chunks": Entry(
        module="peers.pool", name="PoolWithChunks", packages=("asyncbatch", "numpy"), needs_endpoint=True
    ),
    "dask": Entry(
        module="peers.daskcluster", name="DaskCluster", packages=("distributed", "numpy"), environment="dask"
    ),
    "processes": Entry(module="peers.processes", name="Processes", packages=("numpy",)),
    "lithops": Entry(
        module="peers.lithopslocal", name="LithopsLocal", packages=("lithops", "numpy"), environment="lithops"
    ),
    "classic": Entry(
        module="peers.classic", name="Classic", packages=("boto3", "numpy"), environment="boto3", needs_endpoint=True
    ),
    "obstore": Entry(module="peers.bareloop", name="BareLoop", packages=("obstore", "numpy"), needs_endpoint=True),
    **{
        peer: Entry(
            module="peers.riosapply", name=name, packages=("rios", "numpy"), environment=place, needs_endpoint=True
        )
        for peer, name, place in (
            ("rios1-classic", "Rios1Classic", "rios1"),
            ("rios1-asyncbatch-rounds", "Rios1PoolInRounds", "rios1"),
            ("rios1-asyncbatch", "Rios1Pool", "rios1"),
            ("rios2-subproc", "Rios2Subprocess", "rios2"),
            ("rios2-asyncbatch", "Rios2Pool", "rios2"),
        )
    },
}
