"""Attacks on the gas wallet, by real processes on a real node: somebody owns the database, or a node makes prices up.
What leaves stays below what the policy of the signing host allows for a day, and mostly nothing leaves.

Before there were such bounds, the first of them took 88 of 100 coins in 35 seconds (docs/reliability.md).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from psycopg.types.json import Jsonb

from pipeline.chains.values import Asset, Family
from tests.chains.provider.evm_network import CHAIN_ID
from tests.chaos.evm_world import FINNEY, GAS_FUNDS, EvmWorld
from tests.chaos.fleet import Process, Zygote
from tests.chaos.world import MNEMONIC
from tests.patience import PATIENCE
from tests.policy import policy, write_policy
from tests.seed import USDT, Wallet

DAY_MAX = 60 * FINNEY
FEE_MAX = 5 * FINNEY
WALLETS = 16
TOPUP_GAS = 21_000
WORKERS = ("gas-topup", "consolidation", "confirmations")

OPEN_EVERY_RULE = """
UPDATE chains SET fees = %s, fee_max = 1e27, gas_max_per_topup = 1e27, gas_max_per_wallet_day = 1e27, gas_max_per_day =
1e27,
                  gas_max_total = NULL, topup_fee_multiple = 1, fee_rise_max = 1000000
"""
"""What the owner of the database can say of fees and budgets."""


@dataclass(eq=False)
class Victim:
    """A system at work: its wallets want gas, its processes run."""

    world: EvmWorld
    zygote: Zygote
    database: str
    home: Path
    processes: list[Process] = field(default_factory=list)

    async def start(self, *kinds: str) -> None:
        env = {"DATABASE_URL": self.database, "FLAGPOST_HOME": str(self.home), "FLAGPOST_MNEMONIC": MNEMONIC}
        for kind in kinds:
            self.processes.append(await self.zygote.start(kind, env, self.home / "workers.log"))

    async def lost(self) -> int:
        """What is no longer in the gas wallet, wei: amounts and fees."""
        balance = await self.world.network.node.call("eth_getBalance", self.world.gas_address, "latest")
        return GAS_FUNDS - int(balance, 16)

    async def until(self, question: str, *parameters: object) -> None:
        """Blocks come, and are final, until a question has a row."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self.world.rows(question, *parameters):
                    await self.world.network.finalize()
                    await asyncio.sleep(0.05)  # blocks of a chain have their pace
        except TimeoutError:
            jobs = await self.world.rows("SELECT status, error_message, count(*) FROM job_logs GROUP BY 1, 2 LIMIT 9")
            raise AssertionError(f"{question} {parameters}: {jobs}") from None

    async def until_jobs_say(self, words: str, count: int) -> None:
        await self.until(
            "SELECT FROM job_logs WHERE position(%s IN error_message) > 0 HAVING count(*) >= %s", words, count
        )

    async def impatience(self) -> None:
        """Jobs that wait do not wait long: an attacker has them tried again and again."""
        await self.world.rows(
            "UPDATE job_logs SET run_at = now() WHERE status IN ('pending', 'retrying') AND run_at > now() RETURNING id"
        )

    def said(self) -> str:
        return (self.home / "workers.log").read_text()


@pytest.fixture
async def victim(evm: EvmWorld, database: str, home: Path) -> AsyncIterator[Victim]:
    write_policy(home, policy(Family.EVM, str(CHAIN_ID), evm.token, fee_max=FEE_MAX, day_max=DAY_MAX))
    async with Zygote() as zygote:
        made = Victim(evm, zygote, database, home)
        try:
            yield made
        finally:
            for process in made.processes:
                process.kill()


async def wallets(world: EvmWorld, count: int = WALLETS, **flags: bool) -> Sequence[Wallet]:
    found = [await world.wallet(usdt=250 * USDT) for _ in range(count)]
    await world.network.finalize()
    await world.rows("UPDATE wallets SET needs_gas = %s, needs_consolidation = %s RETURNING id", *flags.values())
    return found


