"""What went wrong elsewhere, each as a test by its name.

Sources are named by project and, where there is one, issue number.
"""

import asyncio
from typing import Any

import pytest

from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, Proof
from pipeline.devnet.faults import FaultKind
from pipeline.queue.jobs import Done, JobType, Parked
from tests.chaos.world import Desk, World
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION
BROADCAST = "wallet/broadcasthex"


@pytest.fixture
async def wallet(world: World) -> Wallet:
    """Tokens, no coin, both flags."""
    made = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(made, gas=True, consolidation=True)
    return made


async def states(world: World) -> tuple[list[str], list[str]]:
    return [row["status"] for row in await world.jobs()], [row["state"] for row in await world.transfers()]


async def test_broadcast_inside_a_database_transaction(world: World, desk: Desk, wallet: Wallet) -> None:
    """dv-processing, peatio: the node has the transaction, the COMMIT that would say so never comes, and it is paid
    again. Here nothing is open while the bytes leave, and another session can read that they are leaving."""
    seen: list[Any] = []

    async def look(reply: object) -> object:
        seen.append(
            await world.rows(
                "SELECT count(*) AS open FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND state <> 'active'"
            )
        )
        seen.append([row["state"] for row in await world.attempts()])
        return reply

    desk.provider.after("broadcast", look)
    await desk.run(GAS)
    assert seen == [[{"open": 0}], ["broadcasting"]]


async def test_nothing_kept_before_broadcast(world: World, desk: Desk, wallet: Wallet) -> None:
    """shkeeper: a crash after the send leaves no trace of it. Here the very bytes are on record before."""
    kept: list[tuple[str, bytes]] = []

    async def read() -> None:
        kept.extend((row["txid"], bytes(row["signed_bytes"])) for row in await world.attempts())

    desk.provider.before("broadcast", read)
    await desk.run(GAS)
    await desk.settle()
    (payment,) = await world.paid_gas()
    assert [txid for txid, _ in kept] == [payment.txid]


@pytest.mark.parametrize("kind", [FaultKind.LOST_REPLY, FaultKind.HTML, FaultKind.SERVER_BUSY, FaultKind.TOO_MANY])
async def test_timeout_recorded_as_failed_then_sent_again(
    world: World, desk: Desk, wallet: Wallet, kind: FaultKind
) -> None:
    """peatio #2271, open-ethereum-pool #216: no answer is no failure."""
    await world.devnet.add_fault(kind, BROADCAST, count=1, status=504)
    assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
    assert await desk.run(GAS) == []
    assert await states(world) == (["active"], ["broadcasting"])
    await world.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 minute'")
    await desk.settlement.round()
    await desk.settle()
    assert await states(world) == (["completed"], ["final"])
    assert len(await world.paid_gas()) == 1


@pytest.mark.parametrize(
    "code",
    [
        "SIGERROR",
        "CONTRACT_VALIDATE_ERROR",
        "DUP_TRANSACTION_ERROR",
        "TAPOS_ERROR",
        "TRANSACTION_EXPIRATION_ERROR",
        "OTHER_ERROR",
    ],
)
async def test_a_refusal_that_is_none(world: World, desk: Desk, wallet: Wallet, code: str) -> None:
    """The node says no and has passed it on: only the chain knows. Paid once, settled as final."""
    await world.devnet.add_fault(FaultKind.FALSE_CODE, BROADCAST, count=1, status=200, code=code, process=True)
    assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
    (attempt,) = await world.attempts()
    assert code in attempt["last_result"]
    await desk.settle()
    assert await states(world) == (["completed"], ["final"])
    assert len(await world.paid_gas()) == 1


async def test_signs_the_txid_the_node_returns(world: World, desk: Desk, wallet: Wallet) -> None:
    """tronpy's online build. Here the id is computed from our bytes, and a node that names another one is caught; the
    payment goes on under its true id."""
    await world.devnet.add_fault(FaultKind.FALSE_TXID, BROADCAST, count=1)
    assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
    (attempt,) = await world.attempts()
    assert attempt["last_result"].startswith("inconsistent node")
    await desk.settle()
    assert [one.txid for one in await world.paid_gas()] == [attempt["txid"]]


async def test_death_proved_from_nodes_that_disagree(world: World, desk: Desk, wallet: Wallet) -> None:
    """Nonces and heights taken from whatever node a load balancer picks. Here a node that was cut off and has never
    heard of the transaction cannot declare it dead, and what one node says is not mixed with another's height."""
    stale = await world.devnet.start_node("stale")
    await world.devnet.freeze("stale")
    await desk.run(GAS)
    await world.devnet.mine(3)
    await world.devnet.advance(200)
    await world.devnet.mine(6)
    (attempt,) = await desk.settlements.live(world.chain_id)
    assets = [Asset("TRX", 6), Asset("USDT", 6, world.token)]
    lagging = TronProvider("tron", world.genesis, [NodeConfig(stale.url)], assets, patience=1.0, shared_seconds=0.0)
    assert (await lagging.verdict(attempt.signed)).proof is Proof.OPEN
    await lagging.close()
    assert (await desk.real_provider.verdict(attempt.signed)).proof is Proof.FINAL
    await desk.settlement.round()
    assert await states(world) == (["completed"], ["final"])


