"""Fixtures of the money room, for test_transfers*.py."""

from tests.chaos.evm_fixtures import evm, evm_desk, network, other_evm_desk
from tests.chaos.fixtures import confirming, desk, other_desk, pool, world

__all__ = ["confirming", "desk", "evm", "evm_desk", "network", "other_desk", "other_evm_desk", "pool", "world"]