class TestFees:
    """``chains.fees`` says what a transaction offers: a floor burns whatever the gas wallet holds."""

    async def test_above_what_a_transaction_may_cost_nothing_is_signed(self, victim: Victim) -> None:
        await wallets(victim.world, needs_gas=True, needs_consolidation=False)
        floor = GAS_FUNDS // 10 // TOPUP_GAS
        await victim.world.rows(OPEN_EVERY_RULE + "RETURNING id", Jsonb({"floor": floor, "cap": 2 * floor}))
        await victim.start("gas-topup", "confirmations")
        await victim.until_jobs_say("raise its fee_max", 2)
        assert await victim.lost() == 0
        assert await victim.world.rows("SELECT FROM chain_transactions") == []

    async def test_below_it_the_day_has_an_end(self, victim: Victim) -> None:
        await wallets(victim.world, needs_gas=True, needs_consolidation=False)
        floor = FEE_MAX * 9 // 10 // TOPUP_GAS  # nearly the most expensive that is signed at all
        await victim.world.rows(OPEN_EVERY_RULE + "RETURNING id", Jsonb({"floor": floor, "cap": 2 * floor}))
        await victim.start("gas-topup", "confirmations")
        await victim.until_jobs_say("day_max of the signing policy", 1)
        await victim.until("SELECT FROM transfers WHERE kind = 'gas' AND state = 'final'")
        # A process that starts again, and jobs that are tried at once, change nothing: the host remembers.
        victim.processes[0].kill()
        await victim.processes[0].status
        await victim.impatience()
        await victim.start("gas-topup")
        await victim.until_jobs_say("day_max of the signing policy", WALLETS - 6)
        assert 0 < await victim.lost() <= DAY_MAX
        assert "day_max of the signing policy of bsc is reached for the gas wallet" in victim.said()

    async def test_with_the_rules_in_force_the_database_refuses_first(self, victim: Victim) -> None:
        """Who may set chains.fees alone, or a node that asks for so much."""
        await wallets(victim.world, needs_gas=True, needs_consolidation=False)
        await victim.world.rows(
            "UPDATE chains SET fees = %s RETURNING id", Jsonb({"floor": 7 * 10**14, "cap": 9 * 10**14})
        )
        await victim.start("gas-topup", "confirmations")
        await victim.until_jobs_say("bsc.fee_max is 0.01 BNB", WALLETS)
        assert await victim.lost() == 0


class TestPrices:
    """A node of the right network offers tips just under the cap, and wallets that lack next to nothing."""

    async def test_a_topup_is_worth_its_fee_and_the_budget_counts_both(self, victim: Victim) -> None:
        world = victim.world
        found = await wallets(world, needs_gas=True, needs_consolidation=False)
        cap = 10**11
        await world.rows(
            "UPDATE chains SET fees = %s, gas_policy = 'threshold', gas_amount = 1, gas_execute_below = 1, "
            "gas_flag_below = 1, "
            "gas_max_per_wallet_day = 2 * gas_max_per_topup, gas_max_per_day = %s RETURNING id",
            *(Jsonb({"cap": cap}), 30 * FINNEY),
        )
        world.network.proxy.pinned["eth_gasPrice"] = hex(cap - 1)
        world.network.proxy.pinned["eth_feeHistory"] = {
            "oldestBlock": "0x1",
            "baseFeePerGas": ["0x7"] * 6,
            "gasUsedRatio": [0.5] * 5,
            "reward": [[hex(cap - 10)]] * 5,
        }
        await victim.start("gas-topup", "confirmations")
        await victim.until_jobs_say("would pass gas_max_per_day", 1)
        await victim.until("SELECT FROM transfers WHERE kind = 'gas' AND state = 'final'")
        paid = [payment for payment in await world.payments() if payment.sender == world.gas_address]
        fee = TOPUP_GAS * cap
        assert paid
        assert all(payment.amount >= 3 * (fee - TOPUP_GAS * 20) for payment in paid), "dust was paid for"
        assert await victim.lost() <= 30 * FINNEY
        assert {payment.receiver for payment in paid} <= {wallet.address for wallet in found}


