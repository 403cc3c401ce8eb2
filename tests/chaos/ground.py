"""A chain under a run: what the storm does to it, and what the judge reads from it."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pipeline.signing.policy import NetworkPolicy
from tests.chaos.ledger import Landed, Ledger
from tests.chaos.world import World
from tests.seed import Wallet

BLOCK_SECONDS = 0.2


@dataclass(eq=False)
class Ground(ABC):
    """One chain with its wallets. Amounts of ``deposit`` are whole tokens."""

    name: str
    """Of the chain."""
    chain_id: int
    coin_id: UUID
    token_id: UUID
    token: str
    gas_wallet: str
    treasury: str
    policy: NetworkPolicy
    """What those who pay may sign."""
    topup_ceiling: int
    """Native raw units: more than any transfer costs, less than a top-up brings. One that reaches a wallet with so much
    is one too many."""
    wallets: list[Wallet]

    @abstractmethod
    async def deposit(self, wallet: int, tokens: int) -> None:
        """A customer pays."""

    @abstractmethod
    async def token_held(self, address: str) -> int:
        """Raw units at the newest block."""

    @abstractmethod
    async def coin_held(self, address: str) -> int:
        """Raw units at the newest block."""

    @abstractmethod
    async def calm(self) -> None:
        """No fault is left, and blocks are made."""

    @abstractmethod
    async def let_time_pass(self) -> None:
        """Long enough on the chain's clock for whatever was lost to be dead."""

    @abstractmethod
    async def finalize(self) -> None:
        """Everything that is pending now is final."""

    @abstractmethod
    async def landed(self) -> list[Landed]:
        """Every transaction of the canonical chain, oldest first."""

    async def ledger(self) -> Ledger:
        addresses = self.addresses
        return Ledger(await self.landed(), gas_wallet=self.gas_wallet, treasury=self.treasury, wallets=addresses)

    @property
    def addresses(self) -> Collection[str]:
        return [wallet.address for wallet in self.wallets]


def described(world: World) -> dict[str, Any]:
    """What a ground takes from the chain's description in the database."""
    return {
        "chain_id": world.chain_id,
        "coin_id": world.native_id,
        "token_id": world.token_id,
        "token": world.token,
        "gas_wallet": world.gas_address,
        "treasury": world.treasury,
        "policy": world.policy(),
        "wallets": world.wallets,
    }


@contextlib.asynccontextmanager
async def background(task: Any) -> AsyncIterator[None]:
    """A coroutine beside the block; an exception in it is raised at the end."""
    running = asyncio.create_task(task)
    try:
        yield
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
