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
    "signed": ("signed",),
    "broadcasting": ("signed", "broadcasting"),
    "included": ("signed", "broadcasting", "included"),
    "final": ("signed", "broadcasting", "included", "final"),
    "reverted": ("signed", "broadcasting", "included", "reverted"),
    "expired": ("signed", "broadcasting", "expired"),
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
        " fee_reserved, idempotency_key) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
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
    )
    for step in TO[state]:
        await connection.execute("UPDATE transfers SET state = %s WHERE id = %s", [step, transfer])
    return transfer


async def new_attempt(
    connection: Connection,
    chain: Chain,
    transfer: int,
    sender: str = GAS_STATION,
    *,
    fee_cap: int = 1_000_000,
    attempt: int = 1,
) -> int:
    return await value(
        connection,
        "INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, ref_block,"
        r" expiration, fee_cap) VALUES (%s, %s, %s, %s, '\x0a', %s, 1, now() + interval '3 minutes', %s)"
        " RETURNING id",
        transfer,
        chain.id,
        attempt,
        f"tx{next(_numbers)}",
        sender,
        fee_cap,
    )


async def read_past_the_expiration(connection: Connection) -> None:
    """The confirmation worker has read far enough to bury what has expired."""
    await connection.execute(
        "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time) "
        "SELECT id, 'confirmations', 1, 'b1', now() + interval '1 hour' FROM chains"
    )
