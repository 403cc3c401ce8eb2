"""Runs the whole pipeline unattended: customers deposit, and the result is read from the chains.

Every process is a real one, launched from the Procfile. Only TRON's network is simulated, by a strict node.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from pipeline.db.session import open_session
from pipeline.db.statements import statement
from pipeline.keys.derivation import GAS_INDEX, TREASURY_INDEX
from pipeline.local.anvil import BNB
from pipeline.local.audit import Audit, Intended, Movement, audit
from pipeline.local.customers import draw_amount
from pipeline.local.faults import inject_faults, kill_workers
from pipeline.local.procfile import Phase
from pipeline.local.seed import Seed, Seeded
from pipeline.local.stand import Stand, open_stand
from pipeline.local.tron import TRX
from pipeline.units import parse_raw

POLL_SECONDS = 0.5
DEPOSITS_AT_ONCE = 8
SPREAD_SECONDS_PER_DEPOSIT = 0.05
"""Deposits arrive over time, so that some meet a consolidation of their wallet that is under way."""
LONGEST_SPREAD_SECONDS = 10.0
"""Where the plan does not say how long."""
GAS_BASE = {"tron": 1_000 * TRX, "bsc": BNB}
GAS_PER_WALLET = {"tron": 30 * TRX, "bsc": BNB // 200}
GAS_PER_DEPOSIT = GAS_PER_WALLET
"""More than a top-up, its activation and the transfer's fee cost, so that the gas wallet never decides the result."""
SWEEP_SECONDS = 30.0
LOSSY_SWEEP_SECONDS = 2.0
"""Shorter than the 300 s of production: what the sweep finds is the same, a demo only waits less for it."""


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What to play."""

    wallets: int
    """On each chain."""
    deposits: int
    """On each chain."""
    timeout: float
    """Seconds from the first deposit."""
    chains: tuple[str, ...] = ("tron",)
    lossy_notify: bool = False
    faulty: bool = False
    """Inject faults into the nodes until everything has settled."""
    gas_policy: str = "threshold"
    seed: int = 1
    instances: int = 1
    block_time: float = 1.0
    solid_lag: int = 2
    spread: float | None = None
    """Seconds over which the deposits arrive."""
    kill_every: float | None = None
    """Seconds between two SIGKILLs, each of one worker, which is started again. None: nobody is killed."""


@dataclass(frozen=True, slots=True)
class DemoProgress:
    """State of a run, for a progress bar. Raw units with ``decimals``, of all chains together."""

    what: str
    received: int
    due: int
    decimals: int


@dataclass(frozen=True, slots=True)
class ChainOutcome:
    """Result on one chain. Amounts in raw units of its USDT (1 USDT is 10 ^ decimals)."""

    chain: str
    decimals: int
    wallets: int
    deposits: int
    deposited: int
    gas_topups: int
    consolidations: int
    audit: Audit
    jobs: dict[str, Any]

    @property
    def right(self) -> bool:
        """Whether the treasury received exactly what was due and nothing was paid that should not have been."""
        return self.audit.treasury_received == self.deposited and not self.audit.double_payments

    def as_json(self) -> dict[str, Any]:
        """One entry of ``chains``."""
        return {
            "wallets": self.wallets,
            "deposits": self.deposits,
            "decimals": self.decimals,
            "deposited": str(self.deposited),
            "treasury_received": str(self.audit.treasury_received),
            "gas_topups": self.gas_topups,
            "consolidations": self.consolidations,
            "double_payments": self.audit.double_payments,
            "jobs_failed": self.jobs["jobs_failed"],
            "missed_events_swept": self.jobs["missed_events_swept"],
            "latency_ms": _latency(self.jobs),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result on each chain and in total."""

    plan: DemoPlan
    chains: tuple[ChainOutcome, ...]
    settled: bool
    """False: the time was up first."""
    jobs: dict[str, Any]
    seconds: float
    node_faults: int
    """Calls of workers that met a fault."""
    failures: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether everything had settled, and every chain is right."""
        return self.settled and all(chain.right for chain in self.chains)

    @property
    def decimals(self) -> int:
        """Of the totals: the most that any of the chains has, so that each amount is a whole number."""
        return max(chain.decimals for chain in self.chains)

    @property
    def faults(self) -> tuple[str, ...]:
        """A description of each wrong payment."""
        return tuple(f"{chain.chain}: {fault}" for chain in self.chains for fault in chain.audit.faults)

    def total(self, raw: Callable[[ChainOutcome], int]) -> int:
        """An amount of all chains together, in raw units with ``decimals``."""
        return sum(_scaled(raw(chain), chain.decimals, self.decimals) for chain in self.chains)

    def as_json(self) -> dict[str, Any]:
        """The object that `flagpost demo --json` prints: totals, and the same by chain."""
        return {
            "wallets": sum(chain.wallets for chain in self.chains),
            "deposits": sum(chain.deposits for chain in self.chains),
            "decimals": self.decimals,
            "deposited": str(self.total(lambda chain: chain.deposited)),
            "treasury_received": str(self.total(lambda chain: chain.audit.treasury_received)),
            "gas_topups": sum(chain.gas_topups for chain in self.chains),
            "consolidations": sum(chain.consolidations for chain in self.chains),
            "double_payments": sum(chain.audit.double_payments for chain in self.chains),
            "jobs_completed": self.jobs["jobs_completed"],
            "jobs_failed": self.jobs["jobs_failed"],
            "average_seconds": _number(self.jobs["average_seconds"]),
            "missed_events_swept": self.jobs["missed_events_swept"],
            "node_faults": self.node_faults,
            "seconds": round(self.seconds, 2),
            "latency_ms": _latency(self.jobs),
            "chains": {chain.chain: chain.as_json() for chain in self.chains},
        }


async def play(plan: DemoPlan, home: Path, server: str | None, tell: Callable[[DemoProgress], None]) -> Outcome:
    """Run ``plan`` in ``home``, an empty directory. Raises NotReady, ProcessEnded."""
    async with open_stand(
        home,
        _terms(plan),
        chains=plan.chains,
        server=server,
        block_time=plan.block_time,
        solid_lag=plan.solid_lag,
        workers_env={"FLAGPOST_LOSSY_NOTIFY": "1"} if plan.lossy_notify else {},
        faulty=plan.faulty,
    ) as stand:
        await stand.start_workers(plan.instances)
        started = time.monotonic()
        paying = asyncio.create_task(_deposit(stand, plan))
        beside = [asyncio.create_task(inject_faults(stand.injectors, plan.seed))] if plan.faulty else []
        if plan.kill_every is not None:
            beside.append(asyncio.create_task(kill_workers(stand.fleet, plan.kill_every, plan.seed)))
        try:
            settled = await _until_settled(stand, plan, paying, beside, started + plan.timeout, tell)
        finally:
            for task in (paying, *beside):
                task.cancel()
            await asyncio.gather(paying, *beside, return_exceptions=True)
        seconds = time.monotonic() - started
        node_faults = sum([await injector.clear() for injector in stand.injectors])
        await stand.fleet.stop(Phase.WORK)
        return await _outcome(stand, plan, settled=settled, seconds=seconds, node_faults=node_faults)


def _terms(plan: DemoPlan) -> Seed:
    return Seed(
        wallets=plan.wallets,
        gas_policy=plan.gas_policy,
        sync_interval=timedelta(seconds=2 * plan.block_time),
        block_time=timedelta(seconds=plan.block_time),
        # Two deposits of one wallet may need two top-ups within seconds here; in production within ten minutes.
        gas_cooldown=timedelta(seconds=plan.block_time),
        gas_funds={
            name: GAS_BASE[name] + plan.wallets * GAS_PER_WALLET[name] + plan.deposits * GAS_PER_DEPOSIT[name]
            for name in plan.chains
        },
        config={"sweep.interval_seconds": LOSSY_SWEEP_SECONDS if plan.lossy_notify else SWEEP_SECONDS},
    )


async def _deposit(stand: Stand, plan: DemoPlan) -> dict[str, int]:
    """Pay every deposit into a wallet; what was paid in all, by chain. The same seed pays the same amounts."""
    dice = random.Random(plan.seed)  # noqa: S311 - repeatable on purpose, no secret
    spread = plan.spread
    if spread is None:
        spread = min(LONGEST_SPREAD_SECONDS, plan.deposits * SPREAD_SECONDS_PER_DEPOSIT)

    async def pay(turns: asyncio.Semaphore, chain: Seeded, after: float, wallet: str, amount: int) -> int:
        await asyncio.sleep(after)
        async with turns:
            await chain.network.deposit(chain.token, wallet, amount)
        return amount

    paying: dict[str, list[asyncio.Task[int]]] = {}
    async with asyncio.TaskGroup() as group:
        for chain in stand.chains:
            turns, decimals = asyncio.Semaphore(DEPOSITS_AT_ONCE), chain.network.token_decimals
            deposits = [
                (dice.uniform(0, spread), dice.choice(chain.customers), draw_amount(dice, decimals))
                for _ in range(plan.deposits)
            ]
            paying[chain.network.chain] = [group.create_task(pay(turns, chain, *plan)) for plan in deposits]
    return {name: sum(task.result() for task in tasks) for name, tasks in paying.items()}


async def _until_settled(
    stand: Stand,
    plan: DemoPlan,
    paying: "asyncio.Task[dict[str, int]]",
    beside: "Sequence[asyncio.Task[None]]",
    deadline: float,
    tell: Callable[[DemoProgress], None],
) -> bool:
    """True once everything that was paid in has arrived and nothing moves any more; False at the deadline. Raises
    what a task ``beside`` it ended by."""
    decimals = max(chain.network.token_decimals for chain in stand.chains)
    async with await open_session(stand.dsn, "demo", dict_row) as connection:
        while time.monotonic() < deadline:
            stand.fleet.check()
            for task in beside:
                if task.done():
                    task.result()
            received = {
                chain.network.chain: await chain.network.balance(chain.treasury, chain.token, final=True)
                for chain in stand.chains
            }
            row = await (await connection.execute(statement("demo/unsettled"))).fetchone()
            moving = {name: count for name, count in (row or {}).items() if count}
            due = paying.result() if paying.done() else {}
            tell(
                DemoProgress(
                    _said(moving, deposited=paying.done()),
                    _together(stand.chains, received, decimals),
                    _together(stand.chains, due, decimals),
                    decimals,
                )
            )
            if paying.done() and not moving and all(received[name] >= due[name] for name in received):
                return True
            await asyncio.sleep(POLL_SECONDS)
    return False


async def _outcome(stand: Stand, plan: DemoPlan, *, settled: bool, seconds: float, node_faults: int) -> Outcome:
    """Compare the chains with the database. The chains are read first: they are the result, the database a record."""
    movements = {chain.chain_id: await chain.network.movements() for chain in stand.chains}
    async with await open_session(stand.dsn, "demo", dict_row) as connection:
        payments = await (await connection.execute(statement("demo/payments"))).fetchall()
        jobs = {
            chain_id: await (await connection.execute(statement("demo/jobs"), {"chain_id": chain_id})).fetchone() or {}
            for chain_id in (None, *movements)
        }
        failures = await (await connection.execute(statement("demo/failures"))).fetchall()
    return Outcome(
        plan=plan,
        chains=tuple(
            _chain_outcome(
                stand,
                plan,
                chain,
                movements[chain.chain_id],
                [_intended(row) for row in payments if row["chain_id"] == chain.chain_id],
                jobs[chain.chain_id],
            )
            for chain in stand.chains
        ),
        settled=settled,
        jobs=jobs[None],
        seconds=seconds,
        node_faults=node_faults,
        failures=tuple(f"{row['jobs']} {row['job_type']} {row['status']}: {row['reason']}" for row in failures),
    )


def _chain_outcome(
    stand: Stand,
    plan: DemoPlan,
    chain: Seeded,
    movements: Sequence[Movement],
    intended: Sequence[Intended],
    jobs: dict[str, Any],
) -> ChainOutcome:
    branch = stand.home.branch(chain.network.family)
    paying = {branch.address(GAS_INDEX), branch.address(TREASURY_INDEX)}
    customers = set(chain.customers)
    own = customers | paying
    return ChainOutcome(
        chain=chain.network.chain,
        decimals=chain.network.token_decimals,
        wallets=plan.wallets,
        deposits=plan.deposits,
        deposited=sum(
            move.amount
            for move in movements
            if move.contract == chain.token and move.receiver in customers and move.sender not in own
        ),
        gas_topups=sum(
            move.contract is None and move.sender in paying and move.receiver in customers for move in movements
        ),
        consolidations=sum(
            move.contract == chain.token and move.sender in customers and move.receiver == chain.treasury
            for move in movements
        ),
        audit=audit(movements, intended, own=own, treasury=chain.treasury, token=chain.token),
        jobs=jobs,
    )


def _intended(row: dict[str, Any]) -> Intended:
    return Intended(
        row["txid"],
        row["transfer_id"],
        row["contract_address"],
        row["from_address"],
        row["to_address"],
        parse_raw(row["amount"]),
    )


def _together(chains: Sequence[Seeded], amounts: dict[str, int], decimals: int) -> int:
    return sum(_scaled(amounts.get(chain.network.chain, 0), chain.network.token_decimals, decimals) for chain in chains)


def _scaled(raw: int, decimals: int, wanted: int) -> int:
    """Raw units with more decimals."""
    return raw * int("1" + "0" * (wanted - decimals))


def _latency(jobs: dict[str, Any]) -> dict[str, Any]:
    return {"flag_to_start": {"p50": _number(jobs["p50"]), "p99": _number(jobs["p99"])}}


def _said(moving: dict[str, int], *, deposited: bool) -> str:
    if not deposited:
        return "customers deposit"
    names = {"live_jobs": "jobs", "live_transfers": "payments", "flagged": "flags", "to_recheck": "balances to read"}
    return ", ".join(f"{count} {names[name]}" for name, count in moving.items()) or "settled"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
