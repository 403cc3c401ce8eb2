"""What a test network must offer so that the shared suite can put a provider through it.

One implementation per chain family. All of it is driven from outside the provider: money comes from the
network's own faucet, and what happened is read from the network's own audit.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pipeline.chains.fees import Fee
from pipeline.chains.provider import Provider
from pipeline.chains.values import Asset, Payment, SignedTransaction, UnsignedTransaction
from pipeline.signing.keyring import Keyring


class Trouble(StrEnum):
    """What a node can be told to do to calls instead of answering them."""

    HTML = "html"
    TOO_MANY = "429"
    BANNED = "403"
    SUSPENDED = "503"
    NO_REPLY = "no reply"
    """It does what it was asked and then hangs up."""
    NO_REQUEST = "no request"
    """It hangs up before doing anything."""
    BUSY = "busy"
    FALSE_TXID = "false txid"
    REPLIED_TWICE = "duplicated"
    """It does what it was asked twice; the second answer comes."""


@dataclass(slots=True)
class FakeTime:
    """The provider's clock: only its own sleeping moves it."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    on_sleep: Callable[[], Awaitable[None]] | None = None
    """Called at every sleep: for what is to change while the provider waits."""

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        if self.on_sleep is not None:
            await self.on_sleep()


class TestNetwork(Protocol):
    """A network that a test has to itself."""

    __test__: bool = False

    family: str
    expires: bool
    """Whether transactions that are in no block die by time; else only by another one in their place."""
    coin: Asset
    token: Asset
    time: FakeTime
    """The clock of the providers that this network makes."""
    signer: Keyring
    finality_depth: int
    """Blocks on top of one until it is final."""
    url: str
    """Of the first node."""

    def provider(self, *urls: str, network_id: str | None = None) -> Provider:
        """A provider over these nodes (the first one by default). Closed with the network."""

    async def address(self, index: int) -> str:
        """Ours at a derivation index."""

    async def build(
        self, provider: Provider, payment: Payment, estimate: Fee, lifetime: float = 180
    ) -> UnsignedTransaction:
        """``provider.build``, with the sender's next nonce where there are nonces."""

    async def sign(self, provider: Provider, payment: Payment, index: int, lifetime: float = 180) -> SignedTransaction:
        """Estimate, build and sign ``payment`` from ours at ``index``."""

    async def fund(self, address: str, coins: int, tokens: int = 0) -> None:
        """From the faucet; waits in the pool until the next block."""

    async def pause_token(self) -> None:
        """From the next block on every transfer of the token fails."""

    async def mine(self, blocks: int = 1) -> None: ...

    async def finalize(self) -> None:
        """Mine until everything pending now is final."""

    async def pass_time(self, seconds: float) -> None:
        """Move the chain's clock; the next block shows it."""

    async def fork_out(self, depth: int, *, forget: bool) -> None:
        """Replace the last blocks by empty ones; their transactions are pending again, or forgotten everywhere."""

    async def hold_pending(self) -> None:
        """Keep what is pending out of blocks."""

    async def lose_pending(self) -> None:
        """The network forgets what is pending; nodes still remember that they have seen it."""

    async def doom(self, signed: SignedTransaction, index: int) -> None:
        """What makes a transaction of ours at ``index`` impossible, past the pool of the first node: its death is
        proved once this is final."""

    async def another_node(self) -> str:
        """URL of a second node of this network."""

    async def another_network(self) -> str:
        """URL of a node of another network."""

    async def freeze(self) -> None:
        """The first node goes stale."""

    async def trouble(self, trouble: Trouble, *, sending: bool = False, count: int | None = 1) -> None:
        """On the first node, for the next calls: of any kind, or those that send."""

    async def calm(self) -> None:
        """No more trouble; bans are lifted."""

    async def times_paid(self, payment: Payment) -> int:
        """How often the payment happened on the canonical chain."""

    async def truth(self, address: str, asset: Asset, *, final: bool) -> int:
        """A balance, asked of the network itself and not through a provider."""
