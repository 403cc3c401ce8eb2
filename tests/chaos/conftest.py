"""Fixtures of the money room's tests."""

from tests.chaos.fixtures import confirming, desk, other_desk, pool, world

__all__ = ["confirming", "desk", "other_desk", "pool", "world"]
