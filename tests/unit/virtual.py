"""The virtual clock, which is shipped: where tests look for it."""

from asyncbatch.testing import VIRTUAL

__all__ = ["VIRTUAL"]
