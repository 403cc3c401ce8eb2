"""Jobs and payments as rows, for tests of what the database does with them."""

import itertools
from uuid import UUID

from pipeline.db.pool import Connection
from tests.db.sessions import rows, value
from tests.seed import TRX, USDT, Chain, Wallet

GAS_STATION = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
TREASURY = "TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK"

TO = {
    "requested": (),
    "broadcasting": ("broadcasting",),
    "included": ("broadcasting", "included"),
    "final": ("broadcasting", "included", "final"),
    "reverted": ("broadcasting", "included", "reverted"),
    "expired": ("broadcasting", "expired"),
    "rejected": ("rejected",),
}
"""The way of a transfer to each state."""

_numbers = itertools.count(1)


async def new_job(connection: Connection, wallet: Wallet, job_type: str = "gas-topup", status: str = "active") -> UUID:
    return await value(
        connection,
        "INSERT INTO job_logs (job_id, job_type, wallet_address, status, lease) VALUES (%s, %s, %s, %s, 1)"
        " RETURNING id",
        f"{job_type}-{next(_numbers)}",
        job_type,
        wallet.address,
        status,
    )


async def new_transfer(
    connection: Connection,
    chain: Chain,
    wallet: Wallet,
    kind: str = "gas",
    *,
    amount: int | None = None,
    fee: int = 0,
    job: UUID | None = None,
    bundle: int | None = None,
    state: str = "requested",
) -> int:
    """A transfer of the wallet's live job (or a new one) led to ``state``, without signed attempts."""
    gas = kind == "gas"
    if job is None:
        job_type = "gas-topup" if gas else kind
        live = await rows(
            connection,
            "SELECT id FROM job_logs WHERE wallet_id = %s AND job_type = %s AND status = 'active'",
            wallet.id,
            job_type,
        )
        job = live[0][0] if live else await new_job(connection, wallet, job_type)
    transfer = await value(
        connection,
        "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount,"
        " fee_reserved, idempotency_key, bundle_id) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        kind,
        job,
        chain.id,
        wallet.id,
        chain.native_id if gas else chain.token_id,
        GAS_STATION if gas else wallet.address,
        wallet.address if gas else TREASURY,
        amount if amount is not None else 5 * TRX if gas else 300 * USDT,
        fee,
        f"{kind}:{next(_numbers)}",
        bundle,
    )
    for step in TO[state]:
        await connection.execute("UPDATE transfers SET state = %s WHERE id = %s", [step, transfer])
    return transfer


async def ask(connection: Connection, transfer: int, *, fee_cap: int = 1_000_000) -> UUID:
    """A signature that is asked for, with an expiration; its id."""
    return await value(
        connection,
        "INSERT INTO signing_requests (bundle_id, chain_id, sender, ref_block, expiration, parameters, unsigned_bytes,"
        r" fee_cap) SELECT bundle_id, chain_id, from_address, 1, now() + interval '3 minutes', '{}', '\x0a', %s"
        " FROM transfers WHERE id = %s RETURNING request_id",
        fee_cap,
        transfer,
    )


KEEP = (
    "WITH request AS (UPDATE signing_requests SET state = 'signed'"
    " WHERE request_id = %s AND state = 'asked' RETURNING *),"
    " payment AS (UPDATE transfers t SET state = 'broadcasting' FROM request r WHERE t.bundle_id = r.bundle_id"
    " AND t.state <> 'broadcasting') INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid,"
    " signed_bytes, sender, nonce, ref_block, expiration, fee_cap) SELECT r.bundle_id, r.request_id, r.chain_id,"
    " (SELECT count(*) + 1 FROM chain_transactions a WHERE a.bundle_id = r.bundle_id), %s,"
    r" '\x0a', r.sender, r.nonce, r.ref_block, r.expiration, r.fee_cap FROM request r RETURNING id"
)
"""Bytes for a request, and its payment on its way: request and txid."""


async def keep(connection: Connection, request: UUID) -> int:
    return await value(connection, KEEP, request, f"tx{next(_numbers)}")


async def new_attempt(connection: Connection, transfer: int, *, fee_cap: int = 1_000_000) -> int:
    """Asked for and kept: the transfer is broadcasting with it."""
    await connection.execute("UPDATE transfers SET state = 'requested' WHERE id = %s AND state = 'expired'", [transfer])
    return await keep(connection, await ask(connection, transfer, fee_cap=fee_cap))


async def read_past_the_expiration(connection: Connection) -> None:
    """The confirmation worker has read far enough to bury what has expired."""
    await connection.execute(
        "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time) "
        "SELECT id, 'confirmations', 1, 'b1', now() + interval '1 hour' FROM chains"
    )
