import subprocess
import sys
from typing import Final

_HEAVY: Final = (
    "numpy",
    "moto",
    "boto3",
    "asyncbatch.cli",
    "asyncbatch.emulator",
    "asyncbatch.main",
    "asyncbatch.stack",
)
"""Modules that a worker's own process does not need, and which would delay each start."""


def test_a_worker_loads_only_what_it_needs() -> None:
    code = f"import sys, asyncbatch.worker.__main__\nprint([name for name in {_HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
