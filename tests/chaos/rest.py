"""Whether an installation has come to rest: nothing is due, open or on its way, and the sync has seen it all."""

from collections.abc import Mapping

from tests.chaos.ground import Ground
from tests.chaos.psql import Psql

BUSY = """
SELECT EXISTS (SELECT FROM wallets WHERE wanted_job IS NOT NULL)
    OR EXISTS (SELECT FROM transfers WHERE state NOT IN ('final', 'reverted', 'rejected'))
    OR EXISTS (SELECT FROM nonces WHERE state IN ('reserved', 'void'))
    OR EXISTS (SELECT FROM job_logs WHERE status IN ('pending', 'active', 'retrying')
               AND job_type IN ('gas-topup', 'consolidation', 'sync'))
    OR EXISTS (SELECT FROM wallet_balances WHERE recheck OR processing_status <> 'idle') AS busy
"""


async def at_rest(psql: Psql, grounds: Mapping[str, Ground]) -> bool:
    """By the records, and by what the wallets hold."""
    if (await psql.one(BUSY))["busy"]:
        return False
    for ground in grounds.values():
        for address in ground.addresses:
            if await ground.token_held(address):
                return False
    return not await _balances_lag(psql, grounds)


async def _balances_lag(psql: Psql, grounds: Mapping[str, Ground]) -> bool:
    """Whether the sync has still to see a wallet as it is."""
    for ground in grounds.values():
        rows = await psql.ask(
            "SELECT w.address, b.on_chain_balance_raw AS raw FROM wallet_balances b "
            "JOIN wallets w ON w.id = b.wallet_id WHERE b.asset_on_chain_id = %s",
            ground.coin_id,
        )
        for row in rows:
            if int(row["raw"]) != await ground.coin_held(row["address"]):
                return True
    return False
