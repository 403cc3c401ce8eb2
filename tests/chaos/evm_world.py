"""The same world over a real EVM node: anvil behind a proxy that misbehaves on request.

The judge is the node itself, read past every proxy: ``payments`` is everything that left an address of ours.
"""

import itertools
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from pipeline.chains.evm.codec.transaction import EvmTransfer, GasPrice, digest, encode, join
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.evm.rpc.fees import FeePolicy
from pipeline.chains.rpc.http import Clock, NodeConfig
from pipeline.chains.values import Asset, Family
from pipeline.config import QueueConfig
from pipeline.curve.keccak import keccak256
from pipeline.db.pool import Connection, Pool
from pipeline.devnet.client import DevnetTransfer
from pipeline.keys.derivation import GAS_INDEX, TREASURY_INDEX
from pipeline.local.anvil_proxy import SEND
from pipeline.payments.discipline.discipline import discipline_of
from pipeline.payments.reconcile.store import ReconciliationStore
from pipeline.payments.send.sender import Sender
from pipeline.payments.send.store import TransferStore
from pipeline.payments.settle.numbered import Numbering
from pipeline.payments.settle.settlement import Settlement
from pipeline.payments.settle.store import SettlementStore
from pipeline.payments.store import PaymentStore
from pipeline.queue.queue import JobQueue
from pipeline.signing.keyring import Keyring
from pipeline.signing.local import LocalSigner
from pipeline.signing.policy import NetworkPolicy
from tests.chains.evm.conftest import CONTRACTS
from tests.chains.provider.evm_network import CHAIN_ID, TRANSFER_TOPIC, EvmNetwork
from tests.chaos.world import MNEMONIC, TOKEN, Desk, Interposed, World
from tests.policy import ledger_of, policy, rules
from tests.seed import USDT, Wallet, any_clock

WEI_PER_COIN = 10**18
FINNEY = 10**15
"""A thousandth of a coin."""
GAS_FUNDS = 10 * WEI_PER_COIN
FEES = {"cap": 1_000_000}
"""Wei for a unit of gas. The base fee is 7."""


@dataclass(frozen=True, slots=True)
class EvmRules:
    """Columns of ``chains`` that a test changes."""

    gas_policy: str = "threshold"
    gas_cooldown: timedelta = timedelta(0)
    block_time: timedelta = timedelta(seconds=1)
    replace_after_blocks: int = 3
    fees: dict[str, Any] = field(default_factory=lambda: dict(FEES))


