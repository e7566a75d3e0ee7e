"""What all tests of the database share."""

from tests.patience import patience

__all__ = ["patience"]
