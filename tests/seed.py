"""Rows that many tests start from, with the default rules of the automation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import base58

from pipeline.db.pool import Connection

TRX = 1_000_000
"""Sun."""
USDT = 1_000_000
"""Raw units of USDT on TRON."""
USDT_CONTRACT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
GENESIS = "00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc"
FIRST_USER_INDEX = 10


@dataclass(frozen=True, slots=True)
class Wallet:
    """One row of ``wallets``."""

    id: UUID
    address: str
    derivation_index: int | None


@dataclass(slots=True)
class Chain:
    """The chain ``tron`` with its coin and one token."""

    id: int
    native_id: UUID
    token_id: UUID
    wallets: list[Wallet] = field(default_factory=list)


def address_of(index: int) -> str:
    """A well-formed TRON address, the same for the same index. Nobody has its key."""
    return base58.b58encode_check(b"\x41" + hashlib.sha256(b"wallet %d" % index).digest()[:20]).decode()


async def seed_tron(connection: Connection, wallets: int = 0, *, gas_policy: str = "threshold") -> Chain:
    """The chain with native TRX, USDT, and ``wallets`` empty wallets."""
    cursor = await connection.execute(
        """
        INSERT INTO chains (name, family, network_id, gas_policy, gas_flag_below, gas_execute_below, gas_amount,
                            fee_reserve, gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, fee_max)
        VALUES ('tron', 'tron', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        [GENESIS, gas_policy, 5 * TRX, TRX, 5 * TRX, TRX, 50 * TRX, 100 * TRX, 10_000 * TRX, 50 * TRX],
    )
    chain_id = await _one(cursor)
    await any_clock(connection)
    native_id = await _one(
        await connection.execute(
            "INSERT INTO asset_on_chain (chain_id, symbol, decimals) VALUES (%s, 'TRX', 6) RETURNING id", [chain_id]
        )
    )
    token_id = await _one(
        await connection.execute(
            """
            INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals,
                                        consolidate_flag_above, consolidate_execute_min)
            VALUES (%s, 'USDT', %s, 6, %s, %s) RETURNING id
            """,
            [chain_id, USDT_CONTRACT, 200 * USDT, 100 * USDT],
        )
    )
    chain = Chain(chain_id, native_id, token_id)
    await add_wallets(connection, chain, wallets)
    return chain


async def any_clock(connection: Connection) -> None:
    """Blocks may be of any time: clocks of simulated networks are moved."""
    await connection.execute("UPDATE chains SET clock_ahead = '10 years'")


async def add_wallets(connection: Connection, chain: Chain, count: int) -> Sequence[Wallet]:
    """``count`` more wallets with the next derivation indices, and their balances of zero."""
    first = FIRST_USER_INDEX + len(chain.wallets)
    indices = list(range(first, first + count))
    cursor = await connection.execute(
        """
        INSERT INTO wallets (chain_id, address, derivation_index)
        SELECT %s, address, index FROM unnest(%s::text[], %s::bigint[]) AS new (address, index)
        RETURNING id, address, derivation_index
        """,
        [chain.id, [address_of(index) for index in indices], indices],
    )
    added = [Wallet(*row) for row in await cursor.fetchall()]
    chain.wallets += added
    return added


async def set_balance(connection: Connection, wallet: Wallet, asset_id: UUID, raw: int) -> None:
    """What the balance sync does when it has read ``raw``."""
    await connection.execute(
        """
        UPDATE wallet_balances SET on_chain_balance_raw = %s, recheck = false,
            last_checked = now(), last_processed_at = now()
        WHERE wallet_id = %s AND asset_on_chain_id = %s
        """,
        [str(raw), wallet.id, asset_id],
    )


async def _one(cursor: object) -> Any:
    row = await cursor.fetchone()  # type: ignore[attr-defined]
    return row[0]
