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
    reading = WalletReading()
    indices = {
        family: {address: index for index, address in enumerate(branch.addresses(range(bound)))}
        for family, branch in branches.items()
    }
    seen: dict[tuple[int, str], AdoptedWallet] = {}
    by_id: dict[UUID, AdoptedWallet] = {}
    renamed = unreadable = unnamed = 0
    invalid: list[str] = []
    for table, row in rows:
        place = f"{table} {row['id']}"
        if not row["address"]:
            reading.problems.append(f"{place} has no address")
            continue
        network = (row["network"] or "").strip()
        unnamed += not network
        name = networks.get(network) or NETWORKS.get(network.lower().replace("_", "-").replace(" ", "-"), network)
        if not network:
            name = DEFAULT_NETWORK
        if name not in chains:
            reading.problems.append(
                f"{place} is on the network '{network}', which is none of {', '.join(chains)}: "
                f"map it with --network '{network}=CHAIN'"
            )
            continue
        chain_id, family = chains[name]
        user_id = _uuid(row["user_id"])
        if row["user_id"] is not None and user_id is None:
            reading.problems.append(f"{place} has the user_id '{row['user_id']}', which is no UUID")
            continue
        try:
            address = canonical_address(family, row["address"].strip())
        except InvalidValue as error:
            address = row["address"]
            invalid.append(f"{place} ({error.message})")
        renamed += address != row["address"]
        index = indices.get(family, {}).get(address)
        if index is not None and index < FIRST_USER_INDEX:
            reading.reserved.append(f"{address} (index {index})")
            index = None
        amounts = [_amount(row["token_balance"]), _amount(row["coin_balance"])]
        unreadable += sum(
            amount is None and text is not None
            for amount, text in zip(amounts, (row["token_balance"], row["coin_balance"]), strict=True)
        )
        wallet = AdoptedWallet(
            row["id"],
            user_id,
            chain_id,
            address,
            row["address"],
            index,
            row["needs_gas"],
            row["needs_consolidation"],
            amounts[0],
            amounts[1],
            row["last_sync"],
            row["created_at"],
            row["updated_at"],
        )
        # Also where the checksum of one of them is wrong.
        key = (chain_id, address.lower() if family == Family.EVM else address)
        other = seen.get(key) or by_id.get(wallet.id)
        if other is None:
            seen[key] = by_id[wallet.id] = wallet
            reading.wallets.append(wallet)
            reading.by_chain[name] += 1
        elif other.id != wallet.id:
            reading.problems.append(
                f"{place} has the address of {other.id} on {name}, {address}: keep one of them, and point to it what "
                "refers to the other one"
            )
        elif (other.chain_id, other.address) != (chain_id, address):
            reading.problems.append(
                f"{place} is another wallet than the row with the same id: {other.address}, {address}"
            )
    if invalid:
        reading.notes.append(
            f"{len(invalid)} addresses are none of their network, kept as they are and never paid: "
            + "; ".join(invalid[:MOST_NAMED])
        )
    if renamed:
        reading.notes.append(
            f"{renamed} addresses are written in their canonical form (checksum, no spaces) from now on"
        )
    if unnamed:
        reading.notes.append(f"{unnamed} wallets name no network: taken as {DEFAULT_NETWORK}")
    if unreadable:
        reading.notes.append(f"{unreadable} balances are no amounts: they show 0 until the first read")
    return reading


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
