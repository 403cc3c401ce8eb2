"""A whole world for tests of the money room: database, simulated network, our wallets, and the records of both sides.

The judge is always the chain: ``payments`` reads the audit of the simulated network, never the database.
"""

import inspect
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg import AsyncConnection, OperationalError
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeline.chains.kinds import Kind
from pipeline.chains.provider import Capabilities, Provider
from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.tron.provider import TronProvider
from pipeline.chains.values import Asset, Family
from pipeline.config import QueueConfig
from pipeline.db.pool import Connection, Pool
from pipeline.devnet.client import DevnetClient, DevnetTransfer
from pipeline.keys.derivation import GAS_INDEX, TREASURY_INDEX
from pipeline.payments.discipline.discipline import discipline_of
from pipeline.payments.send.consolidations import Consolidations
from pipeline.payments.send.gas_topups import GasTopups
from pipeline.payments.send.handler import PayingHandler
from pipeline.payments.send.replacement_store import ReplacementStore
from pipeline.payments.send.replacements import Replacements
from pipeline.payments.send.sender import Sender
from pipeline.payments.send.store import TransferStore
from pipeline.payments.settle.settlement import Settlement
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.store import PaymentStore
from pipeline.queue.jobs import Job, JobType, Outcome
from pipeline.queue.queue import JobQueue
from pipeline.signing.keyring import Keyring
from pipeline.signing.local import LocalSigner
from pipeline.signing.policy import NetworkPolicy
from pipeline.signing.rules import SigningRules
from tests.policy import ledger_of, policy, rules
from tests.seed import TRX, USDT, Wallet

MNEMONIC = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
"""The mnemonic of the test vectors; its keys are everybody's."""
GAS_FUNDS = 10_000 * TRX
LIFETIME_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Rules:
    """Columns of ``chains`` that a test changes."""

    gas_policy: str = "threshold"
    gas_cooldown: timedelta = timedelta(0)
    block_time: timedelta = timedelta(seconds=3)
    lifetime: timedelta = timedelta(seconds=LIFETIME_SECONDS)


TOKEN = """
INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals,
                            consolidate_flag_above, consolidate_execute_min)
VALUES (%s, %s, %s, %s, %s, %s) RETURNING id
"""


