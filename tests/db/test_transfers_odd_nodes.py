"""Nodes that contradict each other, or themselves, about a payment: nothing is recorded until they agree."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from loguru import logger

from pipeline.chains.errors import ChainUnavailable, InconsistentNode
from pipeline.chains.values import BlockContent, BlockRef, TransactionResult
from pipeline.payments.settle.settlement import Settlement
from pipeline.queue.jobs import JobType
from pipeline.workers.confirmations import Confirmations
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import Desk, Interposed, World
from tests.db.worker_kit import PATIENCE, heartbeat, rows, running
from tests.seed import Wallet

CURSOR = "SELECT block_number, block_id FROM chain_cursors"


@pytest.fixture
async def paid(world: World, desk: Desk, thirsty: Wallet) -> Wallet:
    """Its top-up is in a final block, and nobody has seen it."""
    await desk.settlement.round()
    await desk.run(JobType.GAS_TOPUP)
    await world.devnet.solidify()
    return thirsty


@pytest.fixture
def lines() -> Iterator[list[str]]:
    kept: list[str] = []
    sink = logger.add(lambda message: kept.append(str(message)))
    yield kept
    logger.remove(sink)


def without_effects(content: BlockContent | None) -> BlockContent | None:
    """The block as a node gives it that loses logs and values of transactions."""
    if content is None:
        return None
    return replace(content, transactions=tuple(replace(one, effects=()) for one in content.transactions))


def failed(content: BlockContent | None) -> BlockContent | None:
    if content is None:
        return None
    return replace(content, transactions=tuple(replace(one, success=False) for one in content.transactions))


def failed_result(result: TransactionResult | None) -> TransactionResult | None:
    return None if result is None else replace(result, success=False)


def always(desk: Desk | EvmDesk, method: str, change: Any) -> None:
    """Every result of ``method`` is changed."""
    provider: Interposed = desk.provider

    async def changed(result: Any) -> Any:
        provider.after(method, changed)
        return change(result)

    provider.after(method, changed)


@pytest.mark.parametrize("false", [without_effects, failed])
async def test_a_payment_that_one_node_shows_as_failed_and_another_as_done_is_not_recorded(
    world: World, desk: Desk, paid: Wallet, false: Any
) -> None:
    """It would be decided anew, and paid twice."""
    always(desk, "block", false)
    always(desk, "verdict", lambda verdict: replace(verdict, result=failed_result(verdict.result)))
    for _ in range(3):
        await desk.settlement.round()
        assert [row["state"] for row in await world.transfers()] == ["included"]
        (alarm,) = await desk.settlement.tidy()
        assert re.search(r"a node shows that tx [0-9a-f]{64} did not pay, http://\S+ that it did", alarm)
    desk.provider.after("verdict", _as_it_is)
    await desk.settlement.round()
    assert await desk.settlement.tidy() == []
    assert [row["state"] for row in await world.transfers()] == ["final"]
    await world.assert_database_equals_chain()


async def _as_it_is(result: Any) -> Any:
    return result


async def test_a_failure_that_no_node_confirms_now_waits(world: World, desk: Desk, paid: Wallet) -> None:
    always(desk, "block", failed)
    always(desk, "find_everywhere", lambda said: {})
    always(desk, "verdict", lambda verdict: replace(verdict, result=failed_result(verdict.result)))
    await desk.settlement.round()
    assert [row["state"] for row in await world.transfers()] == ["included"]
    (alarm,) = await desk.settlement.tidy()
    assert re.search(r"failed on the chain: .* no node confirms it now", alarm)
    desk.provider.after("find_everywhere", _as_it_is)
    desk.provider.after("verdict", _as_it_is)
    await desk.settlement.round()
    assert [row["state"] for row in await world.transfers()] == ["final"]


async def test_a_failure_that_all_nodes_show_is_recorded(evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
    await evm_desk.settlement.round()
    await evm_desk.run(JobType.GAS_TOPUP)
    await evm.network.finalize()
    always(evm_desk, "block", failed)
    always(evm_desk, "find_everywhere", lambda said: {name: replace(one, success=False) for name, one in said.items()})
    await evm_desk.settlement.round()
    assert [row["state"] for row in await evm.transfers()] == ["reverted"]


@pytest.mark.parametrize(
    "false", [lambda ref: replace(ref, id="ab" * 32), lambda ref: replace(ref, number=ref.number + 10**9)]
)
async def test_a_final_block_that_only_one_answer_names_is_not_recorded_as_read(
    world: World, desk: Desk, thirsty: Wallet, false: Any
) -> None:
    """No later block would follow it: settlement stood still until a person deleted the row."""
    await desk.settlement.round()
    (before,) = await rows(world.connection, CURSOR)
    await world.devnet.mine(5)

    async def once(ref: BlockRef) -> BlockRef:
        return false(ref)

    desk.provider.after("block_ref", once)
    with contextlib.suppress(InconsistentNode):  # refused, or not there yet
        await desk.settlement.round()
    assert await rows(world.connection, CURSOR) == [before]
    await desk.settlement.round()
    (after,) = await rows(world.connection, CURSOR)
    assert after["block_number"] > before["block_number"]


async def test_a_block_is_settled_once_the_next_one_follows_it(world: World, desk: Desk, paid: Wallet) -> None:
    """The last one, where a second answer has the same id."""

    async def once(ref: BlockRef) -> BlockRef:
        return replace(ref, id="ab" * 32)

    desk.provider.after("block_ref", once)
    with pytest.raises(InconsistentNode, match="nothing is concluded from either"):
        await desk.settlement.round()
    await desk.settlement.round()
    assert [row["state"] for row in await world.transfers()] == ["final"]


async def test_what_nobody_expected_ends_no_confirmation_worker(
    world: World, desk: Desk, paid: Wallet, database: str, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr("pipeline.workers.chains.RETRY_SECONDS", (0.05,))
    real, calls = Settlement.round, []

    async def broken(settlement: Settlement) -> int:
        calls.append(settlement)
        if len(calls) < 3:
            raise KeyError("\x00 of one block")
        return await real(settlement)

    monkeypatch.setattr(Settlement, "round", broken)
    async with running(Confirmations(), database) as runtime, asyncio.timeout(PATIENCE):
        while [row["state"] for row in await world.transfers()] != ["final"]:
            await heartbeat(runtime)
        (worker,) = await rows(world.connection, "SELECT last_error FROM worker_registry")
    assert worker["last_error"] == r"tron: KeyError: '\x00 of one block'"
    assert any("an unexpected error" in line and "Traceback" in line for line in lines)


async def test_standing_still_for_a_minute_is_an_alarm_that_says_what_to_do(
    world: World, desk: Desk, paid: Wallet, database: str, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    monkeypatch.setattr("pipeline.workers.chains.ALARM_SECONDS", 0.3)
    monkeypatch.setattr("pipeline.workers.confirmations.NODE_RETRY_SECONDS", 0.05)

    async def unreadable(settlement: Settlement) -> int:
        raise ChainUnavailable("http://node lacks 1 of the 2 receipts of block 7")

    monkeypatch.setattr(Settlement, "round", unreadable)
    said = "name another node in FLAGPOST_NODES_TRON or chains.nodes"
    async with running(Confirmations(), database) as runtime, asyncio.timeout(PATIENCE):
        while said not in (runtime.last_error or ""):
            await heartbeat(runtime)
        await heartbeat(runtime)
        (worker,) = await rows(world.connection, "SELECT last_error FROM worker_registry")
    assert "nothing of this chain could be read or recorded: http://node lacks 1 of the 2" in worker["last_error"]
    assert any("ERROR" in line and said in line for line in lines)