class EvmWorld(World):
    """One chain ``bsc`` with BNB and USDT."""

    network: EvmNetwork
    outsiders: set[str]
    """Transactions that somebody else signed with our keys."""

    @classmethod
    async def found(cls, connection: Connection, network: EvmNetwork, rules: EvmRules | None = None) -> "EvmWorld":
        """Fund the gas wallet and describe the chain in the database."""
        rules = rules or EvmRules()
        signer = Keyring(MNEMONIC)
        gas = signer.address(Family.EVM, GAS_INDEX)
        treasury = signer.address(Family.EVM, TREASURY_INDEX)
        await network.fund(gas, GAS_FUNDS)
        await network.finalize()
        token = network.token.contract or ""
        chain_id, native_id, token_id = await _describe(connection, rules, network.url, token)
        world = cls(connection, None, chain_id, native_id, token_id, str(CHAIN_ID), token, gas, treasury)  # type: ignore[arg-type]
        world.network, world.further = network, []
        world.outsiders = set()
        return world

    def policy(self, *tokens: str) -> NetworkPolicy:
        """What those who pay may sign."""
        return policy(Family.EVM, str(CHAIN_ID), self.token, *self.further, *tokens)

    async def wallet(self, *, usdt: int = 0, trx: int = 0) -> Wallet:
        """One more wallet of ours, with deposits on the chain (they need blocks to count). ``trx`` is wei."""
        index = next(self._indices)
        address = Keyring(MNEMONIC).address(Family.EVM, index)
        row = await self.row(
            "INSERT INTO wallets (chain_id, address, derivation_index) VALUES (%s, %s, %s) RETURNING id",
            *(self.chain_id, address, index),
        )
        wallet = Wallet(row["id"], address, index)
        await self.network.fund(address, trx, usdt)
        self.wallets.append(wallet)
        return wallet

    async def add_token(
        self, name: str, *, decimals: int = 18, arguments: str = "", flag_above: int = 200, execute_min: int = 100
    ) -> tuple[int, Asset]:
        """One of contracts/Tokens.sol as an asset of the chain; thresholds in raw units."""
        deployed = await self.network.node.deploy(CONTRACTS / f"{name}.json", arguments)
        contract = self.network.provider().codec.validate_address(deployed)
        row = await self.row(TOKEN, self.chain_id, name, contract, decimals, flag_above, execute_min)
        return row["id"], Asset(name, decimals, contract)

    async def hold_more(self, wallet: Wallet, *amounts: int) -> None:
        await self.network.fund(wallet.address, WEI_PER_COIN)
        tokens = {"SilentToken": "", "PlainToken": f"{6:064x}"}
        for (name, arguments), amount in zip(tokens.items(), amounts, strict=False):
            _, asset = await self.add_token(
                name, decimals=6, arguments=arguments, flag_above=200 * USDT, execute_min=100 * USDT
            )
            await self.mint(asset, wallet, amount)
            self.further.append(asset.contract or "")

    async def mint(self, asset: Asset, wallet: Wallet, raw: int) -> None:
        await self.call(asset, "mint(address,uint256)", int(wallet.address, 16), raw)

    async def call(self, asset: Asset, signature: str, *words: int) -> None:
        """Call a token as its deployer; needs a block."""
        selector = keccak256(signature.encode()).hex()[:8]
        data = "0x" + selector + "".join(f"{word:064x}" for word in words)
        await self.network.node.send(self.network.node.accounts[0], asset.contract, data=data)

    async def send_unrecorded(
        self,
        nonce: int,
        receiver: str,
        amount: int,
        *,
        index: int = GAS_INDEX,
        contract: str | None = None,
        fee: int = 0,
    ) -> str:
        """A transaction signed with a key of ours, into the pool, that no book knows; its txid. ``fee`` in wei for a
        unit of gas; 0: one that wins."""
        fees = GasPrice(fee, 1) if fee else GasPrice(50_000_000, 40_000_000)
        raw = encode(
            EvmTransfer(CHAIN_ID, nonce, receiver, amount, contract, 21_000 if contract is None else 100_000, fees)
        )
        signed = join(raw, Keyring(MNEMONIC).sign(Family.EVM, index, digest(raw)))
        return str(await self.network.node.call(SEND, "0x" + signed.hex()))

    async def lose_commits(self) -> None:
        """The database has lost all that it knew of payments, as one that took over without the last commits, or was
        restored: jobs wait again, and how far blocks were read is forgotten, too."""
        await self.connection.execute(
            "SET session_replication_role = replica; DELETE FROM chain_transactions; DELETE FROM nonces;"
            "DELETE FROM signing_requests;"
            "DELETE FROM senders; DELETE FROM transfers; DELETE FROM bundles;"
            "DELETE FROM gas_spending; DELETE FROM chain_cursors;"
            "UPDATE job_logs SET status = 'retrying', queued = true, awaiting_chain = false, leased_by = NULL, "
            "completed_at = NULL, run_at = now() WHERE status IN ('active', 'completed');"
            "SET session_replication_role = origin"
        )

    async def payments(self) -> list[DevnetTransfer]:
        """Everything that left an address of ours, in the order of the chain."""
        node, ours = self.network.node, {self.gas_address, *(wallet.address for wallet in self.wallets)}
        canonical = self.network.provider(node.url).codec.validate_address
        found: list[DevnetTransfer] = []
        for number in range(1, await node.height() + 1):
            block = await node.call("eth_getBlockByNumber", hex(number), True)
            for one in block["transactions"]:
                if int(one["value"], 16) and one["to"]:
                    receipt = await node.call("eth_getTransactionReceipt", one["hash"])
                    if int(receipt["status"], 16):
                        parties = canonical(one["from"]), canonical(one["to"])
                        found.append(DevnetTransfer(one["hash"], number, 0, None, *parties, int(one["value"], 16)))
        logs = await node.call("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "topics": [TRANSFER_TOPIC]})
        for log in logs:
            parties = tuple(canonical("0x" + topic[-40:]) for topic in log["topics"][1:])
            number = int(log["blockNumber"], 16)
            raw = int(log["data"], 16)
            found.append(DevnetTransfer(log["transactionHash"], number, 0, canonical(log["address"]), *parties, raw))
        return [one for one in found if one.sender in ours and one.txid not in self.outsiders]

    async def paid_gas(self) -> list[DevnetTransfer]:
        """Top-ups: what left the gas wallet and not to itself."""
        return [one for one in await self.payments() if one.sender == self.gas_address != one.receiver]

    async def gaps(self) -> list[DevnetTransfer]:
        return [one for one in await self.payments() if one.sender == one.receiver]

    async def swept(self) -> list[DevnetTransfer]:
        return [one for one in await self.payments() if one.receiver == self.treasury and one.contract is not None]

    async def assert_database_equals_chain(self) -> None:
        """Also gaps: all that left an address of ours is in the records, and nothing is there twice."""
        recorded = Counter(
            (row["txid"], row["to_address"], int(row["amount"]))
            for row in await self.rows(
                "SELECT a.txid, t.to_address, t.amount FROM transfers t "
                "JOIN chain_transactions a ON a.bundle_id = t.bundle_id AND a.state = 'final' WHERE t.state = 'final'"
            )
        )
        happened = Counter((one.txid, one.receiver, one.amount) for one in await self.payments())
        assert recorded == happened
        assert all(count == 1 for count in happened.values())

    async def nonces(self) -> list[tuple[int, str]]:
        """Of the gas wallet."""
        rows = await self.rows("SELECT nonce, state FROM nonces WHERE sender = %s ORDER BY nonce", self.gas_address)
        return [(row["nonce"], row["state"]) for row in rows]

    async def price(self, wei: int) -> None:
        """The base fee of the next block."""
        await self.network.node.call("anvil_setNextBlockBaseFeePerGas", hex(wei))
        await self.network.mine()
        await self.network.node.call("anvil_setNextBlockBaseFeePerGas", hex(wei))


async def _describe(connection: Connection, rules: EvmRules, url: str, token: str) -> tuple[int, UUID, UUID]:
    async def one(query: str, *parameters: Any) -> Any:
        row = await (await connection.execute(query, parameters)).fetchone()  # type: ignore[arg-type]
        assert row is not None
        return row[0]

    chain = await one(
        """
        INSERT INTO chains (name, family, network_id, nodes, gas_policy, gas_flag_below, gas_execute_below, gas_amount,
                            fee_reserve, gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day, gas_cooldown,
                            block_time, replace_after_blocks, fees)
        VALUES ('bsc', 'evm', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
        """,
        *(str(CHAIN_ID), Jsonb([{"url": url}]), rules.gas_policy),
        *(FINNEY, FINNEY // 5, FINNEY, 0),
        *(10 * FINNEY, 100 * FINNEY, 5 * WEI_PER_COIN),
        *(rules.gas_cooldown, rules.block_time, rules.replace_after_blocks, Jsonb(rules.fees)),
    )
    await any_clock(connection)
    native = await one(
        "INSERT INTO asset_on_chain (chain_id, symbol, decimals) VALUES (%s, 'BNB', 18) RETURNING id", chain
    )
    usdt = await one(
        """
        INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals,
                                    consolidate_flag_above, consolidate_execute_min)
        VALUES (%s, 'USDT', %s, 6, %s, %s) RETURNING id
        """,
        *(chain, token, 200 * USDT, 100 * USDT),
    )
    return chain, native, usdt


class EvmDesk(Desk):
    """The money room for ``bsc`` in this process, step by step. Time jumps, so that no price is kept."""

    world: EvmWorld

    def __init__(
        self,
        world: EvmWorld,
        pool: Pool,
        confirming: Pool,
        *,
        assets: list[Asset] | None = None,
        clock: Clock | None = None,
        url: str | None = None,
    ) -> None:
        self.world = world
        self.pool = pool
        jumps = itertools.count(step=3)
        self.real_provider = EvmProvider(  # type: ignore[assignment]
            "bsc",
            CHAIN_ID,
            [NodeConfig(url or world.network.url)],
            [Asset("BNB", 18), Asset("USDT", 6, world.token), *(assets or ())],
            fee_policy=FeePolicy.parse(FEES),
            patience=1.0,
            clock=clock or Clock(lambda: float(next(jumps))),
        )
        self.provider = Interposed(self.real_provider)
        self.store = TransferStore(pool)
        self.confirming = confirming
        self.settlements = SettlementStore(confirming)
        self.payment_store = PaymentStore(confirming)
        ledger, self.remove_ledger = ledger_of(self)
        tokens = (asset.contract for asset in assets or () if asset.contract is not None)
        may_sign = rules(world.policy(*tokens), ledger)
        self.signer = LocalSigner(Keyring(MNEMONIC), may_sign)
        discipline = discipline_of(self.provider)  # type: ignore[arg-type]
        self.sender = Sender(self.store, self.provider, self.signer, may_sign, discipline)  # type: ignore[arg-type]
        self.settlement = self.new_settlement()
        self.queue = JobQueue(pool, uuid4(), config=QueueConfig(quiet_seconds=0))

    def new_settlement(self) -> Settlement:
        numbering = Numbering(self.provider, ReconciliationStore(self.confirming), 3)  # type: ignore[arg-type]
        return Settlement(self.world.chain_id, self.settlements, self.payment_store, self.provider, 1.0, numbering)  # type: ignore[arg-type]

    async def settle(self) -> None:
        """Make everything that is pending final, and book it."""
        await self.world.network.finalize()
        await self.settlement.round()

    async def pass_blocks(self, count: int) -> None:
        """Blocks, each looked at by the confirmation worker."""
        for _ in range(count):
            await self.world.network.mine()
            await self.settlement.round()
