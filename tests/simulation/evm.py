"""A strict EVM chain in memory, with nodes that speak JSON-RPC.

Strict about what payments hang on: nonces (one line a sender, gaps wait, the same number replaces only for 10 % more),
balances, the base fee, receipts, finality, forks. A token is a table and no byte code: what contracts do is tried on
anvil (tests/chains/evm).
"""

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from psycopg.types.json import Jsonb

from pipeline.chains.evm.codec import transaction
from pipeline.chains.values import Asset
from tests.simulation.clock import Clock
from tests.simulation.evm_chain import (
    CHAIN_ID,
    FINAL_LAG,
    PLAIN_GAS,
    TOKEN,
    TOKEN_GAS,
    Block,
    Pooled,
    Receipt,
    Refused,
    State,
)
from tests.simulation.evm_rpc import METHODS, bytes_of, error, hash_of
from tests.simulation.network import Moved, OnChain

WEI_PER_COIN = 10**18
FINNEY = 10**15
CHEAP = 7
"""Wei for a unit of gas."""
CAP = 1_000_000
PRICES = (CHEAP, 60_000, 400_000, 700_000, 1_100_000)
"""First offers end at the cap, replacements at twice that."""
BUMP_PERCENT = 10


@dataclass
class Node:
    """One view of the chain."""

    lag: int = 0
    down: bool = False
    stale: list[Block] | None = None