async def test_success_recorded_at_send_not_at_the_receipt(world: World, desk: Desk, wallet: Wallet) -> None:
    """The node says SUCCESS and the transaction never lands: nothing may count as paid, and no flag may fall."""
    await world.devnet.add_fault(FaultKind.SWALLOWED, BROADCAST)
    await desk.run(GAS)
    await world.devnet.mine(5)
    await desk.settlement.round()
    assert await states(world) == (["active"], ["broadcasting"])
    assert (await world.row("SELECT needs_gas FROM wallets WHERE id = %s", wallet.id))["needs_gas"]


async def test_success_recorded_while_it_may_still_be_forked_away(world: World, desk: Desk, wallet: Wallet) -> None:
    """In a block is not final: the flag falls with finality and not before."""
    await desk.settlement.round()
    await desk.run(GAS)
    await world.devnet.mine()
    await desk.settlement.round()
    assert await states(world) == (["active"], ["included"])
    assert (await world.row("SELECT needs_gas FROM wallets WHERE id = %s", wallet.id))["needs_gas"]
    await desk.settle()
    assert not (await world.row("SELECT needs_gas FROM wallets WHERE id = %s", wallet.id))["needs_gas"]


async def test_gas_not_yet_confirmed_so_collection_is_skipped_for_ever(
    world: World, desk: Desk, wallet: Wallet
) -> None:
    """peatio #2495: a collection that looks too early, finds no gas and is dropped. Here it waits for the flag, and
    the commit that settles the gas calls for it."""
    await desk.run(GAS)
    await world.connection.execute(
        "INSERT INTO job_logs (job_id, job_type, status, wallet_address) "
        "VALUES ('early', 'consolidation', 'pending', %s)",
        [wallet.address],
    )
    ((_, outcome),) = await desk.run(CONSOLIDATION)
    assert isinstance(outcome, Done)
    assert outcome.data["outcome"] == "needs_gas"
    assert await desk.run(CONSOLIDATION) == []
    await desk.settle()
    assert [outcome for _, outcome in await desk.run(CONSOLIDATION)] == [Parked()]
    await desk.settle()
    assert [one.amount for one in await world.swept()] == [250 * USDT]


async def test_fixed_amount_per_sweep_whatever_the_wallet_holds(world: World, desk: Desk) -> None:
    """shkeeper #80: 40 TRX a time. Here a wallet that can pay gets nothing, and one that cannot gets what it lacks."""
    await world.connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
    rich = await world.wallet(usdt=250 * USDT, trx=40 * TRX)
    poor = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    for one in (rich, poor):
        await world.flag(one, gas=True, consolidation=True)
    await desk.run(GAS)
    await desk.settle()
    (payment,) = await world.paid_gas()
    assert payment.receiver == poor.address
    await desk.run(CONSOLIDATION)
    await desk.settle()
    left = await world.devnet.balance(poor.address)
    assert left < payment.amount
    assert len(await world.swept()) == 2


async def test_cleanup_that_marks_an_unconfirmed_send_failed_and_retries_it(
    world: World, desk: Desk, wallet: Wallet
) -> None:
    """However old: a job whose transaction may land is looked up, not cleaned up."""
    await desk.run(GAS)
    await world.connection.execute(
        "SET session_replication_role = replica; "
        "UPDATE job_logs SET updated_at = now() - interval '3 days', started_at = now() - interval '3 days', "
        "lease_deadline = now() - interval '2 days'; "
        "UPDATE transfers SET created_at = now() - interval '3 days'; "
        "SET session_replication_role = origin"
    )
    assert await world.row("SELECT cleanup_stuck_jobs(10) AS cleaned") == {"cleaned": 0}
    assert await world.row("SELECT retry_failed_jobs('gas-topup', 100) AS retried") == {"retried": 0}
    assert await desk.run(GAS) == []
    await desk.settle()
    assert await states(world) == (["completed"], ["final"])
    assert len(await world.paid_gas()) == 1


async def test_a_duplicate_answer_taken_for_a_payment(world: World, desk: Desk, wallet: Wallet) -> None:
    """A node remembers a txid before it validates it: DUP says nothing about the chain."""
    await world.devnet.add_fault(FaultKind.SWALLOWED, BROADCAST, count=1)
    await desk.run(GAS)
    (attempt,) = await world.attempts()
    await world.devnet.add_fault(FaultKind.FALSE_CODE, BROADCAST, code="DUP_TRANSACTION_ERROR")
    await world.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 minute'")
    await desk.settlement.round()
    (again,) = await world.attempts()
    assert again["broadcast_count"] == attempt["broadcast_count"] + 1
    assert "DUP" in again["last_result"]
    assert await states(world) == (["active"], ["broadcasting"])


async def test_two_workers_that_both_saw_the_flag(world: World, desk: Desk, other_desk: Desk, wallet: Wallet) -> None:
    """Claiming is exclusive whoever enqueues first."""
    outcomes = await asyncio.gather(*(one.run(GAS) for one in (desk, other_desk) for _ in range(3)))
    assert sum(len(batch) for batch in outcomes) == 1
    await desk.settle()
    assert len(await world.paid_gas()) == 1


async def test_the_bytes_on_record_are_the_bytes_on_the_chain(world: World, desk: Desk, wallet: Wallet) -> None:
    await desk.run(GAS)
    await desk.settle()
    (attempt,) = await world.attempts()
    (payment,) = await world.paid_gas()
    decoded = desk.real_provider.codec.decode(bytes(attempt["signed_bytes"]))
    assert (decoded.sender, decoded.receiver, decoded.amount) == (payment.sender, payment.receiver, payment.amount)
    assert attempt["txid"] == payment.txid
