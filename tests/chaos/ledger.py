"""What a chain itself shows: every transaction that touches an address of ours, with its fee and what it moved."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pipeline.local.audit import Movement


@dataclass(frozen=True, slots=True)
class Landed:
    """One transaction of the canonical chain."""

    txid: str
    sender: str
    success: bool
    fee: int
    """Native raw units, out of the sender's account whatever the outcome."""
    movements: tuple[Movement, ...]


@dataclass(frozen=True, slots=True)
class Topup:
    """Gas that reached a customer's wallet, and what it held right before."""

    txid: str
    wallet: str
    amount: int
    held: int


class Ledger:
    """The transactions of a chain in their order, and what follows from them."""

    def __init__(self, landed: Iterable[Landed], *, gas_wallet: str, treasury: str, wallets: Collection[str]) -> None:
        self.landed: Sequence[Landed] = tuple(landed)
        self.gas_wallet = gas_wallet
        self.treasury = treasury
        self.wallets = frozenset(wallets)
        self.senders = self.wallets | {gas_wallet}
        """Addresses that pay, and nobody else has the keys of."""
        self.held: Counter[tuple[str, str | None]] = Counter()
        """Raw units at the end by (address, contract or None for the coin)."""
        self.deposited: Counter[str] = Counter()
        """Raw units of tokens that outsiders sent to wallets of ours, by contract."""
        self.swept: Counter[str] = Counter()
        """Raw units of tokens that wallets of ours sent to the treasury, by contract."""
        self.endowed: Counter[str] = Counter()
        """Coins that outsiders sent, by address of ours."""
        self.topups: list[Topup] = []
        for one in self.landed:
            self._book(one)

    @property
    def ours(self) -> list[Landed]:
        """What was sent with a key of ours."""
        return [one for one in self.landed if one.sender in self.senders]

    def _book(self, one: Landed) -> None:
        self.held[one.sender, None] -= one.fee
        for move in one.movements:
            if move.receiver in self.wallets and move.sender == self.gas_wallet and move.contract is None:
                self.topups.append(Topup(one.txid, move.receiver, move.amount, self.held[move.receiver, None]))
            elif move.contract is None and move.sender not in self.senders:
                self.endowed[move.receiver] += move.amount
            elif move.contract is not None and move.receiver in self.wallets and move.sender not in self.senders:
                self.deposited[move.contract] += move.amount
            elif move.contract is not None and move.receiver == self.treasury and move.sender in self.wallets:
                self.swept[move.contract] += move.amount
            self.held[move.sender, move.contract] -= move.amount
            self.held[move.receiver, move.contract] += move.amount
