"""Fixtures of the money room's tests."""

from tests.chaos.fixtures import desk, other_desk, pool, world

__all__ = ["desk", "other_desk", "pool", "world"]
