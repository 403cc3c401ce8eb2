"""The confirmation worker as processes: standing by, taking over, working without NOTIFY, refusing contradictions."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from pipeline.queue.jobs import JobType
from tests.chaos.fleet import Process, Zygote
from tests.chaos.world import Desk, World
from tests.patience import PATIENCE
from tests.seed import USDT, Wallet


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    async with Zygote() as started:
        yield started


@pytest.fixture
async def wallet(world: World) -> Wallet:
    """Flagged for gas."""
    await world.connection.execute("UPDATE chains SET block_time = '0.1 seconds'")
    made = await world.wallet(usdt=250 * USDT)
    await world.devnet.solidify()
    await world.flag(made, gas=True)
    return made


async def start(zygote: Zygote, database: str, home: Path, **env: str) -> Process:
    return await zygote.start(
        "confirmations", {"DATABASE_URL": database, "FLAGPOST_HOME": str(home), **env}, home / "confirmations.log"
    )


async def until(world: World, question: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await world.row(f"SELECT ({question}) AS yes"))["yes"]:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


LED = "SELECT count(*) = 1 FROM leaderships WHERE name = 'confirmations tron' AND until > now()"
TAKEOVER_SECONDS = 10.0
"""What is promised where the leader was killed."""
REGISTERED = "SELECT count(*) = {} FROM worker_registry WHERE status = 'running'"
FINAL = "SELECT bool_and(state = 'final') FROM transfers"


async def test_the_second_takes_over_when_the_first_dies(
    world: World, desk: Desk, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    first = await start(zygote, database, home)
    await until(world, LED)
    await start(zygote, database, home)
    await until(world, REGISTERED.format(2))
    await until(world, "SELECT bool_and(session_seen) FROM worker_registry")
    first.kill(signal.SIGSTOP)
    await desk.run(JobType.GAS_TOPUP)
    await world.devnet.solidify()
    first.kill(signal.SIGKILL)
    killed = asyncio.get_running_loop().time()
    await until(world, "SELECT lease = 2 FROM leaderships")
    assert asyncio.get_running_loop().time() - killed < TAKEOVER_SECONDS
    await until(world, FINAL)


async def test_one_that_ends_in_order_keeps_nobody_waiting(
    world: World, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    """And none of them keeps a session of its own open for it."""
    first = await start(zygote, database, home)
    await until(world, LED)
    await start(zygote, database, home)
    await until(world, REGISTERED.format(2))
    assert (await world.row("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%%leader'"))[
        "count"
    ] == 0
    first.kill(signal.SIGTERM)
    assert await first.status == 0
    ended = asyncio.get_running_loop().time()
    await until(world, "SELECT lease = 2 AND holder IS NOT NULL FROM leaderships")
    assert asyncio.get_running_loop().time() - ended < 5.0  # a standby asks every 2 s


async def test_without_any_notify_it_goes_by_its_timer(
    world: World, desk: Desk, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    await world.connection.execute("INSERT INTO system_config (key, value) VALUES ('sweep.interval_seconds', '0.2')")
    await start(zygote, database, home, FLAGPOST_LOSSY_NOTIFY="true")
    await until(world, REGISTERED.format(1))
    await desk.run(JobType.GAS_TOPUP)
    await world.devnet.solidify()
    await until(world, FINAL)


async def test_it_needs_no_mnemonic_and_follows_through_a_pause(
    world: World, desk: Desk, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    """A pause stops new work; what is out is followed to its end."""
    await desk.run(JobType.GAS_TOPUP)
    await world.connection.execute("INSERT INTO system_config (key, value) VALUES ('paused', 'true')")
    process = await start(zygote, database, home)
    await world.devnet.solidify()
    await until(world, FINAL)
    process.kill(signal.SIGTERM)
    assert await process.status == 0


async def test_a_node_of_another_network_is_refused_with_both_names_until_the_row_is_corrected(
    world: World, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    other = "00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc"
    await world.connection.execute("UPDATE chains SET network_id = %s", [other])
    await start(zygote, database, home)
    said = f"position('{other}' IN last_error) > 0 AND position('{world.genesis}' IN last_error) > 0"
    await until(world, f"SELECT bool_or({said}) FROM worker_registry")  # noqa: S608
    assert (await world.row("SELECT count(*) FROM chain_cursors"))["count"] == 0
    await world.connection.execute("UPDATE chains SET network_id = %s", [world.genesis])
    await until(world, "SELECT count(*) = 1 FROM chain_cursors")


async def test_what_the_database_refuses_is_told(
    world: World, desk: Desk, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    """A node once gave a block of tomorrow: the cursor does not go back, and the database does not just seem away."""
    await desk.settlement.round()
    await desk.run(JobType.GAS_TOPUP)
    await world.connection.execute("UPDATE chain_cursors SET block_time = block_time + interval '1 day'")
    await world.devnet.solidify()
    await start(zygote, database, home)
    await until(world, "SELECT bool_or(position('and not only up to' IN last_error) > 0) FROM worker_registry")


async def test_a_chain_set_up_anew_under_old_records_settles_nothing(
    world: World, desk: Desk, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    """The cursor names a final block that the network does not have: refused, named, and nothing is recorded."""
    await desk.settlement.round()
    await desk.run(JobType.GAS_TOPUP)
    await world.connection.execute("UPDATE chain_cursors SET block_id = repeat('ab', 32)")
    await world.devnet.solidify()
    process = await start(zygote, database, home)
    await until(world, "SELECT bool_or(position('does not follow' IN last_error) > 0) FROM worker_registry")
    assert (await world.row("SELECT state FROM transfers"))["state"] != "final"
    process.kill(signal.SIGTERM)
    assert await process.status == 0


async def test_a_chain_without_a_node_says_what_to_set_and_is_served_once_it_has_one(
    world: World, wallet: Wallet, zygote: Zygote, database: str, home: Path
) -> None:
    nodes = (await world.row("SELECT nodes FROM chains"))["nodes"]
    await world.connection.execute("UPDATE chains SET nodes = %s", [Jsonb([])])
    await start(zygote, database, home)
    await until(world, "SELECT bool_or(position('FLAGPOST_NODES_TRON' IN last_error) > 0) FROM worker_registry")
    await world.connection.execute("UPDATE chains SET nodes = %s", [Jsonb(nodes)])
    await until(world, "SELECT count(*) = 1 FROM chain_cursors")
