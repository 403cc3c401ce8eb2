"""Several assets in one wallet: one payment each, one job for all of them, on both families."""

import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from pipeline.chains.values import Asset
from pipeline.db.pool import Pool
from pipeline.queue.jobs import Done, Job, JobType, Outcome, Parked, Retry
from pipeline.signing.request import Answer, SigningRequest
from tests.chains.evm.anvil import AnvilError
from tests.chaos.evm_world import FINNEY, EvmDesk, EvmWorld
from tests.chaos.world import Desk, World
from tests.db.paying_kit import Killed, claim, rescue, states
from tests.seed import TRX, USDT, Wallet

GAS, CONSOLIDATION = JobType.GAS_TOPUP, JobType.CONSOLIDATION


class Several:
    """A world with further tokens, and a desk that knows them."""

    def __init__(self, world: EvmWorld, pool: Pool, confirming: Pool) -> None:
        self.world = world
        self.pools = pool, confirming
        self.tokens: dict[str, Asset] = {}
        self.desk: EvmDesk

    async def token(self, name: str, *, decimals: int = 18, arguments: str = "") -> Asset:
        _, self.tokens[name] = await self.world.add_token(name, decimals=decimals, arguments=arguments)
        return self.tokens[name]

    async def wallet(self, *, usdt: int = 250 * USDT, coins: int = FINNEY, **raw: int) -> Wallet:
        """Flagged for consolidation, holding USDT and raw units of the tokens by name."""
        wallet = await self.world.wallet(usdt=usdt, trx=coins)
        for name, amount in raw.items():
            await self.world.mint(self.tokens[name], wallet, amount)
        await self.world.network.finalize()
        await self.world.flag(wallet, consolidation=True)
        self.desk = EvmDesk(self.world, *self.pools, assets=list(self.tokens.values()))
        return wallet

    async def run(self, job_type: JobType = CONSOLIDATION, jobs: list[Job] | None = None) -> Outcome:
        ((_, outcome),) = await self.desk.run(job_type, jobs)
        return outcome

    async def swept(self) -> dict[str, int]:
        """By symbol, what the treasury got; each at most once."""
        names = {self.world.token: "USDT", **{asset.contract: name for name, asset in self.tokens.items()}}
        payments = await self.world.swept()
        found = {names[one.contract]: one.amount for one in payments}
        assert len(found) == len(payments), "something was paid twice"
        return found


@pytest.fixture
async def several(evm: EvmWorld, pool: Pool, confirming: Pool) -> AsyncIterator[Several]:
    made = Several(evm, pool, confirming)
    yield made
    await made.desk.close()


async def test_every_asset_above_its_minimum_moves_with_one_job(several: Several) -> None:
    await several.token("PlainToken", arguments=f"{18:064x}")
    await several.token("SilentToken", decimals=6)
    wallet = await several.wallet(PlainToken=300, SilentToken=99)
    assert await several.run() == Parked()
    assert (await states(several.world))[:2] == (["active"], ["broadcasting", "broadcasting"])
    assert [row["nonce"] for row in await several.world.attempts()] == [0, 1]
    await several.desk.settle()
    assert await several.swept() == {"USDT": 250 * USDT, "PlainToken": 300}
    (job,) = await several.world.jobs()
    assert job["status"] == "completed"
    assert [(one["asset"], one["outcome"]) for one in job["data"]["payments"]] == [
        ("USDT", "sent"),
        ("PlainToken", "sent"),
    ]
    flag = await several.world.row("SELECT needs_consolidation FROM wallets WHERE id = %s", wallet.id)
    assert flag == {"needs_consolidation": False}
    await several.world.assert_database_equals_chain()


