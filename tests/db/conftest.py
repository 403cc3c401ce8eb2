"""Fixtures of the money room, for test_transfers*.py."""

from tests.chaos.fixtures import desk, other_desk, pool, world

__all__ = ["desk", "other_desk", "pool", "world"]
