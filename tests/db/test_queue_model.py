"""A random walk through the life of jobs, against a model: no step of anybody leads where the model does not go."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from psycopg import AsyncConnection, sql

from pipeline.config import QueueConfig
from pipeline.db.pool import Connection
from pipeline.queue.jobs import Defer, Done, Failed, Job, JobType, Outcome, Retry
from tests.conftest import WALKS
from tests.db.worker_kit import flag, jobs, queue_of
from tests.seed import add_wallets, seed_tron

WALLETS = 4
LIVE = ("pending", "active", "retrying")
MONEY = (
    "chain_transactions",
    "nonces",
    "signing_requests",
    "transfers",
    "bundles",
    "gas_spending",
    "fees_paid",
    "chain_cursors",
    "senders",
)
Result = TypeVar("Result")


class Life(RuleBasedStateMachine):
    """Two workers, an operator and a rescuer on four wallets. ``status`` is what the model believes."""

    database: str
    job_type = JobType.GAS_TOPUP

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.connection = self.run(AsyncConnection.connect(self.database, autocommit=True))
        self.run(_empty(self.connection))
        self.chain = self.run(seed_tron(self.connection))
        self.wallets = self.run(add_wallets(self.connection, self.chain, WALLETS))
        self.contexts = [queue_of(self.database, config=QueueConfig(quiet_seconds=0)) for _ in range(2)]
        self.queues = [self.run(context.__aenter__()) for context in self.contexts]
        self.status: dict[UUID, str] = {}
        self.failures: dict[UUID, int] = {}
        self.held: list[tuple[int, Job]] = []
        """Every attempt ever claimed that was not finished by its holder, lost leases included."""
        self.lease: dict[UUID, int] = {}
        self.awaiting: set[UUID] = set()
        """Jobs that wait for the chain: nobody's, and not to be touched."""

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    def teardown(self) -> None:
        for context in self.contexts:
            self.run(context.__aexit__(None, None, None))
        self.run(self.connection.close())
        self.runner.close()

    def mine(self, job: Job) -> bool:
        return self.status[job.id] == "active" and self.lease[job.id] == job.lease and job.id not in self.awaiting

    def becomes(self, job_id: UUID, status: str) -> None:
        """The model's side of a move."""
        self.status[job_id] = status

    @rule(worker=st.integers(0, 1), capacity=st.integers(1, 3))
    def claim(self, worker: int, capacity: int) -> None:
        self.run(_due_now(self.connection))
        gas = self.job_type is JobType.GAS_TOPUP
        self.run(flag(self.connection, *[wallet.id for wallet in self.wallets], gas=gas, tokens=not gas))
        waiting = sum(status in ("pending", "retrying") for status in self.status.values())
        free = WALLETS - sum(status in ("pending", "active", "retrying") for status in self.status.values())
        claimed = self.run(self.queues[worker].enqueue_and_claim(self.job_type, capacity))
        assert len(claimed) == min(capacity, waiting + free)
        for job in sorted(claimed, key=lambda job: job.wallet_id):  # the walk must not depend on chance
            assert self.status.get(job.id) in (None, "pending", "retrying")
            assert job.lease == self.lease.get(job.id, 0) + 1
            assert job.retry_count == self.failures.get(job.id, 0)
            self.status[job.id], self.lease[job.id] = "active", job.lease
            self.failures.setdefault(job.id, 0)
            self.held.append((worker, job))
        # What there was no room for waits now.
        for row in self.run(jobs(self.connection)):
            if row["id"] not in self.status:
                assert (row["status"], len(claimed)) == ("pending", capacity)
                self.status[row["id"]], self.lease[row["id"]], self.failures[row["id"]] = "pending", 0, 0

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        outcome=st.sampled_from([Done(), Retry("no"), Failed("never"), Defer(60, "later"), "hand back"]),
    )
    def finish(self, data: st.DataObject, outcome: Outcome | str) -> None:
        place = data.draw(st.integers(0, len(self.held) - 1))
        worker, job = self.held.pop(place)
        ours = self.mine(job)
        queue = self.queues[worker]
        if isinstance(outcome, str):
            done = self.run(queue.hand_back([job]))
        else:
            done = self.run(queue.finish([(job, outcome)]))
        assert done == ({job.id} if ours else frozenset())
        if not ours:
            return
        if isinstance(outcome, Retry | Failed):
            self.failures[job.id] += 1
        exhausted = isinstance(outcome, Failed) or self.failures[job.id] >= job.max_retries
        match outcome:
            case Done():
                self.becomes(job.id, "completed")
            case Retry() | Failed():
                self.becomes(job.id, "failed" if exhausted else "retrying")
            case _:
                self.becomes(job.id, "pending")

    @rule(data=st.data())
    def rescue(self, data: st.DataObject) -> None:
        active = [one for one, status in self.status.items() if status == "active" and one not in self.awaiting]
        if not active:
            return
        job_id = data.draw(st.sampled_from(active))
        self.run(_rescue(self.connection, job_id))
        self.failures[job_id] += 1
        self.becomes(job_id, "failed" if self.failures[job_id] >= 3 else "retrying")

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if not self.status:
            return
        job_id = data.draw(st.sampled_from(list(self.status)))
        (row,) = self.run(_row(self.connection, job_id))
        waiting = self.status[job_id] in ("pending", "retrying")
        try:
            self.run(execute(self.connection, "SELECT cancel_job(%s)", row["job_id"]))
        except psycopg.Error:
            assert not waiting
        else:
            assert waiting or self.status[job_id] == "cancelled"
            self.becomes(job_id, "cancelled")

    @rule()
    def retry_failed(self) -> None:
        """An operator gives all dead letters another chance; of each wallet the newest, if nothing else of it runs."""
        before = {row["id"]: row for row in self.run(jobs(self.connection))}
        live = {row["wallet_id"] for row in before.values() if row["status"] in LIVE}
        newest: dict[int, dict[str, Any]] = {}
        for row in sorted(before.values(), key=lambda row: row["completed_at"] or row["created_at"]):
            if row["status"] == "failed" and row["wallet_id"] not in live:
                newest[row["wallet_id"]] = row
        self.run(execute(self.connection, "SELECT retry_failed_jobs(%s, 24)", self.job_type))
        for row in newest.values():
            self.failures[row["id"]] = 0
            self.becomes(row["id"], "pending")

    @invariant()
    def the_table_says_what_the_model_says(self) -> None:
        found = {row["id"]: row for row in self.run(jobs(self.connection))}
        assert {job_id: row["status"] for job_id, row in found.items()} == self.status
        for job_id, row in found.items():
            assert row["lease"] == self.lease[job_id]
            assert row["retry_count"] == self.failures[job_id]
            assert row["awaiting_chain"] == (job_id in self.awaiting)
            assert (row["leased_by"] is not None) == (row["status"] == "active" and job_id not in self.awaiting)
            assert (row["completed_at"] is not None) == (row["status"] in ("completed", "failed", "cancelled"))
        live = [row["wallet_id"] for row in found.values() if row["status"] in LIVE]
        assert len(live) == len(set(live))


