"""One trial: a deposit on its way to the treasury, workers that die at a chosen place, a node that misbehaves, and the
verdict of the chain at the end.

The workers are real processes on a real Postgres and a simulated network over HTTP. What the sweep does in production
(rescuing jobs of dead workers) is done here at once instead of after a minute.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import make_conninfo

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.faults import FaultKind
from pipeline.devnet.server import DevnetOptions, running
from tests.chaos.fleet import Process, Zygote
from tests.chaos.world import MNEMONIC, Rules, World
from tests.databases import fresh_database
from tests.patience import PATIENCE
from tests.policy import write_policy
from tests.seed import USDT, Wallet

BLOCK_SECONDS = 0.1
SOLID_LAG = 3
DEPOSIT = 250 * USDT
TICK_SECONDS = 0.1
"""How often the state is read between two notifications: a flag that falls causes none."""
CHANNELS = ("wallet_flags", "jobs", "transfers", "balance_due")

Scenario = Callable[["Trial"], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What the node does to broadcasts, the first ``count`` times."""

    kind: FaultKind
    seconds: float = 0.0
    status: int = 200
    count: int | None = 2


@dataclass(eq=False)
class Trial:
    """A running trial; scenarios act on it."""

    name: str
    world: World
    wallet: Wallet
    dsn: str
    zygote: Zygote
    directory: Path
    arms: Mapping[str, Sequence[str | None]]
    """Crash point of each successive process, by kind; none once they are used up."""
    before_restart: Mapping[str, Scenario] = field(default_factory=dict)
    due: int = DEPOSIT
    """What has to reach the treasury, in one payment."""
    further: Sequence[int] = ()
    """Likewise, of tokens beside it; the wallet has coins then, and needs no gas."""
    expected: int = 0
    """How often workers are to die before the trial counts as settled."""
    crashes: list[str] = field(default_factory=list)
    processes: dict[str, Process] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    acting: asyncio.Task[None] | None = None
    """The scenario."""
    _starts: dict[str, int] = field(default_factory=dict)

    async def start(self, kind: str) -> None:
        """Start a worker, armed for its turn."""
        turn = self._starts.get(kind, 0)
        self._starts[kind] = turn + 1
        arms = self.arms.get(kind, ())
        armed = arms[turn] if turn < len(arms) else None
        env = {"DATABASE_URL": self.dsn, "FLAGPOST_LOG_LEVEL": "DEBUG", "FLAGPOST_HOME": str(self.directory)}
        if kind != "confirmations":
            env["FLAGPOST_MNEMONIC"] = MNEMONIC
            env["FLAGPOST_POLICY_FILE"] = str(self.directory / f"{self.name}.toml")
        if armed:
            env["FLAGPOST_CRASH_POINT"] = armed
        process = await self.zygote.start(kind, env, self.directory / f"{self.name}.log")
        self.processes[kind] = process
        process.status.add_done_callback(lambda _: self.changed.set())

    def restrict(self, **changes: Any) -> None:
        """What processes that start from now on may sign: all that is usual, but for these fields of the policy. None:
        as usual."""
        changed = {name: value for name, value in changes.items() if value is not None}
        write_policy(self.directory, replace(self.world.policy(), **changed), name=f"{self.name}.toml")

    def turn(self, kind: str) -> int:
        """How often a worker was started."""
        return self._starts.get(kind, 0)

    async def mind_the_dead(self) -> None:
        """Start again what died at its crash point; anything else that ends is a failure."""
        for kind, process in list(self.processes.items()):
            if not process.status.done():
                continue
            status = process.status.result()
            assert status == -signal.SIGKILL, f"{kind} ended with {status}: {self.log()}"
            self.crashes.append(kind)
            await self.world.rows(
                "UPDATE worker_registry SET status = 'stopped', ended_at = now() WHERE pid = %s RETURNING id",
                process.pid,
            )
            if kind in self.before_restart:
                await self.before_restart[kind](self)
            await self.start(kind)

    async def is_settled(self) -> bool:
        """Both flags served and nothing of money unfinished."""
        row = await self.world.row(
            """
            SELECT (SELECT bool_or(needs_gas OR needs_consolidation) FROM wallets)
                OR EXISTS (SELECT FROM transfers WHERE state NOT IN ('final', 'rejected'))
                OR EXISTS (SELECT FROM job_logs WHERE status NOT IN ('completed', 'failed')) AS busy,
                (SELECT string_agg(error_message, '; ') FROM job_logs WHERE status = 'failed') AS failed
            """
        )
        assert row["failed"] is None, f"{self.name}: a job failed: {row['failed']}\n{self.log()}"
        return not row["busy"]

    async def until_settled(self) -> None:
        """Wait for the end, rescuing the jobs of the dead on the way. The notifications of the system wake us."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    self.changed.clear()
                    await self.mind_the_dead()
                    if self.acting and self.acting.done():
                        self.acting.result()
                    if len(self.crashes) >= self.expected and await self.is_settled():
                        return
                    if self.crashes:
                        # Again and again: a row may still be locked by a session the server has not buried yet.
                        await self.world.rows("SELECT rescue_jobs('1 hour', '0 seconds')")
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(TICK_SECONDS):
                            await self.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} did not settle: {await self.picture()}\n{self.log()}") from None

    async def until_done(self, *scenarios: asyncio.Task[None]) -> None:
        """Wait for scenarios that go on after the trial has settled. Raises AssertionError, and what they raise."""
        done, pending = await asyncio.wait(scenarios, timeout=PATIENCE) if scenarios else (set(), set())
        assert not pending, f"{self.name}: its scenario does not end: {await self.picture()}\n{self.log()}"
        for one in done:
            one.result()

    async def spoil(self, *faults: Fault) -> None:
        """Let the node misbehave, in this order."""
        for fault in faults:
            await self.world.devnet.add_fault(
                fault.kind, "wallet/broadcasthex", count=fault.count, seconds=fault.seconds, status=fault.status
            )

    async def until(self, query: str) -> None:
        """Wait until a question to the database has a row. For what notifies nobody."""
        while not await self.world.rows(query):  # noqa: ASYNC110
            await asyncio.sleep(BLOCK_SECONDS / 2)

    async def impatient(self, until: str) -> None:
        """An operator makes waiting jobs due, until a question has a row."""
        while not await self.world.rows(until):
            await self.world.rows(
                "UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying') AND run_at > now() "
                "RETURNING id"
            )
            await asyncio.sleep(BLOCK_SECONDS)

    async def until_pooled(self) -> None:
        """Wait until a transaction waits for its block."""
        while not (await self.world.devnet.status()).pending:  # noqa: ASYNC110
            await asyncio.sleep(BLOCK_SECONDS / 2)

    async def picture(self) -> str:
        """Where everything stands."""
        return str(
            await self.world.rows(
                "SELECT j.job_id, j.status, j.awaiting_chain, j.error_message, t.state, a.state AS attempt, "
                "a.last_result, a.broadcast_count FROM job_logs j LEFT JOIN transfers t ON t.job_id = j.id "
                "LEFT JOIN chain_transactions a ON a.bundle_id = t.bundle_id ORDER BY j.seq, a.id"
            )
        )

    def log(self) -> str:
        """What the processes said."""
        path = self.directory / f"{self.name}.log"
        return path.read_text() if path.exists() else "(no log)"

    async def judge(self) -> None:
        """The chain has the last word: one top-up where it was needed, one consolidation of the whole deposit of each
        token, nothing else."""
        gas, swept = await self.world.paid_gas(), await self.world.swept()
        topups = [] if self.further else [self.wallet.address]
        assert [one.receiver for one in gas] == topups, f"{self.name}: gas {gas}\n{self.log()}"
        amounts = sorted(one.amount for one in swept)
        assert amounts == sorted([self.due, *self.further]), f"{self.name}: swept {swept}\n{self.log()}"
        await self.world.assert_database_equals_chain()

    async def stop(self) -> None:
        """An orderly end: SIGTERM, exit code 0. Not before all of them are there to hear it."""
        pids = ", ".join(str(process.pid) for process in self.processes.values())
        there = f"SELECT FROM worker_registry WHERE pid IN ({pids}) HAVING count(*) = {len(self.processes)}"
        async with asyncio.timeout(PATIENCE):
            await self.until(there)
            for process in self.processes.values():
                process.kill(signal.SIGTERM)
            codes = {kind: await process.status for kind, process in self.processes.items()}
        assert set(codes.values()) == {0}, f"{self.name}: {codes}\n{self.log()}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a trial is to be."""

    name: str
    arms: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    faults: Sequence[Fault] = ()
    """In the order in which they act."""
    scenario: Scenario | None = None
    before_restart: Mapping[str, Scenario] = field(default_factory=dict)
    crashes: int = 0
    """How often workers must have died."""
    further: Sequence[int] = ()
    """Tokens that the wallet holds beside USDT, raw units: they are moved in one batch."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """What the first processes may sign, beside the usual: ``Trial.restrict``."""
    standing: bool = False
    """No block is made by the clock from before the first payment on, until the scenario resumes it."""


async def run_trial(plan: Plan, server_dsn: str, template: str, zygote: Zygote, directory: Path) -> None:
    """Run one trial to its verdict. Raises AssertionError."""
    options = DevnetOptions(block_time=BLOCK_SECONDS, solid_lag=SOLID_LAG)
    rules = Rules(block_time=timedelta(seconds=BLOCK_SECONDS))
    async with contextlib.AsyncExitStack() as stack:
        dsn = stack.enter_context(fresh_database(server_dsn, template, plan.name))
        network = await stack.enter_async_context(running(options))
        devnet = await stack.enter_async_context(DevnetClient(network.main.url))
        # What the trial itself writes must not be lost when it kills a server that commits asynchronously.
        durable = make_conninfo(dsn, options="-c synchronous_commit=on")
        connection = await stack.enter_async_context(await AsyncConnection.connect(durable, autocommit=True))
        world = await World.create(connection, devnet, rules)
        wallet = await world.wallet(usdt=DEPOSIT)
        if plan.further:
            await world.hold_more(wallet, *plan.further)
        await devnet.solidify()
        trial = Trial(
            plan.name, world, wallet, dsn, zygote, directory, plan.arms, plan.before_restart, expected=plan.crashes
        )
        trial.further = plan.further
        trial.restrict(**plan.policy)
        await trial.spoil(*plan.faults)
        await stack.enter_async_context(woken_by_bells(trial))
        try:
            for kind in ("confirmations", "consolidation", "gas-topup"):
                await trial.start(kind)
            if plan.standing:
                await devnet.pause()
            await world.flag(wallet, gas=not plan.further, consolidation=True)
            if plan.scenario:
                trial.acting = asyncio.create_task(plan.scenario(trial))
                trial.acting.add_done_callback(lambda _: trial.changed.set())
            await trial.until_settled()
            if trial.acting:
                await trial.until_done(trial.acting)
            await trial.stop()
        finally:
            if trial.acting:
                trial.acting.cancel()
            for process in trial.processes.values():
                process.kill()
        await trial.judge()
        assert len(trial.crashes) == plan.crashes, f"{plan.name}: crashed {trial.crashes}\n{trial.log()}"


@contextlib.asynccontextmanager
async def woken_by_bells(trial: Trial) -> AsyncIterator[None]:
    async def listen() -> None:
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                async with await AsyncConnection.connect(trial.dsn, autocommit=True) as connection:
                    for channel in CHANNELS:
                        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    trial.changed.set()
                    async for _ in connection.notifies():
                        trial.changed.set()

    listening = asyncio.create_task(listen())
    try:
        yield
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
