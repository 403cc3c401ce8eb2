"""The whole pipeline unattended: deposits go in, and the chain is asked what came out.

Every process is a real one, launched from the Procfile. Nothing is mocked but the network, and that is a strict one.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from pipeline.db.statements import statement
from pipeline.keys.derivation import GAS_INDEX, TREASURY_INDEX
from pipeline.local.audit import Audit, Intended, Movement, audit
from pipeline.local.customers import draw_amount
from pipeline.local.procfile import Phase
from pipeline.local.seed import ON_DEMAND_FLAG_BELOW, THRESHOLD_FLAG_BELOW, TRX, Terms
from pipeline.local.stand import Stand, open_stand
from pipeline.units import parse_raw

LOOK_EVERY_SECONDS = 0.5
DEPOSITS_AT_ONCE = 8
SPREAD_SECONDS_PER_DEPOSIT = 0.05
"""Deposits arrive over time, so that some meet a consolidation of their wallet that is under way."""
LONGEST_SPREAD_SECONDS = 10.0
GAS_PER_WALLET = 30 * TRX
GAS_PER_DEPOSIT = 30 * TRX
"""More than a top-up, its activation and the transfer's fee cost, so that the gas wallet never decides the result."""
SWEEP_SECONDS = 30.0
LOSSY_SWEEP_SECONDS = 2.0
"""Shorter than the 300 s of production: what the sweep finds is the same, a demo only waits less for it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to play."""

    wallets: int
    deposits: int
    timeout: float
    """Seconds from the first deposit."""
    lossy_notify: bool = False
    gas_policy: str = "threshold"
    seed: int = 1
    instances: int = 1
    block_time: float = 1.0
    solid_lag: int = 2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it has come, for a progress bar. Raw units."""

    what: str
    received: int
    due: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it. Amounts in raw units of USDT (1 USDT is 1,000,000)."""

    order: Order
    deposited: int
    settled: bool
    """False: the time was up first."""
    gas_topups: int
    consolidations: int
    audit: Audit
    jobs: dict[str, Any]
    seconds: float
    failures: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether the treasury received exactly what was due and nothing was paid that should not have been."""
        return self.settled and self.audit.treasury_received == self.deposited and not self.audit.double_payments

    def as_json(self) -> dict[str, Any]:
        """The object that `flagpost demo --json` prints."""
        return {
            "wallets": self.order.wallets,
            "deposits": self.order.deposits,
            "deposited": str(self.deposited),
            "treasury_received": str(self.audit.treasury_received),
            "gas_topups": self.gas_topups,
            "consolidations": self.consolidations,
            "double_payments": self.audit.double_payments,
            "jobs_failed": self.jobs["jobs_failed"],
            "missed_events_swept": self.jobs["missed_events_swept"],
            "seconds": round(self.seconds, 2),
            "latency_ms": {"flag_to_start": {"p50": _number(self.jobs["p50"]), "p99": _number(self.jobs["p99"])}},
        }


async def play(order: Order, home: Path, server: str | None, tell: Callable[[Progress], None]) -> Outcome:
    """Run ``order`` in ``home``, an empty directory. Raises NotReady, ProcessEnded."""
    async with open_stand(
        home,
        _terms(order),
        server=server,
        block_time=order.block_time,
        solid_lag=order.solid_lag,
        workers_env={"FLAGPOST_LOSSY_NOTIFY": "1"} if order.lossy_notify else {},
    ) as stand:
        await stand.start_workers(order.instances)
        started = time.monotonic()
        paying = asyncio.create_task(_deposit(stand, order))
        try:
            settled = await _until_settled(stand, order, paying, started + order.timeout, tell)
        finally:
            paying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await paying
        seconds = time.monotonic() - started
        await stand.fleet.stop(Phase.WORK)
        return await _outcome(stand, order, settled=settled, seconds=seconds)


def _terms(order: Order) -> Terms:
    return Terms(
        wallets=order.wallets,
        gas_policy=order.gas_policy,
        gas_flag_below=ON_DEMAND_FLAG_BELOW if order.gas_policy == "on_demand" else THRESHOLD_FLAG_BELOW,
        sync_interval=timedelta(seconds=2 * order.block_time),
        block_time=timedelta(seconds=order.block_time),
        # Two deposits of one wallet may need two top-ups within seconds here; in production within ten minutes.
        gas_cooldown=timedelta(seconds=order.block_time),
        gas_funds=1_000 * TRX + order.wallets * GAS_PER_WALLET + order.deposits * GAS_PER_DEPOSIT,
        config={"sweep.interval_seconds": LOSSY_SWEEP_SECONDS if order.lossy_notify else SWEEP_SECONDS},
    )


async def _deposit(stand: Stand, order: Order) -> int:
    """Pay every deposit into a wallet; what was paid in all. The same seed pays the same amounts."""
    dice = random.Random(order.seed)  # noqa: S311 - a rehearsal, repeatable on purpose
    spread = min(LONGEST_SPREAD_SECONDS, order.deposits * SPREAD_SECONDS_PER_DEPOSIT)
    turns = asyncio.Semaphore(DEPOSITS_AT_ONCE)

    async def pay(after: float, wallet: str, amount: int) -> int:
        await asyncio.sleep(after)
        async with turns:
            await stand.client.send_token(stand.seeded.token, wallet, amount)
        return amount

    plans = [
        (dice.uniform(0, spread), dice.choice(stand.seeded.customers), draw_amount(dice)) for _ in range(order.deposits)
    ]
    async with asyncio.TaskGroup() as group:
        payments = [group.create_task(pay(*plan)) for plan in plans]
    return sum(payment.result() for payment in payments)


async def _until_settled(
    stand: Stand, order: Order, paying: "asyncio.Task[int]", deadline: float, tell: Callable[[Progress], None]
) -> bool:
    """True once everything that was paid in has arrived and nothing moves any more; False at the deadline."""
    async with await AsyncConnection.connect(stand.dsn, autocommit=True, row_factory=dict_row) as connection:
        while time.monotonic() < deadline:
            stand.fleet.check()
            received = await stand.client.balance(stand.seeded.treasury, stand.seeded.token, solid=True)
            row = await (await connection.execute(statement("demo/unsettled"))).fetchone()
            moving = {name: count for name, count in (row or {}).items() if count}
            due = paying.result() if paying.done() else 0
            tell(Progress(_said(moving, deposited=paying.done()), received, due))
            if paying.done() and received >= due and not moving:
                return True
            await asyncio.sleep(LOOK_EVERY_SECONDS)
    return False


async def _outcome(stand: Stand, order: Order, *, settled: bool, seconds: float) -> Outcome:
    """Read the chain first, and only then what the database thinks of it."""
    movements = [
        Movement(move.txid, move.contract, move.sender, move.receiver, move.amount)
        for move in await stand.client.audit()
    ]
    branch = stand.home.branch()
    house = {branch.address(GAS_INDEX), branch.address(TREASURY_INDEX)}
    customers = set(stand.seeded.customers)
    async with await AsyncConnection.connect(stand.dsn, autocommit=True, row_factory=dict_row) as connection:
        rows = await (await connection.execute(statement("demo/payments"))).fetchall()
        jobs = await (await connection.execute(statement("demo/jobs"))).fetchone() or {}
        failures = await (await connection.execute(statement("demo/failures"))).fetchall()
    found = audit(
        movements,
        [
            Intended(
                row["txid"],
                row["transfer_id"],
                row["contract_address"],
                row["from_address"],
                row["to_address"],
                parse_raw(row["amount"]),
            )
            for row in rows
        ],
        own=customers | house,
        treasury=stand.seeded.treasury,
        token=stand.seeded.token,
    )
    own_moves = [move for move in movements if move.sender in customers | house]
    return Outcome(
        order=order,
        deposited=sum(
            move.amount
            for move in movements
            if move.contract == stand.seeded.token and move.receiver in customers and move.sender not in house
        ),
        settled=settled,
        gas_topups=sum(move.contract is None and move.receiver in customers for move in own_moves),
        consolidations=sum(
            move.contract == stand.seeded.token and move.receiver == stand.seeded.treasury for move in own_moves
        ),
        audit=found,
        jobs=jobs,
        seconds=seconds,
        failures=tuple(f"{row['jobs']} {row['job_type']} {row['status']}: {row['reason']}" for row in failures),
    )


def _said(moving: dict[str, int], *, deposited: bool) -> str:
    if not deposited:
        return "customers deposit"
    names = {"live_jobs": "jobs", "live_transfers": "payments", "flagged": "flags", "to_recheck": "balances to read"}
    return ", ".join(f"{count} {names[name]}" for name, count in moving.items()) or "settled"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
