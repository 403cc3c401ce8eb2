"""Fixtures of the money room's tests."""

from tests.chaos.evm_fixtures import evm, network
from tests.chaos.fixtures import confirming, desk, other_desk, pool, world

__all__ = ["confirming", "desk", "evm", "network", "other_desk", "pool", "world"]
