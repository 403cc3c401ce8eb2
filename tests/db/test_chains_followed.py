"""Executors and confirmations follow the table ``chains`` while they run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from pipeline.payments.send.consolidations import Consolidations
from pipeline.payments.send.gas_topups import GasTopups
from pipeline.payments.settle.settlement import Settlement
from pipeline.queue.jobs import JobType
from pipeline.settings import Settings
from pipeline.workers.confirmations import Confirmations
from pipeline.workers.paying import PayingExecutor
from pipeline.workers.runtime import Runtime, Worker
from tests.chaos.evm_world import EvmDesk, EvmWorld
from tests.chaos.world import MNEMONIC, Desk, World
from tests.db.test_transfers_evm_stuck import stuck
from tests.db.worker_kit import PATIENCE, running, until_count
from tests.policy import write_policy
from tests.seed import TRX, USDT, Wallet

NOWHERE = "http://127.0.0.1:9"
TREASURY_ON_BSC = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"


@pytest.fixture
async def world(world: World, home: Path) -> World:
    """What a process of this home may sign for, too."""
    write_policy(home, world.policy(), more=True)
    return world


@pytest.fixture
async def evm(evm: EvmWorld, home: Path) -> EvmWorld:
    write_policy(home, evm.policy(), more=True)
    return evm


@pytest.fixture
async def thirsty(world: World) -> Wallet:
    wallet = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(wallet, gas=True)
    return wallet


@pytest.fixture
async def thirsty_on_evm(evm: EvmWorld) -> Wallet:
    wallet = await evm.wallet(usdt=250 * USDT)
    await evm.network.finalize()
    await evm.flag(wallet, gas=True)
    return wallet


@pytest.fixture(autouse=True)
def host_that_signs(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("FLAGPOST_MNEMONIC", MNEMONIC)
    monkeypatch.setenv("FLAGPOST_HOME", str(home))


def settings(dsn: str, **changes: Any) -> Settings:
    return Settings(database_url=dsn, **changes)


@contextlib.asynccontextmanager
async def topping_up(dsn: str) -> AsyncIterator[Runtime]:
    async with running(PayingExecutor(settings(dsn), JobType.GAS_TOPUP, GasTopups), dsn) as runtime:
        yield runtime


async def set_nodes(world: World, *urls: str) -> None:
    await world.connection.execute("UPDATE chains SET nodes = %s", [Jsonb([{"url": url} for url in urls])])


async def until_sent(world: World) -> None:
    await until_count(world.connection, "SELECT count(*) FROM transfers WHERE state = 'broadcasting'", 1)


class TestExecutors:
    async def test_nodes_that_are_corrected_are_used(self, world: World, database: str, thirsty: Wallet) -> None:
        await set_nodes(world, NOWHERE)
        async with topping_up(database):
            await set_nodes(world, world.devnet.url)
            await until_sent(world)

    async def test_a_chain_switched_on_is_served(self, world: World, database: str, thirsty: Wallet) -> None:
        await world.connection.execute("UPDATE chains SET is_active = false")
        async with topping_up(database):
            await world.connection.execute("UPDATE chains SET is_active = true")
            await until_sent(world)

    async def test_a_chain_switched_off_is_not(self, world: World, database: str) -> None:
        async with topping_up(database) as runtime:
            worker = runtime.worker
            assert isinstance(worker, PayingExecutor)
            await until(lambda: list(worker.chain_ids or ()) == [world.chain_id])
            await world.connection.execute("UPDATE chains SET is_active = false")
            await until(lambda: list(worker.chain_ids or ()) == [])

    async def test_a_configuration_that_cannot_be_opened_is_shown_and_waits(
        self, world: World, database: str, thirsty: Wallet
    ) -> None:
        await world.connection.execute("UPDATE chains SET network_id = 'nonsense'")
        async with topping_up(database) as runtime:
            await until(lambda: "genesis block" in (runtime.last_error or ""))
            await world.connection.execute("UPDATE chains SET network_id = %s", [world.genesis])
            await until_sent(world)


class TestPolicy:
    """What is pinned hangs on the network, and names of chains are rows."""

    async def test_a_renamed_chain_keeps_its_treasury(self, world: World, database: str, home: Path) -> None:
        pinned = (await world.wallet()).address
        wallet = await world.wallet(usdt=250 * USDT, trx=30 * TRX)
        await world.devnet.solidify()
        write_policy(home, replace(world.policy(), treasury=pinned))
        await world.connection.execute("UPDATE chains SET name = 'tron-x'")
        async with running(PayingExecutor(settings(database), JobType.CONSOLIDATION, Consolidations), database):
            await world.flag(wallet, consolidation=True)
            await until_sent(world)
        (payment,) = await world.rows("SELECT to_address FROM transfers")
        assert payment["to_address"] == pinned

    async def test_a_chain_that_becomes_another_network_is_not_served(self, world: World, database: str) -> None:
        worker = PayingExecutor(settings(database), JobType.GAS_TOPUP, GasTopups)
        async with alive(settings(database), worker) as runtime:
            await until(lambda: list(worker.chain_ids or ()) == [world.chain_id])
            await world.connection.execute("UPDATE chains SET network_id = %s", ["ab" * 32])
            await until(lambda: "which is not in the signing policy" in (runtime.last_error or ""))
            assert list(worker.chain_ids or ()) == []

    async def test_where_one_network_has_a_pin_one_without_is_not_served(
        self, world: World, database: str, home: Path
    ) -> None:
        pinned = settings(database, treasury={"bsc": TREASURY_ON_BSC})
        worker = PayingExecutor(pinned, JobType.GAS_TOPUP, GasTopups)
        async with alive(pinned, worker) as runtime:
            await until(lambda: "has no pinned treasury, and bsc has" in (runtime.last_error or ""))
            assert list(worker.chain_ids or ()) == []

    async def test_two_chains_of_one_network_are_refused(self, world: World) -> None:
        """Each would fill and empty the same addresses."""
        with pytest.raises(UniqueViolation, match="chains_family_network_id_key"):
            await world.connection.execute(
                """
                INSERT INTO chains (name, family, network_id, gas_flag_below, gas_execute_below, gas_amount,
                                    fee_reserve, gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day)
                SELECT 'again', family, network_id, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
                       gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day FROM chains
                """
            )


class TestConfirmations:
    async def test_a_chain_switched_off_is_followed_while_money_is_out(
        self, world: World, desk: Desk, database: str, thirsty: Wallet
    ) -> None:
        await desk.run(JobType.GAS_TOPUP)
        await world.devnet.solidify()
        await world.connection.execute("UPDATE chains SET is_active = false")
        async with running(Confirmations(), database):
            await until_count(world.connection, "SELECT count(*) FROM transfers WHERE state = 'final'", 1)

    async def test_nodes_that_are_corrected_are_used(
        self, world: World, desk: Desk, database: str, thirsty: Wallet
    ) -> None:
        await desk.run(JobType.GAS_TOPUP)
        await world.devnet.solidify()
        await set_nodes(world, NOWHERE)
        async with running(Confirmations(), database):
            await set_nodes(world, world.devnet.url)
            await until_count(world.connection, "SELECT count(*) FROM transfers WHERE state = 'final'", 1)

    async def test_who_leads_again_forgets_what_it_wrote_before(
        self, world: World, desk: Desk, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process may have led between two of its turns."""
        begun: asyncio.Queue[Settlement] = asyncio.Queue()

        def reset(settlement: Settlement) -> None:
            begun.put_nowait(settlement)

        monkeypatch.setattr(Settlement, "reset", reset)
        async with running(Confirmations(), database), asyncio.timeout(PATIENCE):
            first = await begun.get()
            await world.connection.execute("UPDATE leaderships SET lease = lease + 1")
            await world.connection.execute("SELECT notify_listeners('transfers', '{}')")
            assert await begun.get() is first


