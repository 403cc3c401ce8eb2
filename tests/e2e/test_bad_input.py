"""What the world and its operators get wrong, met by the real processes: named where people look, and nobody else is
held up by it."""

import re

import pytest

from pipeline.devnet.faults import FaultKind
from tests.chains.devnet.hand import fresh_address
from tests.e2e.conftest import environment
from tests.e2e.running import flagpost
from tests.e2e.test_psql import USDT, answer, connection, deposit, paid_to_treasury, working

__all__ = ["connection", "working"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

MOVED = "SELECT 1 FROM transfers WHERE from_address = %s AND kind = 'consolidation' AND state = 'final'"


async def test_a_contract_that_is_no_trc20_is_named_and_harms_nobody_else(stand, connection):
    healthy, contract = stand.seeded.customers[0], stand.seeded.customers[5]
    await connection.execute(
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
        " consolidate_execute_min) SELECT id, 'FAKE', %s, 6, 200, 100 FROM chains WHERE name = 'tron'",
        [contract],
    )
    (error,) = await answer(
        connection,
        "SELECT b.last_error FROM wallet_balances b JOIN asset_on_chain a ON a.id = b.asset_on_chain_id"
        " JOIN wallets w ON w.id = b.wallet_id WHERE a.symbol = 'FAKE' AND w.address = %s AND b.last_error IS NOT NULL",
        healthy,
    )
    assert error == f"{contract} is not a contract: nothing is deployed at that address"
    await deposit(stand, connection, healthy, 250 * USDT)
    await answer(connection, MOVED, healthy)
    assert await paid_to_treasury(stand, healthy) == [250 * USDT]
    assert flagpost(["assets", "disable", "tron", "FAKE"], environment(stand)).returncode == 0


async def test_a_wallet_of_somebody_else_is_watched_and_never_paid_for(stand, connection):
    foreign = fresh_address()
    env = environment(stand)
    assert "foreign: never receives gas" in flagpost(["wallets", "add", foreign], env).stdout
    await deposit(stand, connection, foreign, 300 * USDT)
    flags = await connection.execute("SELECT needs_gas, needs_consolidation FROM wallets WHERE address = %s", [foreign])
    assert await flags.fetchone() == (False, False)
    await connection.execute("UPDATE user_wallets SET needs_gas = true WHERE address = %s", [foreign])
    (job, error) = await answer(
        connection,
        "SELECT job_id, error_message FROM job_logs WHERE wallet_address = %s AND status = 'failed'",
        foreign,
    )
    said = f"wallet {foreign} is not derived from our mnemonic: it never receives gas and is never signed for"
    assert said in error
    assert said in flagpost(["jobs", "show", job], env).stdout.replace("\n", " ")
    assert foreign in flagpost(["wallets", "list", "--foreign"], env).stdout
    payments = await stand.client.audit()
    assert [one for one in payments if foreign in (one.sender, one.receiver) and one.contract is None] == []
    assert await paid_to_treasury(stand, foreign) == []


async def test_a_node_that_lies_about_a_txid_is_named_and_pays_once(stand, connection):
    wallet = stand.seeded.customers[1]
    await stand.client.add_fault(FaultKind.FALSE_TXID, "wallet/broadcasthex", count=1)
    await deposit(stand, connection, wallet, 260 * USDT)
    await answer(connection, MOVED, wallet)
    assert await paid_to_treasury(stand, wallet) == [260 * USDT]
    gas = [one for one in await stand.client.audit() if one.receiver == wallet and one.sender == stand.seeded.gas]
    assert len(gas) == 1
    said = (stand.home.path / "logs" / "gas-topup.1.log").read_text()
    assert re.search(rf"ERROR .*node {stand.client.url} answered the broadcast of {gas[0].txid} with txid", said), said
