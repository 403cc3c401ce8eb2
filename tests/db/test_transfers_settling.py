"""What becomes of payments that are out: confirmations, a database that goes away, and what finished jobs leave."""

import asyncio
from dataclasses import replace
from typing import Any, NoReturn

import psycopg
import pytest

from pipeline.blocks.cursor import CursorMoved
from pipeline.chains.kinds import Kind
from pipeline.chains.values import Finality, Proof, Verdict
from pipeline.db.pool import pool_of
from pipeline.db.statements import statement
from pipeline.payments.ending import FoundAttempt
from pipeline.payments.live import LiveAttempt
from pipeline.queue.jobs import Defer, Done, JobType, Parked
from tests.chaos.world import Desk, World
from tests.db.paying_kit import claim, leave_asked, outlived, requests, send_answer, states
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


class TestConfirmations:
    async def test_seen_in_a_block_before_the_sender_noted_the_reply(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """The transaction is final and settled before the sender's next step; that step must change nothing."""

        async def settle_first(reply: object) -> object:
            await other_desk.settle()
            return reply

        desk.provider.after("broadcast", settle_first)
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        (attempt,) = await world.attempts()
        assert (attempt["state"], attempt["last_result"]) == ("final", None)
        assert (await states(world))[0] == ["completed"]

    async def test_two_confirmation_workers_settle_once(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.run(GAS)
        await world.devnet.solidify()
        await asyncio.gather(desk.settlement.round(), other_desk.settlement.round())
        await asyncio.gather(desk.settlement.round(), other_desk.settlement.round())
        assert await states(world) == (["completed"], ["final"], ["final"])

    async def test_a_reader_that_was_overtaken_records_nothing(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        start = await desk.settlements.cursor(world.chain_id)
        await desk.run(GAS)
        await desk.settle()
        head = (await desk.settlements.cursor(world.chain_id)) or start
        assert head is not None
        with pytest.raises(CursorMoved):
            await desk.settlements.settle_block(world.chain_id, start, head, [])
        with pytest.raises(CursorMoved):
            await desk.settlements.advance(world.chain_id, start, head)
        assert await desk.settlements.cursor(world.chain_id) == head

    async def test_an_overtaken_worker_goes_on(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Its leadership was lost while it waited for a node, with nothing out and with a payment out."""
        await world.devnet.mine(3)
        await desk.settlement.round()
        cursor = desk.settlements.cursor

        async def overtaken(chain_id: int) -> object:
            found = await cursor(chain_id)
            await world.devnet.mine(1)
            await other_desk.settlement.round()
            return found

        desk.settlements.cursor = overtaken  # type: ignore[method-assign,assignment]
        await world.devnet.mine(3)
        assert await desk.settlement.round() == 0
        await desk.run(GAS)
        await world.devnet.mine(3)
        await desk.settlement.round()
        desk.settlements.cursor = cursor  # type: ignore[method-assign]
        await desk.settle()
        assert (await states(world))[1] == ["final"]

    async def test_included_is_shown_before_it_is_final(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        await desk.settlement.round()
        assert await states(world) == (["active"], ["included"], ["included"])

    async def test_a_fork_gives_it_back_and_the_identical_bytes_are_sent_again(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        await desk.settlement.round()
        (before,) = await world.attempts()

        await world.devnet.fork(1, drop=True)
        await world.devnet.forget_txids()
        await world.devnet.mine()
        await desk.settlement.round()
        (between,) = await world.attempts()
        assert between["broadcast_count"] == 2
        assert (await states(world))[1] == ["broadcasting"]

        await desk.settle()
        (after,) = await world.attempts()
        assert (after["txid"], bytes(after["signed_bytes"])) == (before["txid"], bytes(before["signed_bytes"]))
        assert after["block_id"] != before["block_id"]
        assert (await states(world))[1] == ["final"]
        assert len(await world.paid_gas()) == 1

    async def test_a_fork_while_the_worker_was_away(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        await desk.settlement.round()
        await world.devnet.fork(1, drop=True)
        await world.devnet.forget_txids()
        await world.devnet.solidify()
        restarted = desk.new_settlement()
        await restarted.round()
        await world.devnet.solidify()
        await restarted.round()
        assert (await states(world))[1] == ["final"]
        assert len(await world.paid_gas()) == 1

    async def test_proved_dead_it_is_signed_anew_once(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await self.let_it_die(world, desk)
        assert await states(world) == (["retrying"], ["expired"], ["expired"])
        (job,) = await world.jobs()
        assert "can never land" in job["error_message"]
        assert job["retry_count"] == 0
        await desk.run(GAS)
        await desk.settle()
        assert (await states(world))[1:] == (["final"], ["expired", "final"])
        assert len(await world.paid_gas()) == 1
        await world.assert_database_equals_chain()

    async def test_after_a_death_the_chain_is_asked_again_before_anything_is_signed(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        """Meanwhile somebody else has filled the wallet: nothing is paid."""
        await self.let_it_die(world, desk)
        await world.devnet.faucet(thirsty.address, 20 * TRX)
        await world.devnet.solidify()
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Done)
        assert (await states(world))[:2] == (["completed"], ["rejected"])
        assert await world.paid_gas() == []

    async def test_after_a_death_another_amount_is_another_payment(
        self, world: World, desk: Desk, ready: Wallet
    ) -> None:
        await self.let_it_die(world, desk, CONSOLIDATION)
        await world.devnet.send_token(world.token, ready.address, 50 * USDT)
        await world.devnet.solidify()
        await desk.run(CONSOLIDATION)
        await desk.settle()
        assert [(row["state"], int(row["amount"])) for row in await world.transfers()] == [
            ("rejected", 250 * USDT),
            ("final", 300 * USDT),
        ]
        assert [one.amount for one in await world.swept()] == [300 * USDT]

    async def test_a_verdict_that_comes_too_late_is_void(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """DEAD is answered, but under the lock the attempt is included: it is not expired."""
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        (attempt,) = await desk.settlements.live(world.chain_id)
        await desk.settlement.round()
        assert not await desk.settlements.expire(world.chain_id, [attempt], "a wrong proof")
        assert (await states(world))[1] == ["included"]

    async def test_an_open_verdict_changes_nothing(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.run(GAS)
        await world.devnet.drop_pending()
        await world.devnet.advance(61)
        await world.devnet.mine(3)

        async def open_verdict(_: object) -> Verdict:
            return Verdict(Proof.OPEN, None, "the node lacks history")

        desk.provider.after("verdict", open_verdict)
        await desk.settlement.round()
        assert await states(world) == (["active"], ["broadcasting"], ["broadcasting"])

    async def test_after_a_long_absence_stragglers_are_looked_up(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine(300)
        reads = 0
        block = desk.real_provider.block

        async def counted(number: int, finality: object) -> object:
            nonlocal reads
            reads += 1
            return await block(number, finality)  # type: ignore[arg-type]

        desk.real_provider.block = counted  # type: ignore[method-assign,assignment]
        await desk.new_settlement().round()
        assert await states(world) == (["completed"], ["final"], ["final"])
        assert reads < 20
        cursor = await desk.settlements.cursor(world.chain_id)
        assert cursor is not None
        assert cursor.number >= 300

    async def test_hours_without_a_payment_are_not_read(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await world.devnet.mine(500, step_seconds=3)
        await desk.run(GAS)
        await world.devnet.solidify()
        reads: list[int] = []
        block = desk.real_provider.block

        async def counted(number: int, finality: object) -> object:
            reads.append(number)
            return await block(number, finality)  # type: ignore[arg-type]

        desk.real_provider.block = counted  # type: ignore[method-assign,assignment]
        await desk.new_settlement().round()
        assert (await states(world))[1] == ["final"]
        assert min(reads) > 490

    async def test_success_without_the_effect_is_not_final(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """A token that says yes and moves nothing."""
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        (attempt,) = await desk.settlements.live(world.chain_id)
        finding = await self.found(desk, attempt)
        hollow = FoundAttempt(attempt, replace(finding.result, effects=()))
        await desk.settlements.settle_one(hollow)
        (transfer,) = await world.transfers()
        assert transfer["state"] == "reverted"
        assert transfer["error_message"].startswith("effect absent")
        (job,) = await world.jobs()
        assert job["status"] == "failed"
        assert await world.row("SELECT needs_gas FROM wallets WHERE id = %s", thirsty.id) == {"needs_gas": True}

    async def test_settling_twice_changes_nothing(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.settlement.round()
        await desk.run(GAS)
        await world.devnet.mine()
        (attempt,) = await desk.settlements.live(world.chain_id)
        finding = await self.found(desk, attempt)
        assert len(await desk.settlements.settle_one(finding)) == 1
        before = await world.rows("SELECT * FROM job_logs, transfers, chain_transactions")
        assert await desk.settlements.settle_one(finding) == []
        assert await world.rows("SELECT * FROM job_logs, transfers, chain_transactions") == before

    @staticmethod
    async def found(desk: Desk, attempt: LiveAttempt) -> FoundAttempt:
        result = await desk.real_provider.find(attempt.signed.txid, Finality.HEAD)
        assert result is not None
        return FoundAttempt(attempt, result)

    @staticmethod
    async def let_it_die(world: World, desk: Desk, job_type: JobType = GAS) -> None:
        """Broadcast, swallowed by the network, and expired for good."""
        await desk.run(job_type)
        await world.devnet.drop_pending()
        await world.devnet.advance(61)
        await world.devnet.mine()
        await desk.settlement.round()
        assert (await states(world))[2] == ["broadcasting"]
        await world.devnet.advance(60)
        await world.devnet.mine(4)
        await desk.settlement.round()


class TestDatabaseGone:
    async def test_between_send_and_the_note_of_the_reply(
        self, world: World, desk: Desk, database: str, thirsty: Wallet
    ) -> None:
        """The commit of 'broadcasting' is there, the bytes are out, every connection is cut."""

        async def cut(reply: object) -> object:
            await world.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return reply

        job = await claim(desk, GAS)
        desk.provider.after("broadcast", cut)
        outcomes = [pair async for pair in desk.handler(GAS).handle([job])]
        assert [outcome for _, outcome in outcomes] == [Parked()]
        async with (
            pool_of(database, "again", role="pipeline_executor") as fresh,
            pool_of(database, "again", role="pipeline_confirmations") as confirming,
        ):
            again = Desk(world, fresh, confirming)
            await again.settle()
            await again.close()
        assert await states(world) == (["completed"], ["final"], ["final"])
        assert len(await world.paid_gas()) == 1

    async def test_at_the_commit_of_broadcasting(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """Whether it was committed is unknown to the worker: it does not send. If it was, the bytes are sent by
        the confirmation worker."""
        commit = desk.sender.signatures._second
        together = commit._together

        async def commit_and_lose_the_answer(*arguments: Any) -> NoReturn:
            await together(*arguments)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

        commit._together = commit_and_lose_the_answer  # type: ignore[method-assign]
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert (await world.devnet.status()).pending == ()
        assert (await world.jobs())[0]["awaiting_chain"]
        await world.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 minute'")
        await desk.settlement.round()
        await desk.settle()
        assert await states(world) == (["completed"], ["final"], ["final"])
        assert len(await world.paid_gas()) == 1


class TestCancelledBetweenTheCommits:
    async def test_what_was_signed_is_sent(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """The signature exists, whoever has it: its payment goes on without its job."""
        (answer,) = await leave_asked(world, desk, signed=True)
        (job,) = await world.jobs()
        await world.connection.execute("SELECT cancel_job(%s)", [job["job_id"]])
        assert (await states(world))[:2] == (["cancelled"], ["requested"])
        assert await desk.replacements().round() == 1
        assert [row["txid"] for row in await world.attempts()] == [answer.txid]  # type: ignore[union-attr]
        await desk.settle()
        assert await states(world) == (["cancelled"], ["final"], ["final"])
        assert len(await world.paid_gas()) == 1
        await world.assert_database_equals_chain()

    async def test_what_was_never_signed_is_given_up(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        """The signer has written that down, and never signs it."""
        await leave_asked(world, desk)
        (job,) = await world.jobs()
        await world.connection.execute("SELECT cancel_job(%s)", [job["job_id"]])
        assert await desk.replacements().round() == 0
        assert await states(world) == (["cancelled"], ["rejected"], [])
        assert await requests(world) == ["refused"]
        await world.devnet.solidify()
        assert await world.paid_gas() == []

    async def test_bytes_that_a_failover_and_the_signer_forgot_land(
        self, world: World, desk: Desk, other_desk: Desk, thirsty: Wallet
    ) -> None:
        """Another host, which knows nothing of the signature, calls it never signed; its bytes land before the next
        payment is made."""
        (answer,) = await leave_asked(world, desk, signed=True)
        (job,) = await world.jobs()
        await world.connection.execute("SELECT cancel_job(%s)", [job["job_id"]])
        ((_, outcome),) = await other_desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert "a signature for transfer" in outcome.reason
        assert [one.receiver for one in await world.paid_gas()] == []
        await send_answer(desk, answer)
        await world.devnet.solidify()
        await outlived(world, desk)
        ((_, outcome),) = await other_desk.run(GAS)
        assert isinstance(outcome, Done), "it holds enough"
        assert [one.receiver for one in await world.paid_gas()] == [thirsty.address]


class TestHousekeeping:
    async def test_payments_of_finished_jobs_are_given_up(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await leave_asked(world, desk)
        await world.connection.execute(
            "SET session_replication_role = replica; "
            "UPDATE job_logs SET status = 'failed', completed_at = now(); "
            "SET session_replication_role = origin"
        )
        await desk.settlement.tidy()
        assert (await states(world))[1:] == (["requested"], []), "it may be signed: only the signer knows"
        await desk.replacements().round()
        assert (await states(world))[1:] == (["rejected"], [])

    async def test_a_leftover_of_a_finished_job_does_not_block_the_next(
        self, world: World, desk: Desk, thirsty: Wallet
    ) -> None:
        await leave_asked(world, desk)
        await world.connection.execute(
            "SET session_replication_role = replica; "
            "UPDATE job_logs SET status = 'failed', completed_at = now() - interval '2 hours'; "
            "SET session_replication_role = origin"
        )
        ((_, outcome),) = await desk.run(GAS)
        assert isinstance(outcome, Defer)
        await outlived(world, desk)
        await desk.run(GAS)
        await desk.settle()
        assert (await states(world))[1] == ["rejected", "final"]
        assert len(await world.paid_gas()) == 1

    async def test_jobs_that_wait_for_nothing_go_back(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await claim(desk, GAS)
        await world.connection.execute("UPDATE job_logs SET awaiting_chain = true")
        await desk.settlement.tidy()
        assert (await states(world))[0] == ["retrying"]

    async def test_a_job_that_does_wait_is_left_alone(self, world: World, desk: Desk, thirsty: Wallet) -> None:
        await desk.run(GAS)
        before = await states(world)
        await desk.settlement.tidy()
        assert await states(world) == before


def test_kinds_are_those_of_the_table() -> None:
    assert {kind.value for kind in Kind} < {"gas", "consolidation", "withdrawal", "gap"}


async def test_the_commit_of_broadcasting_is_flushed_even_where_commits_are_not(
    world: World, desk: Desk, thirsty: Wallet
) -> None:
    """With synchronous_commit off an acknowledged commit may be lost in a crash, and the payment made again."""
    await leave_asked(world, desk)
    (request,) = await world.rows("SELECT request_id FROM signing_requests")
    await world.connection.execute("SET synchronous_commit = off")
    async with world.connection.transaction(force_rollback=True):
        await world.connection.execute(
            statement("payments/send/keep"),
            {
                "request_ids": [request["request_id"]],
                "txids": ["tx1"],
                "signed_bytes": [b"1"],
                "job_uuids": [],
                "data": [],
            },
        )
        assert await world.row("SHOW synchronous_commit") == {"synchronous_commit": "on"}
    assert await world.row("SHOW synchronous_commit") == {"synchronous_commit": "off"}
