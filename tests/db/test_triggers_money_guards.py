"""What may still land, against statements of the role that moves money: nobody buries it, replaces it, ends its payment
or gives its nonce away, or it would be paid twice."""

from collections.abc import Sequence

import psycopg
import pytest

from pipeline.queue.jobs import JobType
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.test_transfers_evm_stuck import outsider, stuck
from tests.db.test_transfers_races import states
from tests.seed import USDT

GAS = JobType.GAS_TOPUP
EXPIRED = "UPDATE chain_transactions SET state = 'expired'"
REPLACED = "UPDATE chain_transactions SET state = 'replaced'"
PAYMENT_EXPIRED = "UPDATE transfers SET state = 'expired'"


async def refused(world: World, *statements: str) -> str | None:
    """What pipeline_executor is told, all undone; None if the statements succeed."""
    try:
        async with world.connection.transaction(force_rollback=True):
            await world.connection.execute("SET LOCAL ROLE pipeline_executor")
            for statement in statements:
                await world.connection.execute(statement)  # type: ignore[call-overload]
            await world.connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.DatabaseError as error:
        if error.sqlstate not in {"FP003", "FP004"}:
            raise
        return error.diag.message_primary
    return None


async def out(world: World, desk: Desk) -> None:
    """A top-up is out and in no block, and final blocks are read beyond it where that can be."""
    wallet = await world.wallet(usdt=250 * USDT)
    if isinstance(world, EvmWorld):
        await world.network.finalize()
    else:
        await world.devnet.solidify()
    await world.flag(wallet, gas=True, consolidation=True)
    await desk.run(GAS)


@pytest.fixture
async def on_evm(evm: EvmWorld, evm_desk: EvmDesk) -> EvmWorld:
    """Lost from the node's pool, and blocks have passed: it may come back at any time, for ever."""
    await out(evm, evm_desk)
    await evm.network.node.call("anvil_dropAllTransactions")
    for _ in range(3):
        await evm.network.finalize()
        await evm_desk.settlement.round()
        await evm.network.node.call("anvil_dropAllTransactions")
    assert (await states(evm))[1:] == (["broadcasting"], ["broadcasting"])
    return evm


@pytest.fixture
async def on_tron(world: World, desk: Desk) -> World:
    await desk.settlement.round()
    await out(world, desk)
    return world


PARTS_OF_THE_LIE = [
    [EXPIRED],
    [EXPIRED, PAYMENT_EXPIRED],
    [REPLACED],
    [REPLACED, PAYMENT_EXPIRED],
    [PAYMENT_EXPIRED],
    ["UPDATE transfers SET state = 'included'", "UPDATE transfers SET state = 'reverted', settled_at = now()"],
    ["UPDATE transfers SET state = 'included'", "UPDATE transfers SET state = 'final', settled_at = now()"],
]


@pytest.mark.parametrize("statements", PARTS_OF_THE_LIE)
async def test_what_may_land_is_not_over_on_evm(on_evm: EvmWorld, statements: Sequence[str]) -> None:
    assert await refused(on_evm, *statements) is not None


@pytest.mark.parametrize("statements", PARTS_OF_THE_LIE)
async def test_what_may_land_is_not_over_on_tron(on_tron: World, statements: Sequence[str]) -> None:
    assert await refused(on_tron, *statements) is not None


async def test_a_second_live_attempt_on_tron(on_tron: World) -> None:
    said = await refused(
        on_tron,
        "INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, ref_block,"
        r" expiration, fee_cap) SELECT transfer_id, chain_id, 2, 'tx2', '\x0a', sender, ref_block, expiration, 1"
        " FROM chain_transactions",
    )
    assert said is not None
    assert "another live attempt has no end yet" in said


@pytest.mark.parametrize("state", ["released", "void", "lost", "used"])
async def test_a_nonce_under_live_bytes_stays(on_evm: EvmWorld, state: str) -> None:
    said = await refused(on_evm, f"UPDATE nonces SET state = '{state}'")  # noqa: S608
    assert said is not None
    assert f"cannot become {state}" in said


async def test_a_nonce_that_another_payment_signed_with(on_evm: EvmWorld) -> None:
    """Even if the books say that it is reserved for this one."""
    other = await on_evm.wallet()
    await on_evm.flag(other, gas=True)
    await on_evm.connection.execute(
        "INSERT INTO job_logs (job_id, job_type, wallet_address, status, lease)"
        " VALUES ('j2', 'gas-topup', %s, 'active', 1)",
        [other.address],
    )
    await on_evm.connection.execute(
        "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount,"
        " idempotency_key) SELECT 'gas', j.id, t.chain_id, j.wallet_id, t.asset_on_chain_id, t.from_address, %s, 1,"
        " 'k2' FROM transfers t, job_logs j WHERE j.job_id = 'j2'",
        [other.address],
    )
    await on_evm.connection.execute("SET session_replication_role = replica")
    await on_evm.connection.execute(
        "UPDATE nonces SET transfer_id = (SELECT id FROM transfers WHERE idempotency_key = 'k2')"
    )
    await on_evm.connection.execute("RESET session_replication_role")
    said = await refused(
        on_evm,
        "INSERT INTO chain_transactions (transfer_id, chain_id, attempt, txid, signed_bytes, sender, nonce, ref_block,"
        r" fee_cap) SELECT t.id, t.chain_id, 1, 'tx2', '\x0a', a.sender, a.nonce, a.ref_block, 1"
        " FROM transfers t, chain_transactions a WHERE t.idempotency_key = 'k2'",
    )
    assert said is not None
    assert "another payment was signed with nonce 0" in said


async def test_a_replacement_and_its_first_attempt(evm: EvmWorld, evm_desk: EvmDesk) -> None:
    wallet = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True, consolidation=True)
    await stuck(evm, evm_desk)
    await evm_desk.upkeep().round()
    assert (await states(evm))[2] == ["broadcasting", "broadcasting"]
    for statement in (EXPIRED, REPLACED):
        for attempt in (1, 2):
            assert await refused(evm, f"{statement} WHERE attempt = {attempt}") is not None
    await evm_desk.settle()
    await evm_desk.settlement.round()
    assert sorted((await states(evm))[2]) == ["final", "replaced"]
    assert len(await evm.paid_gas()) == 1


async def test_a_burial_leaves_its_proof(on_evm: EvmWorld, evm_desk: EvmDesk) -> None:
    await outsider(on_evm, evm_desk, 0, on_evm.treasury)
    for _ in range(3):
        await on_evm.network.finalize()
        await evm_desk.settlement.round()
    assert await states(on_evm) == (["retrying"], ["expired"], ["expired"])
    (row,) = await on_evm.rows(
        "SELECT x.state, x.lost_at_block > a.ref_block AS beyond, x.lost_at_block <= c.block_number AS read "
        "FROM nonces x JOIN chain_transactions a ON a.nonce = x.nonce "
        "JOIN chain_cursors c ON c.chain_id = x.chain_id"
    )
    assert (row["state"], row["beyond"], row["read"]) == ("lost", True, True)


async def test_a_proof_older_than_the_bytes_buries_nothing(on_evm: EvmWorld, evm_desk: EvmDesk) -> None:
    live = await evm_desk.books.live(on_evm.chain_id)
    await on_evm.connection.execute("UPDATE chain_transactions SET first_broadcast_at = now() + interval '1 hour'")
    assert not await evm_desk.books.expire(live, "a proof of yesterday")
    assert (await states(on_evm))[1:] == (["broadcasting"], ["broadcasting"])
