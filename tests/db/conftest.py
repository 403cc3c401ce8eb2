"""Fixtures of the money room, for test_transfers*.py, and of the command line, for test_cli_*.py."""

from tests.chaos.evm_fixtures import evm, evm_desk, known, network, other_evm_desk, thirsty_evm
from tests.chaos.fixtures import confirming, desk, other_desk, pool, ready, thirsty, world
from tests.db.cli_kit import shell

__all__ = [
    "confirming", "desk", "evm", "evm_desk", "known", "network", "other_desk", "other_evm_desk", "pool", "ready",
    "shell", "thirsty", "thirsty_evm", "world",
]  # fmt: skip
