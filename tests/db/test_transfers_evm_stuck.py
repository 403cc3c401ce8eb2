"""Payments that do not move on: too cheap, behind a gap, or with a nonce that somebody else has used."""

from collections.abc import Sequence

import psycopg
import pytest

from pipeline.chains.kinds import Kind
from pipeline.chains.values import Family, Payment
from pipeline.db.pool import Pool
from pipeline.keys.derivation import GAS_INDEX
from pipeline.payments.send.refusals import StateChanged
from pipeline.payments.send.replacement_store import ReplacementStore, Wanted
from pipeline.queue.jobs import Defer, Job, JobType, Parked
from pipeline.signing.keyring import Keyring
from pipeline.signing.request import Answer, SigningRequest
from tests.building import build
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.chaos.world import MNEMONIC
from tests.db.paying_kit import Killed, claim, rescue, states
from tests.seed import USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION
DEAR = 1_100_000
"""Wei for a unit of gas: above the cap of first offers (1,000,000), below that of replacements (2,000,000)."""
TOO_DEAR = 5_000_000


async def stuck(evm: EvmWorld, desk: EvmDesk, base_fee: int = DEAR) -> None:
    """A top-up is out whose offer the next blocks are too dear for."""
    assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
    await evm.price(base_fee)
    await desk.settlement.round()
    await evm.price(base_fee)
    await desk.settlement.round()


async def outsider(evm: EvmWorld, desk: EvmDesk, nonce: int, receiver: str) -> str:
    """Somebody else who has the gas wallet's key uses a nonce; at a price that wins."""
    payment = Payment(evm.gas_address, receiver, desk.real_provider.codec.coin, 7)  # type: ignore[attr-defined]
    signed = None
    estimate = await desk.real_provider.estimate(payment)
    unsigned = await build(desk.real_provider, payment, estimate, 0, nonce)
    signature = Keyring(MNEMONIC).sign(Family.EVM, GAS_INDEX, unsigned.digest)
    signed = desk.real_provider.codec.attach(unsigned, signature)
    await desk.real_provider.broadcast(signed)
    return signed.txid


async def send_again(evm: EvmWorld) -> None:
    """The oldest attempt; anvil forgets what has become too cheap, and the confirmation worker is not due yet."""
    first, *_ = await evm.attempts()
    await evm.network.node.call("eth_sendRawTransaction", "0x" + bytes(first["signed_bytes"]).hex())


