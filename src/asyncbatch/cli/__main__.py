"""``python -m asyncbatch.cli``."""

import sys

from asyncbatch.cli import main

sys.exit(main())
