"""A virtual environment for each peer that the project does not depend on, made on first use."""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

_PROJECT: Final = Path(__file__).parents[1]

PACKAGES: Final = {
    "boto3": ("boto3", "numpy"),
    "chart": ("matplotlib",),
    "dask": ("distributed", "numpy"),
    "lithops": ("lithops", "numpy"),
}
"""What pip installs into an environment, by its name."""


def find_python(name: str | None) -> Path:
    """Return the interpreter of an environment, which is made if it is not there; None is the project's own."""
    if name is None:
        return Path(sys.executable)
    folder = _PROJECT / f".venv-bench-{name}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        print(f"creating {folder.name}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        ready.touch()
    return python
