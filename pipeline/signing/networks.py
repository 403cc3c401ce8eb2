"""Networks by what they are, family and id, and never by the name that a row of ``chains`` gives them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.chains.values import Family

COIN_DECIMALS: Mapping[Family, int] = {Family.TRON: 6, Family.EVM: 18}
"""Of the native coin: 1 TRX = 1,000,000 sun; a coin of an EVM chain = 10^18 wei."""

_GENESIS = re.compile("[0-9a-f]{64}")
_CHAIN_ID = re.compile("[1-9][0-9]{0,77}")


@dataclass(frozen=True, slots=True)
class Network:
    """One network."""

    family: Family
    id: str
    """Genesis block id on TRON (64 lower-case hex digits), chain id on EVM (decimal digits)."""

    @classmethod
    def of(cls, family: str, network_id: str) -> "Network":
        """From a row of ``chains`` or a policy. Raises ValueError saying what is wrong."""
        if family not in set(Family):
            raise ValueError(f"family is {family!r}: it must be one of {', '.join(Family)}")
        text = network_id.strip().lower()
        if family == Family.TRON and not _GENESIS.fullmatch(text):
            raise ValueError(f"id is {network_id!r}: on TRON it is the genesis block's id, 64 hex digits")
        if family == Family.EVM and not _CHAIN_ID.fullmatch(text):
            raise ValueError(f"id is {network_id!r}: on EVM it is the chain id, a number above 0")
        return cls(Family(family), text)

    def __str__(self) -> str:
        """``evm 56``, ``tron 00000000…b6653dc``."""
        return f"{self.family} {self.id if len(self.id) < 20 else f'{self.id[:8]}…{self.id[-8:]}'}"


NAMED: Mapping[str, Network] = {
    "tron": Network(Family.TRON, "00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc"),
    "nile": Network(Family.TRON, "0000000000000000d698d4192c56cb6be724a558448e2684802de4d6cd8690dc"),
    "ethereum": Network(Family.EVM, "1"),
    "sepolia": Network(Family.EVM, "11155111"),
    "bsc": Network(Family.EVM, "56"),
    "bsc-testnet": Network(Family.EVM, "97"),
    "polygon": Network(Family.EVM, "137"),
    "arbitrum": Network(Family.EVM, "42161"),
    "optimism": Network(Family.EVM, "10"),
    "base": Network(Family.EVM, "8453"),
    "avalanche": Network(Family.EVM, "43114"),
}
"""What the names in ``FLAGPOST_TREASURY_<NAME>`` stand for, so that ``FLAGPOST_TREASURY_BSC`` pins the network of chain
id 56, whatever the database calls it. Chain ids: https://chainlist.org; genesis ids: design notes of the chains."""


def network_named(name: str) -> Network | None:
    """Of ``bsc``, ``evm-56`` or ``tron-<genesis block id>``, as the end of a variable says it; None for no network."""
    if name in NAMED:
        return NAMED[name]
    family, _, network_id = name.partition("-")
    try:
        return Network.of(family, network_id)
    except ValueError:
        return None