class TestSwitchedOff:
    """Money that is out on an EVM chain needs signatures until its end."""

    async def test_a_stuck_payment_is_replaced(
        self, evm: EvmWorld, evm_desk: EvmDesk, database: str, thirsty_on_evm: Wallet
    ) -> None:
        await stuck(evm, evm_desk)
        await evm.connection.execute("UPDATE chains SET is_active = false WHERE name = 'bsc'")
        other = await evm.wallet()
        await evm.flag(other, gas=True)
        async with topping_up(database) as runtime:
            await until_count(evm.connection, "SELECT count(*) FROM chain_transactions WHERE state = 'broadcasting'", 2)
            worker = runtime.worker
            assert isinstance(worker, PayingExecutor)
            assert list(worker.chain_ids or ()) == [], "nothing new is paid"
        await evm_desk.settle()
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty_on_evm.address]

    async def test_a_gap_is_filled(self, evm: EvmWorld, database: str) -> None:
        await evm.connection.execute(
            "INSERT INTO senders (chain_id, sender, first_nonce) VALUES (%s, %s, 0)", [evm.chain_id, evm.gas_address]
        )
        await evm.connection.execute("SELECT void_nonces(%s, %s, 0)", [evm.chain_id, evm.gas_address])
        await evm.connection.execute("UPDATE chains SET is_active = false WHERE name = 'bsc'")
        async with topping_up(database):
            await until_count(evm.connection, "SELECT count(*) FROM transfers WHERE kind = 'gap'", 1)

    async def test_switched_off_while_it_pays(
        self, evm: EvmWorld, evm_desk: EvmDesk, database: str, thirsty_on_evm: Wallet
    ) -> None:
        async with topping_up(database) as runtime:
            await until_count(evm.connection, "SELECT count(*) FROM transfers WHERE state = 'broadcasting'", 1)
            await evm.connection.execute("UPDATE chains SET is_active = false WHERE name = 'bsc'")
            worker = runtime.worker
            assert isinstance(worker, PayingExecutor)
            await until(lambda: list(worker.chain_ids or ()) == [])
            for _ in range(2):
                await evm.price(1_100_000)
                await evm_desk.settlement.round()
            await until_count(evm.connection, "SELECT count(*) FROM chain_transactions WHERE state = 'broadcasting'", 2)


@contextlib.asynccontextmanager
async def alive(wanted: Settings, worker: Worker) -> AsyncIterator[Runtime]:
    runtime = Runtime(wanted, worker, grace_seconds=1.0)
    life = asyncio.create_task(runtime.run())
    try:
        yield runtime
    finally:
        runtime.stop()
        await life


async def until(condition: Callable[[], bool]) -> None:
    """For what no signal tells of."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
