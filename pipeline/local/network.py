"""What the local mode asks of a network, whatever its family: a faucet, a token, blocks, and the truth at the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipeline.chains.values import Asset, Family
from pipeline.local.audit import Movement
from pipeline.units import to_human


@dataclass(frozen=True, slots=True)
class GasRules:
    """What the first start writes into ``chains``; raw units of the coin."""

    flag_below: dict[str, int]
    """By gas policy."""
    execute_below: dict[str, int]
    amount: int
    fee_reserve: int
    max_per_topup: int
    max_per_wallet_day: int
    max_per_day: int
    fees: dict[str, Any] = field(default_factory=dict)
    """``chains.fees``."""


class LocalNetwork(Protocol):
    """A network on this machine. Until it is up, each question raises one of ``NO_NODE`` (pipeline.local.stand)."""

    chain: str
    """Its name in the table ``chains``."""
    family: Family
    url: str
    node_url: str
    """Of the node that the workers are told of. Another one than ``url`` where something stands in between."""
    coin: Asset
    token_decimals: int
    """Of its USDT."""
    rules: GasRules

    async def network_id(self) -> str:
        """What ``chains.network_id`` has to be."""

    async def ready(self) -> None:
        """Make it answer questions about final blocks, also right after a start."""

    async def deploy_token(self) -> str:
        """Deploy USDT, its supply at the faucet; final on return. Returns the contract's address."""

    async def faucet(self, address: str, raw: int) -> None:
        """Send coins; final on return."""

    async def deposit(self, token: str, address: str, raw: int) -> None:
        """A customer pays tokens to ``address``; it needs a block to count."""

    async def balance(self, address: str, token: str | None = None, *, final: bool = False) -> int:
        """Raw units; of the coin without ``token``."""

    async def height(self) -> int:
        """Of the newest block."""

    async def movements(self) -> Sequence[Movement]:
        """Everything that moved on the canonical chain, from its first block on."""

    async def close(self) -> None:
        """Close the connection."""


def money(raw: int, decimals: int = 6) -> str:
    """USDT with thousands and at least two decimals: ``1,742.50 USDT``."""
    whole, _, fraction = to_human(raw, decimals).partition(".")
    return f"{int(whole):,}.{fraction.ljust(2, '0')} USDT"
