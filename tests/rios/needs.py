"""RIOS, for tests that need it."""

from importlib.util import find_spec
from typing import Any

import pytest

rios: Any = pytest.importorskip(
    "rios",
    reason="RIOS is not installed: `just test-rios PYTHON`, with a Python that has it (https://www.rioshome.org)",
)

RIOS_1 = find_spec("rios.computemanager") is None

only_rios_1 = pytest.mark.skipif(not RIOS_1, reason="RIOS 1.4 only")
only_rios_2 = pytest.mark.skipif(RIOS_1, reason="RIOS 2 only")