class TestReplacement:
    async def test_a_payment_the_network_has_become_too_dear_for(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await stuck(evm, evm_desk)
        assert await evm.row("SELECT replace_wanted_at IS NOT NULL AS wanted FROM transfers") == {"wanted": True}
        (before,) = await evm.attempts()
        assert await evm_desk.replacements().round() == 1
        first, second = await evm.attempts()
        assert (first["nonce"], first["sender"]) == (second["nonce"], second["sender"])
        assert second["fee_cap"] >= first["fee_cap"] * 115 / 100
        assert bytes(first["signed_bytes"]) == bytes(before["signed_bytes"])
        assert await states(evm) == (["active"], ["broadcasting"], ["broadcasting", "broadcasting"])
        assert await evm_desk.replacements().round() == 0, "asked for once"
        await evm_desk.settle()
        assert await states(evm) == (["completed"], ["final"], ["replaced", "final"])
        assert await evm.nonces() == [(0, "used")]
        assert len(await evm.paid_gas()) == 1
        await evm.assert_database_equals_chain()

    async def test_a_payment_that_no_block_takes(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        """Dear enough, and still in no block: after so many of them it is offered again for more."""
        await evm_desk.run(GAS)
        for _ in range(3):
            await evm.network.node.call("anvil_dropAllTransactions")
            await evm_desk.pass_blocks(1)
        assert await evm_desk.replacements().round() == 0
        await evm.network.node.call("anvil_dropAllTransactions")
        await evm_desk.pass_blocks(1)
        assert await evm_desk.replacements().round() == 1
        await evm_desk.settle()
        assert len(await evm.paid_gas()) == 1
        assert sorted((await states(evm))[2]) == ["final", "replaced"]
        await evm.assert_database_equals_chain()

    async def test_the_first_may_win_all_the_same(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        await stuck(evm, evm_desk)
        (attempt,) = await evm.attempts()
        await evm_desk.replacements().round()
        await evm.network.node.call("anvil_dropAllTransactions")
        await evm.price(7)
        await send_again(evm)
        await evm_desk.settle()
        assert await states(evm) == (["completed"], ["final"], ["final", "replaced"])
        assert [one.txid for one in await evm.paid_gas()] == [attempt["txid"]]

    async def test_above_the_cap_it_stays_and_says_so(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await stuck(evm, evm_desk)
        offers = 0
        for _ in range(30):
            await evm.price(TOO_DEAR)
            await evm_desk.settlement.round()
            offers += await evm_desk.replacements().round()
        (transfer,) = await evm.transfers()
        assert transfer["state"] == "broadcasting"
        assert "0.002 are the most it may offer" in transfer["error_message"]
        assert max(int(row["fee_cap"]) for row in await evm.attempts()) <= 21_000 * 2_000_000
        assert offers == len(await evm.attempts()) - 1
        await evm.price(7)
        await send_again(evm)
        await evm_desk.settle()
        assert len(await evm.paid_gas()) == 1

    async def test_two_with_the_keys_replace_once(
        self, evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, pool: Pool, thirsty_evm: Wallet
    ) -> None:
        await stuck(evm, evm_desk)
        (wanted,) = await ReplacementStore(pool).wanted(evm.chain_id, [Kind.GAS])
        assert await evm_desk.replacements().round() == 1
        await self.comes_too_late(evm, other_evm_desk, wanted)
        assert len(await evm.attempts()) == 2

    async def test_a_settled_payment_is_not_replaced(
        self, evm: EvmWorld, evm_desk: EvmDesk, pool: Pool, thirsty_evm: Wallet
    ) -> None:
        await stuck(evm, evm_desk)
        (wanted,) = await ReplacementStore(pool).wanted(evm.chain_id, [Kind.GAS])
        await evm.price(7)
        await send_again(evm)
        await evm_desk.settle()
        await self.comes_too_late(evm, evm_desk, wanted)
        assert await states(evm) == (["completed"], ["final"], ["final"])

    @staticmethod
    async def comes_too_late(evm: EvmWorld, desk: EvmDesk, wanted: Wanted) -> None:
        """Somebody has read that it is wanted, a while ago."""
        terms = await desk.sender.store.terms(evm.chain_id)
        with pytest.raises(StateChanged):
            await desk.replacements()._replace(desk.real_provider, terms, wanted)  # type: ignore[arg-type]

    async def test_a_replaced_payment_is_forked_away_and_another_attempt_lands(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await evm_desk.settlement.round()
        await stuck(evm, evm_desk)
        first, *_ = await evm.attempts()
        await evm_desk.replacements().round()
        await evm_desk.pass_blocks(1)
        assert (await states(evm))[1:] == (["included"], ["broadcasting", "included"])
        await evm.network.fork_out(1, forget=True)
        await evm.price(7)
        await evm_desk.settlement.round()
        assert (await states(evm))[1:] == (["broadcasting"], ["broadcasting", "broadcasting"])
        await evm.network.node.call("anvil_dropAllTransactions")
        await evm.network.node.call("eth_sendRawTransaction", "0x" + bytes(first["signed_bytes"]).hex())
        await evm_desk.settle()
        await evm_desk.settlement.round()
        assert await states(evm) == (["completed"], ["final"], ["final", "replaced"])
        assert [one.txid for one in await evm.paid_gas()] == [first["txid"]]
        await evm.assert_database_equals_chain()


class TestPoorWallet:
    async def test_a_wallet_too_poor_for_its_replacement_gets_gas_first(self, evm: EvmWorld, evm_desk: EvmDesk) -> None:
        """Its consolidation is out, the network has become dearer, and it holds no more than its first offer."""
        await evm.connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
        wallet = await evm.wallet(usdt=250 * USDT)
        await evm.network.finalize()
        await evm.flag(wallet, gas=True, consolidation=True)
        await evm_desk.run(GAS)
        await evm_desk.settle()
        assert [outcome for _, outcome in await evm_desk.run(CONSOLIDATION)] == [Parked()]
        for offers in (1, 0):
            for _ in range(4):
                await evm.price(1_600_000)
                await evm_desk.settlement.round()
            assert await evm_desk.replacements(Kind.CONSOLIDATION).round() == offers, (
                "what it has is offered, and no more"
            )
        row = await evm.row("SELECT error_message, replace_wanted_at FROM transfers WHERE kind = 'consolidation'")
        assert row["replace_wanted_at"] is None
        assert "what its sender holds" in row["error_message"]
        flags = await evm.row("SELECT needs_gas FROM wallets WHERE id = %s", wallet.id)
        assert flags == {"needs_gas": True}

        await evm.network.node.call("anvil_setBalance", wallet.address, hex(FINNEY))
        for _ in range(4):
            await evm.price(1_600_000)
            await evm_desk.settlement.round()
        assert await evm_desk.replacements(Kind.CONSOLIDATION).round() == 1
        await evm_desk.settle()
        assert [one.amount for one in await evm.swept()] == [250 * USDT]
        theirs = [row["state"] for row in await evm.attempts() if row["sender"] == wallet.address]
        assert theirs == ["replaced", "replaced", "final"]


class TestOutsider:
    async def test_a_nonce_used_by_somebody_else_is_proved_and_reported(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await evm_desk.run(GAS)
        await evm.network.node.call("anvil_dropAllTransactions")
        theirs = await outsider(evm, evm_desk, 0, evm.treasury)
        await evm.network.mine()
        await evm_desk.settlement.round()
        await evm_desk.pass_blocks(1)
        assert (await states(evm))[1] == ["broadcasting"], "not final yet: nothing is proved"
        await evm.network.finalize()
        await evm_desk.settlement.round()
        assert (await states(evm))[1] == ["broadcasting"], "one node says so, and the blocks beyond are not read"
        await evm.network.finalize()
        await evm_desk.settlement.round()
        assert await states(evm) == (["retrying"], ["expired"], ["expired"])
        (job,) = await evm.jobs()
        assert "used outside" in job["error_message"]
        assert "in none of the final blocks" in job["error_message"]
        assert job["retry_count"] == 0
        assert await evm.nonces() == [(0, "lost")]

        ((_, outcome),) = await evm_desk.run(GAS)
        assert isinstance(outcome, Defer)
        assert theirs in outcome.reason, "who has this key? a person looks before it pays again"
        await evm.connection.execute("SELECT release_sender('bsc', %s)", [evm.gas_address])
        await evm.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'pending'")
        await evm_desk.run(GAS)
        await evm_desk.settle()
        assert (await states(evm))[:2] == (["completed"], ["final"])
        assert await evm.nonces() == [(0, "lost"), (1, "used")]
        ours = [one for one in await evm.paid_gas() if one.txid != theirs]
        assert [one.receiver for one in ours] == [thirsty_evm.address]

    async def test_all_attempts_are_dead_together_or_none(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """A proof that does not know of the newest attempt is void."""
        await stuck(evm, evm_desk)
        before = await evm_desk.settlements.live(evm.chain_id)
        await evm_desk.replacements().round()
        assert not await evm_desk.settlements.expire(evm.chain_id, before, "a proof of yesterday")
        assert (await states(evm))[1] == ["broadcasting"]


class TestKilled:
    @pytest.mark.parametrize("step", ["prepare", "sender_nonces"])
    async def test_before_signing_keeps_nobody_waiting(
        self, evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, thirsty_evm: Wallet, step: str
    ) -> None:
        """Its job is not rescued yet, and the next payment of the sender is final."""
        job = await claim(evm_desk, GAS)
        await self.killed(evm_desk, step, job)
        assert await evm.nonces() == []
        await self.another_is_paid(evm, other_evm_desk)
        assert await evm.nonces() == [(0, "used")]
        await rescue(evm, job)
        await evm_desk.run(GAS)
        await evm_desk.settle()
        assert len(await evm.paid_gas()) == 2
        await evm.assert_database_equals_chain()

    @pytest.mark.parametrize("signed", [False, True])
    async def test_between_the_commits_who_pays_next_finishes_it(
        self, evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, thirsty_evm: Wallet, signed: bool
    ) -> None:
        """Its job is not rescued yet, and its nonce comes first: no signature takes three seconds."""
        job = await claim(evm_desk, GAS)
        sign = evm_desk.signer.sign

        async def die(requests: Sequence[SigningRequest]) -> list[Answer]:
            if signed:
                await sign(requests)
            raise Killed

        evm_desk.signer.sign = die  # type: ignore[method-assign]
        with pytest.raises(Killed):
            await evm_desk.run(GAS, [job])
        assert await states(evm) == (["active"], ["requested"], [])
        assert await evm.nonces() == [(0, "reserved")]
        await evm.connection.execute(
            "SET session_replication_role = replica; UPDATE signing_requests SET created_at = now() - interval '3 s';"
            "RESET session_replication_role"
        )
        await self.another_is_paid(evm, other_evm_desk)
        assert await evm.nonces() == [(0, "used"), (1, "used")]
        assert await states(evm) == (["completed"] * 2, ["final"] * 2, ["final"] * 2)
        assert len(await evm.paid_gas()) == 2
        await evm.assert_database_equals_chain()

    async def test_after_signing_keeps_nobody_waiting(
        self, evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """The bytes are the confirmation worker's, who sends them."""
        job = await claim(evm_desk, GAS)
        await self.killed(evm_desk, "broadcast", job)
        assert await evm.nonces() == [(0, "reserved")]
        await evm.connection.execute("UPDATE chain_transactions SET last_broadcast_at = now() - interval '1 minute'")
        await evm_desk.settlement.round()
        await self.another_is_paid(evm, other_evm_desk)
        assert await evm.nonces() == [(0, "used"), (1, "used")]
        assert len(await evm.paid_gas()) == 2
        await evm.assert_database_equals_chain()

    @pytest.mark.parametrize("step", ["prepare", "sender_nonces"])
    async def test_a_lease_that_is_lost_takes_no_nonce(
        self, evm: EvmWorld, evm_desk: EvmDesk, other_evm_desk: EvmDesk, thirsty_evm: Wallet, step: str
    ) -> None:
        job = await claim(evm_desk, GAS)

        async def somebody_else_does_it() -> None:
            await rescue(evm, job)
            assert [outcome for _, outcome in await other_evm_desk.run(GAS)] == [Parked()]

        evm_desk.provider.before(step, somebody_else_does_it)
        await evm_desk.run(GAS, [job])
        assert await evm.nonces() == [(0, "reserved")]
        await evm_desk.settle()
        assert len(await evm.paid_gas()) == 1
        assert (await states(evm))[0] == ["completed"]

    @staticmethod
    async def killed(desk: EvmDesk, step: str, job: Job) -> None:
        async def die() -> None:
            raise Killed

        desk.provider.before(step, die)
        with pytest.raises(Killed):
            await desk.run(GAS, [job])

    @staticmethod
    async def another_is_paid(evm: EvmWorld, desk: EvmDesk) -> None:
        other = await evm.wallet()
        await evm.connection.execute("UPDATE wallets SET needs_gas = true WHERE id = %s", [other.id])
        assert [outcome for _, outcome in await desk.run(GAS)] == [Parked()]
        await desk.settle()
        assert other.address in [one.receiver for one in await evm.paid_gas()]


class TestGaps:
    async def test_a_void_nonce_is_filled_before_the_next(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await evm.connection.execute(
            "INSERT INTO senders (chain_id, sender, first_nonce) VALUES (%s, %s, 0)", [evm.chain_id, evm.gas_address]
        )
        await evm.connection.execute("SELECT void_nonces(%s, %s, 0)", [evm.chain_id, evm.gas_address])
        await evm_desk.run(GAS)
        assert await evm.nonces() == [(0, "void"), (1, "reserved")], "no payment gets it"
        await evm_desk.pass_blocks(2)
        assert await evm.paid_gas() == []
        assert await evm_desk.replacements().round() == 1
        await evm_desk.settle()
        assert await evm.nonces() == [(0, "used"), (1, "used")]
        assert [one.amount for one in await evm.gaps()] == [1]
        assert [one.receiver for one in await evm.paid_gas()] == [thirsty_evm.address]
        await evm.assert_database_equals_chain()

    async def test_a_line_that_stays_still_is_reported(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        """Nobody fills what is missing: its sender has no coins for it, say."""
        await evm.connection.execute(
            "INSERT INTO senders (chain_id, sender, first_nonce) VALUES (%s, %s, 0)", [evm.chain_id, evm.gas_address]
        )
        await evm.connection.execute("SELECT void_nonces(%s, %s, 2)", [evm.chain_id, evm.gas_address])
        await evm_desk.run(GAS)
        await evm_desk.settlement.round()
        await evm.network.mine(60)
        await evm_desk.settlement.round()
        (alarm,) = await evm_desk.settlement.tidy()
        assert "nonces 0 to 2" in alarm


class TestGuards:
    async def test_nothing_is_buried_before_its_blocks_were_read(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await evm_desk.settlement.round()
        await evm_desk.run(GAS)
        with pytest.raises(psycopg.errors.DatabaseError, match="may still land") as refused:
            await evm.connection.execute("UPDATE chain_transactions SET state = 'expired'")
        assert refused.value.sqlstate == "FP003"

    async def test_an_attempt_needs_the_nonce_that_is_reserved_for_it(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await evm_desk.run(GAS)
        insert = (
            "INSERT INTO signing_requests (bundle_id, chain_id, sender, replaces, nonce, expiration, parameters, "
            "unsigned_bytes, fee_cap) SELECT bundle_id, chain_id, {sender}, {replaces}, {nonce}, {expiration}, "
            r"'{{}}', '\x0a', 1 FROM chain_transactions"
        )
        for sender, replaces, nonce, expiration, sqlstate in (
            ("sender", "id", "1", "NULL", "FP004"),
            ("sender", "NULL", "nonce", "NULL", "FP004"),
            ("sender", "NULL", "NULL", "now()", "FP004"),
            ("'0xThief'", "id", "nonce", "NULL", "23503"),  # the bundle's sender is another
        ):
            with pytest.raises(psycopg.errors.DatabaseError) as refused:
                await evm.connection.execute(
                    insert.format(sender=sender, replaces=replaces, nonce=nonce, expiration=expiration)  # type: ignore[call-overload]
                )
            assert refused.value.sqlstate == sqlstate, (sender, replaces, nonce)

    async def test_bytes_need_a_request_that_asks_for_them(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await evm_desk.run(GAS)
        insert = (
            "INSERT INTO chain_transactions (bundle_id, request_id, chain_id, attempt, txid, signed_bytes, sender,"
            r" nonce, ref_block, fee_cap)"
            r" SELECT bundle_id, {}, chain_id, 2, 'tx2', '\x0a', sender, nonce, ref_block, fee_cap"
            " FROM chain_transactions"
        )
        for request, sqlstate in (("NULL", "FP003"), ("request_id", "23505"), ("gen_random_uuid()", "FP003")):
            with pytest.raises(psycopg.errors.DatabaseError) as refused:
                await evm.connection.execute(insert.format(request))  # type: ignore[call-overload]
            assert refused.value.sqlstate in {sqlstate, "23514", "23503"}, request

    async def test_a_nonce_belongs_to_one_payment(self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet) -> None:
        await evm_desk.run(GAS)
        for statement in (
            "UPDATE nonces SET nonce = 5",
            "UPDATE nonces SET sender = 'x'",
            "UPDATE nonces SET bundle_id = NULL",
            "UPDATE nonces SET state = 'void', bundle_id = NULL",
            "DELETE FROM nonces",
            "TRUNCATE nonces",
            "INSERT INTO nonces (chain_id, sender, nonce, bundle_id) SELECT chain_id, sender, 9, bundle_id FROM nonces",
            "INSERT INTO nonces (chain_id, sender, nonce, state) SELECT chain_id, sender, 9, 'used' FROM nonces",
        ):
            with pytest.raises(psycopg.errors.DatabaseError):
                await evm.connection.execute(statement)  # type: ignore[call-overload]
        assert await evm.nonces() == [(0, "reserved")]

    async def test_only_one_attempt_of_a_nonce_is_ever_final(
        self, evm: EvmWorld, evm_desk: EvmDesk, thirsty_evm: Wallet
    ) -> None:
        await stuck(evm, evm_desk)
        await evm_desk.replacements().round()
        with pytest.raises(psycopg.errors.UniqueViolation):
            await evm.connection.execute(
                "UPDATE chain_transactions SET state = 'included', block_number = 1;"
                "UPDATE chain_transactions SET state = 'final'"
            )