class TestContracts:
    """A row of asset_on_chain with a contract that does as its owner likes on our gas."""

    async def test_a_contract_that_no_policy_has_is_never_called(self, victim: Victim) -> None:
        world = victim.world
        token_id, fake = await world.add_token("FeeToken")
        found = await wallets(world, 4, needs_gas=False, needs_consolidation=False)
        for wallet in found:
            await world.mint(fake, wallet, 10**6)
            await world.network.fund(wallet.address, 5 * FINNEY)
        await world.rows(
            "UPDATE asset_on_chain SET is_active = (id = %s) OR contract_address IS NULL RETURNING id", token_id
        )
        await world.network.finalize()
        before = [await _coins(world, wallet) for wallet in found]
        await victim.start(*WORKERS)
        await world.rows("UPDATE wallets SET needs_consolidation = true RETURNING id")
        refused = f"contract {fake.contract} is not in the signing policy of bsc (evm {CHAIN_ID})"
        await victim.until_jobs_say(refused, 4)
        await victim.impatience()
        await victim.until("SELECT FROM job_logs WHERE status = 'failed' HAVING count(*) = 4")
        assert await world.rows("SELECT FROM transfers") == []
        assert [await _coins(world, wallet) for wallet in found] == before
        assert await victim.lost() == 0

    async def test_the_tokens_of_the_policy_go_on(self, victim: Victim) -> None:
        """A fake one beside the real one stops nothing."""
        world = victim.world
        _, fake = await world.add_token("FeeToken")
        (wallet,) = await wallets(world, 1, needs_gas=True, needs_consolidation=True)
        await world.mint(fake, wallet, 10**6)
        await world.network.finalize()
        await victim.start(*WORKERS)
        await victim.until("SELECT FROM transfers WHERE kind = 'consolidation' AND state = 'final'")
        (swept,) = await world.swept()
        assert (swept.contract, swept.amount) == (world.token, 250 * USDT)
        await _holds(world, fake, wallet, 10**6)


class TestNames:
    """Names of chains are rows: what is pinned hangs on the network."""

    async def test_a_chain_under_another_name_pays_the_same_treasury(self, victim: Victim) -> None:
        world = victim.world
        pinned = (await world.wallet()).address
        write_policy(victim.home, policy(Family.EVM, str(CHAIN_ID), world.token, treasury=pinned))
        (wallet,) = await wallets(world, 1, needs_gas=True, needs_consolidation=True)
        await world.rows(
            "UPDATE wallets SET needs_gas = false, needs_consolidation = false WHERE id <> %s RETURNING id", wallet.id
        )
        await world.rows("UPDATE chains SET name = 'attackers' RETURNING id")
        await victim.start(*WORKERS)
        await victim.until("SELECT FROM transfers WHERE kind = 'consolidation' AND state = 'final'")
        moved = [one for one in await world.payments() if one.contract == world.token and one.sender == wallet.address]
        assert [(one.receiver, one.amount) for one in moved] == [(pinned, 250 * USDT)]

    async def test_another_network_under_a_known_name_is_not_signed_for(self, victim: Victim) -> None:
        write_policy(victim.home, policy(Family.EVM, "56", victim.world.token))
        await wallets(victim.world, 2, needs_gas=True, needs_consolidation=False)
        await victim.start("gas-topup")
        await victim.until(
            "SELECT FROM worker_registry WHERE position(%s IN last_error) > 0", "chain bsc is network evm 31337"
        )
        assert await victim.lost() == 0


async def _coins(world: EvmWorld, wallet: Wallet) -> int:
    return int(await world.network.node.call("eth_getBalance", wallet.address, "latest"), 16)


async def _holds(world: EvmWorld, token: Asset, wallet: Wallet, raw: int) -> None:
    data = "0x70a08231" + wallet.address[2:].rjust(64, "0")
    held = await world.network.node.call("eth_call", {"to": token.contract, "data": data}, "latest")
    assert int(held, 16) == raw
