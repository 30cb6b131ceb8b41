"""The virtual clock of `asyncbatch.testing`, for tests."""

from asyncbatch.testing import VIRTUAL

__all__ = ["VIRTUAL"]