@dataclass(slots=True)
class World:
    """One chain ``tron`` with TRX and USDT, on a devnet and in a database."""

    connection: Connection
    devnet: DevnetClient
    chain_id: int
    native_id: UUID
    token_id: UUID
    genesis: str
    token: str
    gas_address: str
    treasury: str
    wallets: list[Wallet] = field(default_factory=list)
    further: list[str] = field(default_factory=list)
    """Contracts of tokens beside USDT."""
    _indices: Any = field(default_factory=lambda: itertools.count(10))

    @classmethod
    async def create(cls, connection: Connection, devnet: DevnetClient, rules: Rules | None = None) -> "World":
        """Deploy the token, fund the gas wallet and describe the chain in the database."""
        rules = rules or Rules()
        signer = Keyring(MNEMONIC)
        gas = signer.address(Family.TRON, GAS_INDEX)
        treasury = signer.address(Family.TRON, TREASURY_INDEX)
        token, _ = await devnet.deploy_token()
        await devnet.faucet(gas, GAS_FUNDS)
        status = await devnet.status()
        chain_id, native_id, token_id = await _describe(connection, rules, status.genesis_id, devnet.url, token)
        return cls(connection, devnet, chain_id, native_id, token_id, status.genesis_id, token, gas, treasury)

    def policy(self, *tokens: str) -> NetworkPolicy:
        """What those who pay may sign."""
        return policy(Family.TRON, self.genesis, self.token, *self.further, *tokens)

    async def wallet(self, *, usdt: int = 0, trx: int = 0) -> Wallet:
        """One more wallet of ours, with deposits on the chain (they need blocks to count)."""
        index = next(self._indices)
        address = Keyring(MNEMONIC).address(Family.TRON, index)
        cursor = await self.connection.execute(
            "INSERT INTO wallets (chain_id, address, derivation_index) VALUES (%s, %s, %s) RETURNING id",
            [self.chain_id, address, index],
        )
        wallet = Wallet((await cursor.fetchone() or (0,))[0], address, index)
        if usdt:
            await self.devnet.send_token(self.token, address, usdt)
        if trx:
            await self.devnet.faucet(address, trx)
        self.wallets.append(wallet)
        return wallet

    async def hold_more(self, wallet: Wallet, *amounts: int) -> None:
        """A token beside USDT for each amount, raw units, and the coins to move them (they need blocks to count)."""
        await self.devnet.faucet(wallet.address, 500 * TRX)
        for place, amount in enumerate(amounts):
            contract, _ = await self.devnet.deploy_token(f"USD{place}")
            await self.devnet.mint(contract, wallet.address, amount)
            await self.rows(TOKEN, self.chain_id, f"USD{place}", contract, 6, 200 * USDT, 100 * USDT)
            self.further.append(contract)

    async def flag(self, wallet: Wallet, *, gas: bool = False, consolidation: bool = False) -> None:
        """As an operator would at psql."""
        await self.connection.execute(
            "UPDATE wallets SET needs_gas = %s, needs_consolidation = %s WHERE id = %s", [gas, consolidation, wallet.id]
        )

    async def row(self, query: str, *parameters: Any) -> dict[str, Any]:
        """The one row of a question to the database."""
        rows = await self.rows(query, *parameters)
        assert len(rows) == 1, f"{len(rows)} rows instead of one for {query}"
        return rows[0]

    async def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """All rows of a question; a connection that broke (the server was restarted) is opened again."""
        try:
            return await self._rows(query, parameters)
        except OperationalError:
            if not self.connection.closed:
                raise
            self.connection = await AsyncConnection.connect(self.connection.info.dsn, autocommit=True)
            return await self._rows(query, parameters)

    async def _rows(self, query: str, parameters: Sequence[Any]) -> list[dict[str, Any]]:
        async with self.connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, parameters)  # type: ignore[arg-type]
            return await cursor.fetchall()

    async def transfers(self) -> list[dict[str, Any]]:
        """All payments in the database, oldest first."""
        return await self.rows("SELECT * FROM transfers ORDER BY id")

    async def attempts(self) -> list[dict[str, Any]]:
        """All signed transactions in the database, oldest first."""
        return await self.rows("SELECT * FROM chain_transactions ORDER BY id")

    async def jobs(self) -> list[dict[str, Any]]:
        """All jobs that move money, oldest first."""
        return await self.rows("SELECT * FROM job_logs WHERE job_type <> 'sync' ORDER BY seq")

    async def paid_gas(self) -> list[DevnetTransfer]:
        """What left the gas wallet, by the chain's own word."""
        return [one for one in await self.devnet.audit() if one.sender == self.gas_address]

    async def swept(self) -> list[DevnetTransfer]:
        """What reached the treasury, by the chain's own word."""
        moved = {self.token, *self.further}
        return [one for one in await self.devnet.audit() if one.receiver == self.treasury and one.contract in moved]

    async def assert_database_equals_chain(self) -> None:
        """Every final payment that is recorded is on the chain exactly once with its txid, receiver and amount, and
        nothing else of ours is there."""
        recorded = Counter(
            (row["txid"], row["to_address"], int(row["amount"]))
            for row in await self.rows(
                "SELECT a.txid, t.to_address, t.amount FROM transfers t "
                "JOIN chain_transactions a ON a.bundle_id = t.bundle_id AND a.state = 'final' WHERE t.state = 'final'"
            )
        )
        happened = Counter(
            (one.txid, one.receiver, one.amount) for one in [*await self.paid_gas(), *await self.swept()]
        )
        assert recorded == happened
        assert all(count == 1 for count in happened.values())


async def _describe(connection: Connection, rules: Rules, genesis: str, url: str, token: str) -> tuple[int, UUID, UUID]:
    async def one(query: str, *parameters: Any) -> Any:
        row = await (await connection.execute(query, parameters)).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row[0]

    chain = await one(
        """
        INSERT INTO chains (name, family, network_id, nodes, gas_policy, gas_flag_below, gas_execute_below, gas_amount,
                            fee_reserve, gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, gas_cooldown,
                            block_time, transaction_lifetime, clock_ahead)
        VALUES ('tron', 'tron', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '10 years') RETURNING id
        """,
        genesis,
        Jsonb([{"url": url}]),
        rules.gas_policy,
        5 * TRX,
        TRX,
        5 * TRX,
        TRX,
        50 * TRX,
        500 * TRX,
        5_000 * TRX,
        rules.gas_cooldown,
        rules.block_time,
        rules.lifetime,
    )
    native = await one(
        "INSERT INTO asset_on_chain (chain_id, symbol, decimals) VALUES (%s, 'TRX', 6) RETURNING id", chain
    )
    usdt = await one(
        """
        INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals,
                                    consolidate_flag_above, consolidate_execute_min)
        VALUES (%s, 'USDT', %s, 6, %s, %s) RETURNING id
        """,
        chain,
        token,
        200 * USDT,
        100 * USDT,
    )
    return chain, native, usdt


