"""What the simulated EVM chain is made of."""

from dataclasses import dataclass

from pipeline.chains.evm.codec import address
from pipeline.chains.evm.codec.transaction import EvmTransfer

CHAIN_ID = 31_337
TOKEN = address.validate("0x" + "70" * 20)
FINAL_LAG = 2
"""Blocks behind the head that can still be forked away."""
PLAIN_GAS, TOKEN_GAS = 21_000, 51_000


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Pooled:
    """A signed transaction, read."""

    txid: str
    sender: str
    transfer: EvmTransfer

    @property
    def gas_limit(self) -> int:
        return self.transfer.gas_limit

    @property
    def max_fee(self) -> int:
        return self.transfer.fees.max_fee

    @property
    def tip(self) -> int:
        return self.max_fee if self.transfer.fees.tip is None else self.transfer.fees.tip

    @property
    def value(self) -> int:
        return 0 if self.transfer.contract else self.transfer.amount


@dataclass(frozen=True, slots=True)
class Receipt:
    """What came of a transaction."""

    pooled: Pooled
    success: bool
    gas_used: int
    price: int


@dataclass(frozen=True, slots=True)
class State:
    """After a block."""

    coins: dict[str, int]
    tokens: dict[str, int]
    nonces: dict[str, int]

    def copy(self) -> "State":
        return State(dict(self.coins), dict(self.tokens), dict(self.nonces))


@dataclass(frozen=True, slots=True)
class Block:
    """With what came of its transactions, and the state after it."""

    number: int
    id: str
    parent: str
    timestamp: int
    base_fee: int
    receipts: tuple[Receipt, ...]
    state: State
    gifts: tuple[tuple[str | None, str, int], ...] = ()
    """What came from outside in it: contract, receiver, amount."""