async def test_the_job_waits_for_the_last_one(several: Several) -> None:
    await several.token("PlainToken", arguments=f"{18:064x}")
    wallet = await several.wallet(PlainToken=300)
    await several.desk.settlement.round()
    await several.run()
    _, second = await several.world.attempts()
    node = several.world.network.node
    await node.call("anvil_dropTransaction", second["txid"])
    await several.desk.settle()
    assert (await states(several.world))[:2] == (["active"], ["final", "broadcasting"])
    flag = await several.world.row("SELECT needs_consolidation FROM wallets WHERE id = %s", wallet.id)
    assert flag == {"needs_consolidation": True}, "lowered by the last payment only"
    with contextlib.suppress(AnvilError):  # the confirmation worker may have sent it again by now
        await node.call("eth_sendRawTransaction", "0x" + bytes(second["signed_bytes"]).hex())
    await several.desk.settle()
    assert (await states(several.world))[:2] == (["completed"], ["final", "final"])


async def test_one_that_reverts_is_named_and_the_other_is_paid(several: Several) -> None:
    guarded = await several.token("GuardedToken")
    wallet = await several.wallet(GuardedToken=300)
    await several.desk.settlement.round()
    await several.run()
    sent = await several.world.attempts()
    node = several.world.network.node
    await node.call("anvil_dropAllTransactions")
    await several.world.call(guarded, "blacklist(address,bool)", int(wallet.address, 16), 1)
    await several.world.network.mine()
    for one in sent:
        await node.call("eth_sendRawTransaction", "0x" + bytes(one["signed_bytes"]).hex())
    await several.desk.settle()
    assert (await states(several.world))[:2] == (["failed"], ["final", "reverted"])
    (job,) = await several.world.jobs()
    assert job["error_message"].startswith("GuardedToken: tx 0x")
    assert "failed on the chain: REVERT" in job["error_message"]
    assert await several.swept() == {"USDT": 250 * USDT}

    await several.world.call(guarded, "blacklist(address,bool)", int(wallet.address, 16), 0)
    await several.world.network.finalize()
    await several.world.connection.execute("SELECT retry_failed_jobs('consolidation', 24)")
    assert await several.run() == Parked()
    await several.desk.settle()
    assert await several.swept() == {"USDT": 250 * USDT, "GuardedToken": 300}
    assert (await states(several.world))[0] == ["completed"]
    await several.world.assert_database_equals_chain()


@pytest.mark.parametrize(
    ("name", "spoil", "why"),
    [
        ("FalseToken", None, "transfer() returns false"),
        ("FeeToken", None, "takes a fee on transfers"),
        ("GuardedToken", "pause", "paused"),
        ("GuardedToken", "blacklist", "sender is blacklisted"),
    ],
)
class TestTokensThatDoNotMove:
    async def test_the_others_move_and_the_job_says_which_did_not(
        self, several: Several, name: str, spoil: str | None, why: str
    ) -> None:
        token = await several.token(name)
        wallet = await several.wallet(**{name: 300})
        await self.spoil(several, token, wallet, spoil)
        assert await several.run() == Parked()
        await several.desk.settle()
        (job,) = await several.world.jobs()
        assert (job["status"], job["data"]["outcome"]) == ("failed", "partly sent")
        assert job["error_message"].startswith(f"{name} was not sent: ")
        assert why in job["error_message"].lower() or why in job["error_message"]
        assert await several.swept() == {"USDT": 250 * USDT}
        assert [state for _, state in await wallet_nonces(several.world, wallet)] == ["used"]

    async def test_alone_it_is_a_dead_letter_that_says_why(
        self, several: Several, name: str, spoil: str | None, why: str
    ) -> None:
        token = await several.token(name)
        wallet = await several.wallet(usdt=0, **{name: 300})
        await self.spoil(several, token, wallet, spoil)
        for _ in range(3):
            outcome = await several.run()
            assert isinstance(outcome, Retry)
            await several.world.connection.execute("UPDATE job_logs SET run_at = now() WHERE status = 'retrying'")
        (job,) = await several.world.jobs()
        assert job["status"] == "failed"
        assert why in job["error_message"].lower() or why in job["error_message"]
        assert await several.world.transfers() == []

    @staticmethod
    async def spoil(several: Several, token: Asset, wallet: Wallet, how: str | None) -> None:
        if how == "pause":
            await several.world.call(token, "pause(bool)", 1)
        elif how == "blacklist":
            await several.world.call(token, "blacklist(address,bool)", int(wallet.address, 16), 1)
        await several.world.network.finalize()


