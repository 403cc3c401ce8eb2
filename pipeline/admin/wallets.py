"""What operators do to deposit wallets: watch more of them, set their flags (sql/functions/admin_wallets.sql).

An address that our mnemonic derives is ours, any other is foreign: watched, never sent gas, never emptied.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from pipeline.admin.errors import Conflict, InvalidValue
from pipeline.admin.refusals import act
from pipeline.keys.derivation import FIRST_USER_INDEX, MAX_INDEX, PublicBranch

ADDRESS_GAP_LIMIT = 1_000
"""Indices derived beyond the highest in use to recognise an address as ours: 1,000 take 30 ms."""
MAX_DERIVE = 100_000
"""Wallets derived in one action."""


@dataclass(frozen=True, slots=True)
class NewWallet:
    """A wallet to be watched, its address checked."""

    address: str
    index: int | None
    """Of our derivation path; None: foreign."""
    user_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class AddedWallet:
    """A wallet that is watched from now on."""

    address: str
    index: int | None


@dataclass(frozen=True, slots=True)
class WalletFlags:
    """The flags of one wallet."""

    chain: str
    address: str
    needs_gas: bool
    needs_consolidation: bool


async def add(
    connection: AsyncConnection[Any], chain: str, wallets: Sequence[NewWallet], *, admin: UUID | None = None
) -> list[AddedWallet]:
    """Watch ``wallets``, all or none; those that are new. Raises NotFound for an unknown chain or user, Conflict for an
    index that another wallet has."""
    rows = await act(
        connection,
        "wallets/add",
        chain=chain,
        addresses=[wallet.address for wallet in wallets],
        indices=[wallet.index for wallet in wallets],
        user_ids=[wallet.user_id for wallet in wallets],
        admin=admin,
    )
    return [AddedWallet(row["address"], row["derivation_index"]) for row in rows]


async def set_flags(
    connection: AsyncConnection[Any],
    address: str,
    *,
    needs_gas: bool | None = None,
    needs_consolidation: bool | None = None,
    chain: str | None = None,
    admin: UUID | None = None,
) -> WalletFlags:
    """Raise or clear flags (None: leave as it is); the flags as they are now. Raises NotFound; Conflict for an address
    that is watched on several chains while none is named."""
    (row,) = await act(
        connection,
        "wallets/set_flags",
        address=address,
        needs_gas=needs_gas,
        needs_consolidation=needs_consolidation,
        chain=chain,
        admin=admin,
    )
    return WalletFlags(row["chain_name"], address, row["gas"], row["consolidation"])


async def missing_users(connection: AsyncConnection[Any], users: Sequence[UUID]) -> set[UUID]:
    """Those that are not in auth.users."""
    return (
        {row["id"] for row in await act(connection, "wallets/missing_users", user_ids=list(users))} if users else set()
    )


async def next_index(connection: AsyncConnection[Any], chain: Mapping[str, Any]) -> int:
    """The first index after the last one in use on a chain; customers begin at FIRST_USER_INDEX."""
    (row,) = await act(connection, "wallets/next_index", chain_id=chain["id"], first=FIRST_USER_INDEX)
    return int(row["next_index"])


def derived(branch: PublicBranch, first: int, count: int) -> list[NewWallet]:
    """``count`` wallets of ours from index ``first`` on. Raises InvalidValue beyond the last index there is."""
    if first + count - 1 > MAX_INDEX:
        raise InvalidValue(f"index {first + count - 1} is beyond the last one, {MAX_INDEX}")
    indices = range(first, first + count)
    return [NewWallet(address, index) for index, address in zip(indices, branch.addresses(indices), strict=True)]


class OwnAddresses:
    """Tells which addresses are ours, and at which index."""

    def __init__(self, branch: PublicBranch | None, horizon: int = 0) -> None:
        """``branch`` None: on a host without the mnemonic, where every address without an index is foreign.
        ``horizon``: the index up to which ours are derived."""
        self._branch = branch
        known = range(min(horizon, MAX_INDEX))
        self._known = (
            {} if branch is None else {a: index for index, a in zip(known, branch.addresses(known), strict=True)}
        )

    @classmethod
    async def of(
        cls,
        connection: AsyncConnection[Any],
        chain: Mapping[str, Any],
        branch: PublicBranch | None,
        indices: Sequence[int] = (),
    ) -> "OwnAddresses":
        """Up to ADDRESS_GAP_LIMIT beyond the last index in use, and beyond ``indices``."""
        if branch is None:
            return cls(None)
        last = max([await next_index(connection, chain), *(index + 1 for index in indices if index < MAX_DERIVE)])
        return cls(branch, last + ADDRESS_GAP_LIMIT)

    def index_of(self, address: str, index: int | None = None) -> int | None:
        """The index that derives ``address``, None for a foreign one. Raises InvalidValue for a given ``index`` that
        is not its own, Conflict for one of our own addresses."""
        if index is not None:
            self._check(address, index)
        found = self._known.get(address) if index is None else index
        if found is not None and found < FIRST_USER_INDEX:
            role = {0: "the gas wallet", 1: "the treasury"}.get(found, "reserved")
            raise Conflict(f"{address} is our own index {found}, {role}: it is not a customer's deposit wallet")
        return found

    def _check(self, address: str, index: int) -> None:
        if self._branch is None:
            raise InvalidValue(f"index {index} cannot be checked without the mnemonic")
        own = self._branch.address(index)
        if own != address:
            raise InvalidValue(
                f"{address} is not ours at index {index}: that one is {own}",
                "give the right --index, or leave it out to watch the address as a foreign one",
            )
