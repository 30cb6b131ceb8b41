"""AWS in memory, for tests: runs of `asyncbatch` in one process and one event loop, without sockets.

`MemoryAws` emulates S3, SQS and Batch; its jobs are workers that run as tasks of the same event loop. Main and workers
run their real code: pickling, framing, seals, ledger, leases and retries. `Fault` injects faults. In an event loop with
`VIRTUAL` time, a run of hours takes milliseconds.
"""

from asyncbatch.testing.account import MemoryAws
from asyncbatch.testing.client import ProcessKilled
from asyncbatch.testing.clock import VIRTUAL, VirtualLoop
from asyncbatch.testing.faults import Fault
from asyncbatch.testing.jobs import MemoryJob

__all__ = ["VIRTUAL", "Fault", "MemoryAws", "MemoryJob", "ProcessKilled", "VirtualLoop"]
