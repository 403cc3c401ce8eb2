"""Reads old wallets: what each is in this version, or why it cannot be one."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from pipeline.admin.addresses import canonical_address
from pipeline.admin.errors import InvalidValue
from pipeline.chains.values import Family
from pipeline.keys.derivation import FIRST_USER_INDEX, PublicBranch

NETWORKS = {
    "tron": "tron",
    "trx": "tron",
    "trc20": "tron",
    "mainnet": "tron",
    "tron-mainnet": "tron",
    "nile": "tron-nile",
    "tron-nile": "tron-nile",
    "bsc": "bsc",
    "bnb": "bsc",
    "bep20": "bsc",
    "binance-smart-chain": "bsc",
    "bsc-testnet": "bsc-testnet",
    "ethereum": "ethereum",
    "eth": "ethereum",
    "erc20": "ethereum",
    "sepolia": "sepolia",
}
"""Old names of networks, in lower case with hyphens, and the chains they are."""
DEFAULT_NETWORK = "tron"
"""Of a row that names none, as an INSERT INTO user_wallets has it."""
LARGEST_AMOUNT = Decimal("1e60")
MOST_NAMED = 5
"""Rows in one note."""


@dataclass(frozen=True, slots=True)
class AdoptedWallet:
    """An old wallet as a row of this version."""

    id: UUID
    user_id: UUID | None
    chain_id: int
    address: str
    old_address: str
    derivation_index: int | None
    """None: not derived from our mnemonic, or by a reserved index."""
    needs_gas: bool
    needs_consolidation: bool
    token_balance: Decimal | None
    coin_balance: Decimal | None
    last_sync: datetime | None
    created_at: datetime | None
    updated_at: datetime | None


@dataclass(slots=True)
class WalletReading:
    """What was read of the old tables of wallets."""

    wallets: list[AdoptedWallet] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Why rows cannot be taken over, each naming the row."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of rows that are taken over."""
    by_chain: Counter[str] = field(default_factory=Counter)
    reserved: list[str] = field(default_factory=list)
    """Addresses that the mnemonic derives at an index below the customers' first one."""


def read_wallets(
    rows: Sequence[tuple[str, Mapping[str, Any]]],
    chains: Mapping[str, tuple[int, str]],
    networks: Mapping[str, str],
    branches: Mapping[str, PublicBranch],
    bound: int,
) -> WalletReading:
    """``rows``: name of the old table and row of ``adopt/wallets``. ``chains``: id and family by name. ``networks``:
    chains by old names, from the operator. ``branches``: by family; their first ``bound`` addresses are compared."""
    indices = {
        family: {address: index for index, address in enumerate(branch.addresses(range(bound)))}
        for family, branch in branches.items()
    }
    reader = _Reader(chains, networks, indices)
    for table, row in rows:
        reader.read(f"{table} {row['id']}", row)
    return reader.result()