class EvmNetwork:
    """Implements ``network.Network``."""

    family = "evm"
    name = "bsc"
    block_seconds = 1.0
    coin = Asset("BNB", 18)
    token = Asset("USDT", 6, TOKEN)
    network_id = str(CHAIN_ID)
    gas_funds = 50 * WEI_PER_COIN
    urls = ("http://main", "http://spare")

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self.room = 100
        """Transactions a block takes."""
        self.blocks: list[Block] = []
        self.pool: dict[tuple[str, int], Pooled] = {}
        self.base_fee = CHEAP
        self._clock = clock
        self._dice = dice
        self._ahead = 0.0
        self._nodes = {url: Node() for url in self.urls}
        self._gifts: list[tuple[str | None, str, int]] = []
        self._append((), State({}, {}, {}), CHEAP)

    # -- nodes

    def is_down(self, url: str) -> bool:
        return self._node(url).down

    def is_sending(self, url: str, body: Any) -> bool:
        return isinstance(body, dict) and body["method"] == "eth_sendRawTransaction"

    def answer(self, url: str, body: Any) -> Any:
        if isinstance(body, list):
            return [self.answer(url, one) for one in body]
        said = {"jsonrpc": "2.0", "id": body["id"]}
        try:
            return said | {"result": METHODS[body["method"]](self, self._view(url), *body["params"])}
        except Refused as error:
            return said | {"error": {"code": error.code, "message": str(error)}}

    def falsified(self, url: str, body: Any, answer: Any, dice: int) -> Any:
        if self.is_sending(url, body):
            if dice % 3 == 0:
                return answer | {"result": hash_of(str(dice).encode())}
            words = (
                "nonce too low",
                "already known",
                "replacement transaction underpriced",
                "insufficient funds",
                "timeout",
            )
            return error(body, words[dice % len(words)])
        return error(body, "internal error")

    def swallowed(self, url: str, body: Any) -> Any:
        return {"jsonrpc": "2.0", "id": body["id"], "result": transaction.txid(bytes_of(body["params"][0]))}

    def busy(self, url: str, body: Any) -> Any:
        return error(body, "too many requests", -32005)

    def disturb(self, what: str, dice: int) -> None:
        node = self._nodes[self.urls[dice % len(self.urls)]]
        match what:
            case "down":
                node.down = True
            case "stale":
                node.stale = list(self.blocks)
            case "behind":
                node.lag = 1 + dice % 4

    def mend(self) -> None:
        for url in self.urls:
            self._nodes[url] = Node()
        self.base_fee, self.room = CHEAP, 100

    def price(self, dice: int) -> None:
        self.base_fee = PRICES[dice % len(PRICES)]
        self.room = (100, 1, 2)[dice % 3]

    # -- blocks

    @property
    def head(self) -> Block:
        return self.blocks[-1]

    def produce(self) -> None:
        state = self.head.state.copy()
        receipts: list[Receipt] = []
        gifts, self._gifts = self._gifts, []
        for contract, receiver, amount in gifts:
            held = state.coins if contract is None else state.tokens
            held[receiver] = held.get(receiver, 0) + amount
        while len(receipts) < self.room:
            ready = [
                one
                for (sender, nonce), one in self.pool.items()
                if nonce == state.nonces.get(sender, 0)
                and one.max_fee >= self.base_fee
                and state.coins.get(sender, 0) >= one.value + one.gas_limit * one.max_fee
            ]
            if not ready:
                break
            chosen = max(ready, key=lambda one: (one.tip, one.txid))
            receipts.append(self._carry_out(chosen, state))
            del self.pool[chosen.sender, chosen.transfer.nonce]
        self._append(tuple(receipts), state, self.base_fee, tuple(gifts))
        self.pool = {place: one for place, one in self.pool.items() if place[1] >= state.nonces.get(place[0], 0)}

    def settle(self) -> None:
        for _ in range(FINAL_LAG + 1):
            self.produce()

    def fork(self, dice: int) -> int:
        depth = 1 + dice % FINAL_LAG
        if self.head.number - depth < 1:
            return 0
        replaced = self.blocks[-depth:]
        del self.blocks[-depth:]
        back = [receipt.pooled for block in replaced for receipt in block.receipts]
        if dice % 3:
            for one in back:
                self.pool.setdefault((one.sender, one.transfer.nonce), one)
        for block in replaced:
            self._gifts += block.gifts
            state = self.head.state.copy()
            self._append((), state, self.base_fee, timestamp=block.timestamp)
        return len(back)

    def lose_pending(self) -> int:
        lost = len(self.pool)
        self.pool.clear()
        return lost

    def jump(self, seconds: float) -> None:
        self._ahead += min(seconds, 10.0)

    # -- money

    def fund(self, address: str, amount: int) -> None:
        self._gifts.append((None, address, amount))

    def deposit(self, address: str, amount: int) -> None:
        self._gifts.append((TOKEN, address, amount))

    def balance(self, address: str, contract: str | None) -> int:
        state = self.head.state
        return (state.coins if contract is None else state.tokens).get(address, 0)

    def moved(self, final: bool = False) -> list[Moved]:
        last = self.head.number - FINAL_LAG if final else self.head.number
        return [
            Moved(one.txid, block.number, one.transfer.contract, one.sender, one.transfer.receiver, one.transfer.amount)
            for block in self.blocks[: last + 1]
            for receipt in block.receipts
            if receipt.success and (one := receipt.pooled)
        ]

    def sent_by(self, senders: set[str]) -> list[OnChain]:
        return [
            OnChain(one.pooled.txid, block.number, one.pooled.sender, one.success, one.gas_used * one.price)
            for block in self.blocks
            for one in block.receipts
            if one.pooled.sender in senders
        ]

    def rows(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "family": self.family,
            "network_id": self.network_id,
            "nodes": Jsonb([{"url": url} for url in self.urls]),
            "gas_flag_below": FINNEY,
            "gas_execute_below": FINNEY // 5,
            "gas_amount": FINNEY,
            "fee_reserve": 0,
            "gas_max_per_topup": 10 * FINNEY,
            "gas_max_per_wallet_day": 1000 * FINNEY,
            "gas_max_per_day": 50 * WEI_PER_COIN,
            "block_time": timedelta(seconds=self.block_seconds),
            "clock_ahead": timedelta(days=1),
            "replace_after_blocks": 3,
            "fees": Jsonb({"cap": CAP}),
        }

    # -- one transaction

    def admit(self, raw: bytes) -> str:
        """Into the pool, as geth would. Raises Refused."""
        try:
            unsigned, signature = transaction.split(raw)
            one = Pooled(transaction.txid(raw), transaction.recover(unsigned, signature), transaction.decode(unsigned))
        except Exception as error:
            raise Refused(-32000, f"failed to decode: {error}") from error
        if one.transfer.chain_id != CHAIN_ID:
            raise Refused(-32000, "invalid chain id for signer")
        state, nonce = self.head.state, one.transfer.nonce
        if nonce < state.nonces.get(one.sender, 0):
            raise Refused(-32000, f"nonce too low: next nonce {state.nonces.get(one.sender, 0)}, tx nonce {nonce}")
        if one.gas_limit < PLAIN_GAS:
            raise Refused(-32000, "intrinsic gas too low")
        if one.tip > one.max_fee:
            raise Refused(-32000, "max priority fee per gas higher than max fee per gas")
        before = self.pool.get((one.sender, nonce))
        if before is not None:
            if before.txid == one.txid:
                raise Refused(-32000, "already known")
            if any(
                100 * now < (100 + BUMP_PERCENT) * was
                for now, was in ((one.max_fee, before.max_fee), (one.tip, before.tip))
            ):
                raise Refused(-32000, "replacement transaction underpriced")
        if state.coins.get(one.sender, 0) < one.value + one.gas_limit * one.max_fee:
            raise Refused(-32000, "insufficient funds for gas * price + value")
        self.pool[one.sender, nonce] = one
        return one.txid

    def _carry_out(self, one: Pooled, state: State) -> Receipt:
        price = min(one.max_fee, self.base_fee + one.tip)
        transfer, sender = one.transfer, one.sender
        state.nonces[sender] = transfer.nonce + 1
        used = PLAIN_GAS if transfer.contract is None else TOKEN_GAS
        success = used <= one.gas_limit
        if transfer.contract is not None:
            success = success and transfer.contract == TOKEN and state.tokens.get(sender, 0) >= transfer.amount
        used = min(used, one.gas_limit)
        state.coins[sender] -= used * price
        if success:
            held = state.coins if transfer.contract is None else state.tokens
            held[sender] -= transfer.amount
            held[transfer.receiver] = held.get(transfer.receiver, 0) + transfer.amount
        return Receipt(one, success, used, price)

    def _append(
        self,
        receipts: tuple[Receipt, ...],
        state: State,
        base_fee: int,
        gifts: tuple[tuple[str | None, str, int], ...] = (),
        timestamp: int = 0,
    ) -> None:
        number = len(self.blocks)
        parent = self.blocks[-1].id if self.blocks else "0x" + "00" * 32
        now = int(self._clock.wall().timestamp() + self._ahead)
        moment = timestamp or max(now, self.blocks[-1].timestamp + 1 if self.blocks else now)
        identity = hash_of(b"%d %d %s" % (number, moment, parent.encode()) + self._dice.randbytes(8))
        self.blocks.append(Block(number, identity, parent, moment, base_fee, receipts, state, gifts))

    def _node(self, url: str) -> Node:
        return next(node for known, node in self._nodes.items() if url.startswith(known))

    def _view(self, url: str) -> list[Block]:
        """The blocks that a node has."""
        node = self._node(url)
        blocks = self.blocks if node.stale is None else node.stale
        return blocks[: len(blocks) - node.lag] if node.lag < len(blocks) else blocks[:1]