class Interposed:
    """A provider with something happening right before or after one of its calls."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._hooks: dict[tuple[str, str], Callable[..., Awaitable[Any]]] = {}

    def before(self, method: str, hook: Callable[[], Awaitable[Any]]) -> None:
        """Await ``hook`` once, before the next call of ``method``."""
        self._hooks["before", method] = hook

    def after(self, method: str, hook: Callable[[Any], Awaitable[Any]]) -> None:
        """Give the next result of ``method`` to ``hook`` and return what it makes of it."""
        self._hooks["after", method] = hook

    @property
    def capabilities(self) -> Capabilities:
        """The provider's, reached through this one."""
        mine: Any = self
        found = self._provider.capabilities
        names = [one.name for one in fields(Capabilities)]
        return Capabilities(**{name: mine for name in names if getattr(found, name) is not None})

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._provider, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            if hook := self._hooks.pop(("before", name), None):
                await hook()
            result = await found(*args, **kwargs)
            if hook := self._hooks.pop(("after", name), None):
                return await hook(result)
            return result

        return call


class Desk:
    """The money room in this process, driven step by step: what the workers do, without their loops."""

    def __init__(
        self,
        world: World,
        pool: Pool,
        confirming: Pool,
        *,
        mnemonic: str = MNEMONIC,
        treasury: str | None = None,
        tokens: Sequence[str] = (),
    ) -> None:
        """``confirming`` has the role of the confirmation worker, ``pool`` that of who pays; ``tokens`` may be signed
        for beside USDT."""
        self.world = world
        self.pool = pool
        assets = [Asset("TRX", 6), Asset("USDT", 6, world.token)]
        self.real_provider = TronProvider(
            "tron", world.genesis, [NodeConfig(world.devnet.url)], assets, patience=1.0, shared_seconds=0.0
        )
        self.provider = Interposed(self.real_provider)
        self.store = TransferStore(pool)
        self.settlements = SettlementStore(confirming)
        self.payment_store = PaymentStore(confirming)
        ledger, self.remove_ledger = ledger_of(self)
        may_sign = rules(replace(world.policy(*tokens), treasury=treasury), ledger)
        self.signer = LocalSigner(Keyring(mnemonic), may_sign)
        discipline = discipline_of(self.provider)  # type: ignore[arg-type]
        self.sender = Sender(self.store, self.provider, self.signer, may_sign, discipline)  # type: ignore[arg-type]
        self.settlement = self.new_settlement()
        self.queue = JobQueue(pool, uuid4(), config=QueueConfig(quiet_seconds=0))

    def new_settlement(self) -> Settlement:
        """A confirmation worker that has seen nothing yet."""
        return Settlement(self.world.chain_id, self.settlements, self.payment_store, self.provider, 3.0)  # type: ignore[arg-type]

    def may_sign(self, rules: SigningRules) -> None:
        """The policy of this host changes."""
        self.signer.rules = self.sender.rules = rules

    def replacements(self, kind: Kind = Kind.GAS) -> Replacements:
        """What a process with the keys does beside its jobs."""
        return Replacements(self.world.chain_id, kind, ReplacementStore(self.pool), self.sender)

    def handler(self, job_type: JobType) -> PayingHandler:
        made = GasTopups if job_type is JobType.GAS_TOPUP else Consolidations
        return made({self.world.chain_id: self.sender})

    async def run(self, job_type: JobType, jobs: Sequence[Job] | None = None) -> list[tuple[Job, Outcome]]:
        """Claim what is due and flagged, run it, and write the outcomes."""
        claimed = await self.queue.enqueue_and_claim(job_type, 100) if jobs is None else jobs
        outcomes = [pair async for pair in self.handler(job_type).handle(claimed)] if claimed else []
        await self.queue.finish(outcomes)
        return outcomes

    async def settle(self) -> None:
        """Make everything that is pending solid, and book it."""
        await self.world.devnet.solidify()
        await self.settlement.round()

    async def close(self) -> None:
        await self.provider.close()
        self.remove_ledger()