class _Reader:
    """Reads row after row; each one becomes a wallet, is a wallet that was read already, or is a problem."""

    def __init__(
        self,
        chains: Mapping[str, tuple[int, str]],
        networks: Mapping[str, str],
        indices: Mapping[str, Mapping[str, int]],
    ) -> None:
        """``indices``: of our own addresses, by family."""
        self._chains = chains
        self._networks = networks
        self._indices = indices
        self._reading = WalletReading()
        self._by_address: dict[tuple[int, str], AdoptedWallet] = {}
        self._by_id: dict[UUID, AdoptedWallet] = {}
        self._invalid: list[str] = []
        self._renamed = self._unreadable = self._unnamed = 0

    def read(self, place: str, row: Mapping[str, Any]) -> None:
        """``place`` is the row's name in problems and notes."""
        if not row["address"]:
            self._reading.problems.append(f"{place} has no address")
            return
        chain = self._chain(place, (row["network"] or "").strip())
        if chain is None:
            return
        user_id = _uuid(row["user_id"])
        if row["user_id"] is not None and user_id is None:
            self._reading.problems.append(f"{place} has the user_id '{row['user_id']}', which is no UUID")
            return
        chain_id, family = self._chains[chain]
        address = self._address(place, family, row["address"])
        wallet = AdoptedWallet(
            row["id"],
            user_id,
            chain_id,
            address,
            row["address"],
            self._index(family, address),
            row["needs_gas"],
            row["needs_consolidation"],
            self._amount(row["token_balance"]),
            self._amount(row["coin_balance"]),
            row["last_sync"],
            row["created_at"],
            row["updated_at"],
        )
        self._keep(place, chain, wallet)

    def result(self) -> WalletReading:
        """What was read, with the notes on all of it."""
        notes = self._reading.notes
        if self._invalid:
            notes.append(
                f"{len(self._invalid)} addresses are none of their network, kept as they are and never paid: "
                + "; ".join(self._invalid[:MOST_NAMED])
            )
        if self._renamed:
            notes.append(
                f"{self._renamed} addresses are written in their canonical form (checksum, no spaces) from now on"
            )
        if self._unnamed:
            notes.append(f"{self._unnamed} wallets name no network: taken as {DEFAULT_NETWORK}")
        if self._unreadable:
            notes.append(f"{self._unreadable} balances are no amounts: they show 0 until the first read")
        return self._reading

    def _chain(self, place: str, network: str) -> str | None:
        """The chain's name; None, with a problem, where the network is none of ours."""
        self._unnamed += not network
        name = self._networks.get(network) or NETWORKS.get(network.lower().replace("_", "-").replace(" ", "-"), network)
        if not network:
            name = DEFAULT_NETWORK
        if name in self._chains:
            return name
        self._reading.problems.append(
            f"{place} is on the network '{network}', which is none of {', '.join(self._chains)}: "
            f"map it with --network '{network}=CHAIN'"
        )
        return None

    def _address(self, place: str, family: str, text: str) -> str:
        """In its canonical form; as it stands where it is no address of the family."""
        try:
            address = canonical_address(family, text.strip())
        except InvalidValue as error:
            self._invalid.append(f"{place} ({error.message})")
            return text
        self._renamed += address != text
        return address

    def _index(self, family: str, address: str) -> int | None:
        """At which the mnemonic derives it for a customer."""
        index = self._indices.get(family, {}).get(address)
        if index is None or index >= FIRST_USER_INDEX:
            return index
        self._reading.reserved.append(f"{address} (index {index})")
        return None

    def _amount(self, text: str | None) -> Decimal | None:
        amount = _amount(text)
        self._unreadable += amount is None and text is not None
        return amount

    def _keep(self, place: str, chain: str, wallet: AdoptedWallet) -> None:
        """As a wallet, unless it is one that was read already; a problem where they contradict each other."""
        family = self._chains[chain][1]
        # Also where the checksum of one of them is wrong.
        key = (wallet.chain_id, wallet.address.lower() if family == Family.EVM else wallet.address)
        other = self._by_address.get(key) or self._by_id.get(wallet.id)
        if other is None:
            self._by_address[key] = self._by_id[wallet.id] = wallet
            self._reading.wallets.append(wallet)
            self._reading.by_chain[chain] += 1
        elif other.id != wallet.id:
            self._reading.problems.append(
                f"{place} has the address of {other.id} on {chain}, {wallet.address}: keep one of them, and point to "
                "it what refers to the other one"
            )
        elif (other.chain_id, other.address) != (wallet.chain_id, wallet.address):
            self._reading.problems.append(
                f"{place} is another wallet than the row with the same id: {other.address}, {wallet.address}"
            )


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None


def _amount(text: str | None) -> Decimal | None:
    """An amount in human units; None for what is none."""
    try:
        amount = Decimal((text or "").strip())
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and 0 <= amount < LARGEST_AMOUNT else None