async def execute(connection: Connection, query: str, *parameters: object) -> None:
    await connection.execute(query, parameters)


async def _row(connection: Connection, job_id: UUID) -> list[dict[str, Any]]:
    return await jobs(connection, id=job_id)


async def _due_now(connection: Connection) -> None:
    await connection.execute("UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying')")


async def _rescue(connection: Connection, job_id: UUID) -> None:
    await connection.execute("UPDATE job_logs SET lease_deadline = now() - interval '1 s' WHERE id = %s", [job_id])
    await connection.execute("SELECT * FROM rescue_jobs('1 hour', '1 hour')")


async def _empty(connection: Connection) -> None:
    for table in (*MONEY, "job_logs", "wallet_balances", "wallets", "asset_on_chain", "chains"):
        for action in ("ALTER TABLE {} DISABLE TRIGGER USER", "DELETE FROM {}", "ALTER TABLE {} ENABLE TRIGGER USER"):
            await connection.execute(sql.SQL(action).format(sql.Identifier(table)))


def walk(machine: type[Life], database: str, steps: int = 25) -> None:
    """Twenty walks of so many steps, always the same ones; FLAGPOST_WALKS=1000 takes so many others, drawn anew.

    A failure is not made shorter: each try is a walk through a database, and there would be hundreds.
    """
    machine.database = database
    others = os.environ.get(WALKS)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(others or 20),
            derandomize=others is None,
            phases=[Phase.generate],
            print_blob=True,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_random_walks(database: str) -> None:
    walk(Life, database)
