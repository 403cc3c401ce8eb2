"""What both simulated networks have in common, as the storm and the judge see them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.chains.values import Asset
from tests.simulation.node import Answers


@dataclass(frozen=True, slots=True)
class Moved:
    """One movement of money on the canonical chain."""

    txid: str
    block: int
    contract: str | None
    """None: the coin."""
    sender: str
    receiver: str
    amount: int


@dataclass(frozen=True, slots=True)
class OnChain:
    """One transaction of the canonical chain that an address of ours sent."""

    txid: str
    block: int
    sender: str
    success: bool
    fee: int


class Network(Answers, Protocol):
    """A chain with its nodes, in memory. Amounts are raw units."""

    family: str
    name: str
    block_seconds: float
    coin: Asset
    token: Asset
    network_id: str
    gas_funds: int
    """What the gas wallet starts with."""
    urls: Sequence[str]

    # -- money

    def fund(self, address: str, amount: int) -> None:
        """Coins from nowhere; they need a block."""

    def deposit(self, address: str, amount: int) -> None:
        """Tokens from a customer; they need a block."""

    def balance(self, address: str, contract: str | None) -> int:
        """At the head."""

    # -- blocks

    def produce(self) -> None:
        """One more block, unless the chain stands still."""

    def settle(self) -> None:
        """Make everything that is pending final."""

    def fork(self, dice: int) -> int:
        """Replace some of the newest blocks; how many transactions were in them."""

    def lose_pending(self) -> int:
        """The network forgets what waits for a block; how many there were."""

    def jump(self, seconds: float) -> None:
        """The chain's clock is ahead by so much more."""

    # -- nodes

    def disturb(self, what: str, dice: int) -> None:
        """A node is ``down``, ``stale``, ``behind``, or has ``forgotten`` what was sent to it."""

    def mend(self) -> None:
        """All nodes are up, and up to date; prices are what they were."""

    def price(self, dice: int) -> None:
        """Fees change."""

    # -- the judge's

    def moved(self, final: bool = False) -> list[Moved]:
        """All movements of coin and token, in order."""

    def sent_by(self, senders: set[str]) -> list[OnChain]:
        """All transactions of these, in order."""

    def rows(self) -> dict[str, Any]:
        """Columns of ``chains`` that are this network's."""