async def wallet_nonces(world: EvmWorld, wallet: Wallet) -> list[tuple[int, str]]:
    rows = await world.rows("SELECT nonce, state FROM nonces WHERE sender = %s ORDER BY nonce", wallet.address)
    return [(row["nonce"], row["state"]) for row in rows]


async def test_gas_pays_for_all_of_them_together(several: Several) -> None:
    await several.token("PlainToken", arguments=f"{18:064x}")
    await several.world.connection.execute("UPDATE chains SET gas_policy = 'on_demand'")
    wallet = await several.wallet(coins=0, PlainToken=300)
    await several.world.flag(wallet, gas=True, consolidation=True)
    assert await several.run(GAS) == Parked()
    await several.desk.settle()
    (topup,) = await several.world.paid_gas()
    assert await several.run() == Parked()
    caps = [int(row["fee_cap"]) for row in await several.world.attempts() if row["sender"] == wallet.address]
    assert len(caps) == 2
    assert sum(caps) <= topup.amount <= sum(caps) * 1.3
    await several.desk.settle()
    assert await several.swept() == {"USDT": 250 * USDT, "PlainToken": 300}

    left = await several.world.network.truth(wallet.address, several.world.network.coin, final=True)
    assert 0 < left < topup.amount
    await several.world.mint(several.tokens["PlainToken"], wallet, 500)
    await several.world.network.finalize()
    await several.world.connection.execute("UPDATE chains SET gas_cooldown = '0'")
    await several.world.flag(wallet, gas=True, consolidation=True)
    outcome = await several.run(GAS)
    if outcome == Parked():
        again = (await several.world.transfers())[-1]
        assert int(again["amount"]) + left <= topup.amount, "what was left over is used first"
    else:
        assert isinstance(outcome, Done)


@pytest.mark.parametrize("signed", [False, True])
async def test_killed_between_the_commits_both_are_paid_once(several: Several, signed: bool) -> None:
    await several.token("PlainToken", arguments=f"{18:064x}")
    await several.wallet(PlainToken=300)
    job = await claim(several.desk, CONSOLIDATION)
    sign = several.desk.signer.sign

    async def die(requests: Sequence[SigningRequest]) -> list[Answer]:
        assert len(requests) == 2, "one sender, one batch"
        if signed:
            await sign(requests)
        raise Killed

    several.desk.signer.sign = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await several.run(jobs=[job])
    several.desk.signer.sign = sign  # type: ignore[method-assign]
    assert await states(several.world) == (["active"], ["requested", "requested"], []), "both or none"
    await rescue(several.world, job)
    assert await several.run() == Parked()
    await several.desk.settle()
    assert (await states(several.world))[0] == ["completed"]
    assert await several.swept() == {"USDT": 250 * USDT, "PlainToken": 300}
    await several.world.assert_database_equals_chain()


async def test_two_tokens_on_tron(world: World, pool: Pool, confirming: Pool) -> None:
    second, _ = await world.devnet.deploy_token()
    await world.connection.execute(
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above, "
        "consolidate_execute_min) VALUES (%s, 'USDD', %s, 6, %s, %s)",
        [world.chain_id, second, 200 * USDT, 100 * USDT],
    )
    wallet = await world.wallet(usdt=250 * USDT, trx=60 * TRX)
    await world.devnet.mint(second, wallet.address, 300 * USDT)
    await world.devnet.solidify()
    await world.flag(wallet, consolidation=True)
    desk = Desk(world, pool, confirming, tokens=[second])
    desk.real_provider.codec._assets[second] = Asset("USDD", 6, second)  # type: ignore[attr-defined]
    ((_, outcome),) = await desk.run(CONSOLIDATION)
    assert outcome == Parked(), outcome
    await desk.settle()
    moved = {(one.contract, one.amount) for one in await world.devnet.audit() if one.receiver == world.treasury}
    assert moved == {(world.token, 250 * USDT), (second, 300 * USDT)}
    assert (await states(world))[:2] == (["completed"], ["final", "final"])
    await desk.close()
