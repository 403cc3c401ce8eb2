"""The simulated TRON network without its HTTP: ``pipeline.devnet`` on the run's clock."""

import json
import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from unittest import mock

from psycopg.types.json import Jsonb

from pipeline.chains.values import Asset
from pipeline.devnet import audit, chain
from pipeline.devnet.chain import Chain, ChainOptions
from pipeline.devnet.encoding import address_of, base58_address, keccak256, parse_address
from pipeline.devnet.node_http import answer
from pipeline.devnet.nodes import DevnetNode
from pipeline.devnet.spoil import with_false_txids
from pipeline.devnet.tokens import ENDOWMENT, Faucet, faucet_key
from pipeline.devnet.transactions import Code, WireTransaction
from tests.seed import TRX
from tests.simulation.clock import Clock
from tests.simulation.network import Moved, OnChain

NAME = "simulation"
LIFETIME = timedelta(seconds=60)
SOLID_LAG = 2
SUPPLY = 10**15
REFUSALS = (
    Code.SIGERROR,
    Code.CONTRACT_VALIDATE_ERROR,
    Code.DUP_TRANSACTION_ERROR,
    Code.TAPOS_ERROR,
    Code.TRANSACTION_EXPIRATION_ERROR,
    Code.OTHER_ERROR,
)


class ChainClock:
    """The network's time: the run's, and what it was moved by."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_ms = 0

    def now_ms(self) -> int:
        return int(self._clock.wall().timestamp() * 1000) + self._ahead_ms

    def advance(self, ms: int) -> None:
        self._ahead_ms += ms

    def at_least(self, timestamp: int) -> None:
        self._ahead_ms += max(0, timestamp - self.now_ms())


class TronNetwork:
    """Implements ``network.Network``."""

    family = "tron"
    name = "tron"
    block_seconds = 3.0
    coin = Asset("TRX", 6)
    gas_funds = 10_000 * TRX

    def __init__(self, clock: Clock, dice: random.Random) -> None:
        self._dice = dice
        endowments = {address_of(faucet_key(NAME)): ENDOWMENT}
        with mock.patch.object(chain, "ChainClock", return_value=ChainClock(clock)):
            self.chain = Chain(ChainOptions(NAME, SOLID_LAG, endowments=endowments))
        self._faucet = Faucet(self.chain)
        _, contract = self._faucet.deploy_token("Tether USD", "USDT", 6, SUPPLY)
        self.token = Asset("USDT", 6, base58_address(contract))
        self.network_id = self.chain.blocks[0].id.hex()
        self._nodes = {"http://main": DevnetNode("main", self.chain), "http://spare": DevnetNode("spare", self.chain)}
        self.urls = list(self._nodes)
        self._down: set[str] = set()
        self._contract = contract

    # -- nodes

    def is_down(self, url: str) -> bool:
        return self._parts(url)[0] in self._down

    def is_sending(self, url: str, body: Any) -> bool:
        return url.endswith("/broadcasthex")

    def answer(self, url: str, body: Any) -> Any:
        place, path = self._parts(url)
        return answer(self._nodes[place], path, json.dumps(body), {})

    def falsified(self, url: str, body: Any, answer: Any, dice: int) -> Any:
        if not self.is_sending(url, body):
            return with_false_txids(answer) if dice % 2 else {"Error": "class java.lang.NullPointerException : null"}
        if dice % 3 == 0:
            return with_false_txids(answer)
        return self._said(body, REFUSALS[dice % len(REFUSALS)])

    def swallowed(self, url: str, body: Any) -> Any:
        return self._said(body, Code.SUCCESS)

    def busy(self, url: str, body: Any) -> Any:
        if self.is_sending(url, body):
            return self._said(body, Code.SERVER_BUSY)
        return {"Error": "class java.lang.IllegalAccessException : lack of computing resources"}

    def disturb(self, what: str, dice: int) -> None:
        place = self.urls[dice % len(self.urls)]
        node = self._nodes[place]
        match what:
            case "down":
                self._down.add(place)
            case "stale":
                node.freeze()
            case "behind":
                node.lag = 1 + dice % 4
            case "forgotten":
                node.remembered.clear()

    def mend(self) -> None:
        self._down.clear()
        for node in self._nodes.values():
            node.thaw()
            node.lag = 0
            node.remembered.clear()
        self.chain.params = self.chain.options.params

    def price(self, dice: int) -> None:
        self.chain.params = self.chain.options.params.from_json(
            {"energy_fee": (100, 210, 420)[dice % 3]}, self.chain.params
        )

    # -- blocks

    def produce(self) -> None:
        self.chain.produce()

    def settle(self) -> None:
        for _ in range(SOLID_LAG + 1):
            self.chain.produce()

    def fork(self, dice: int) -> int:
        deepest = self.chain.head.number - self.chain.solid.number
        if not deepest:
            return 0
        with mock.patch.object(chain.os, "urandom", self._dice.randbytes):
            return len(self.chain.fork(1 + dice % deepest, drop=dice % 3 == 0))

    def lose_pending(self) -> int:
        return self.chain.drop_pending(list(self.chain.pending))

    def jump(self, seconds: float) -> None:
        self.chain.clock.advance(int(seconds * 1000))

    # -- money

    def fund(self, address: str, amount: int) -> None:
        self._faucet.fund(parse_address(address, True), amount)

    def deposit(self, address: str, amount: int) -> None:
        self._faucet.call(self._contract, "transfer(address,uint256)", [parse_address(address, True)[1:], amount])

    def balance(self, address: str, contract: str | None) -> int:
        owner, node = parse_address(address, True), self._nodes["http://main"]
        if contract is None:
            return self.chain.head_state.balance(owner)
        data = keccak256(b"balanceOf(address)")[:4] + bytes(12) + owner[1:]
        done, _ = self.chain.head_state.simulate(owner, self._contract, data, 0, node.env(False))
        return int.from_bytes(done.output, "big")

    def moved(self, final: bool = False) -> list[Moved]:
        blocks = self.chain.blocks[: self.chain.solid.number + 1] if final else self.chain.blocks
        return [
            Moved(one["txid"], one["block"], one["contract"], one["from"], one["to"], int(one["amount"]))
            for one in audit.payments(blocks)
        ]

    def sent_by(self, senders: set[str]) -> list[OnChain]:
        return [
            OnChain(tx.id, block.number, base58_address(tx.owner), receipt.success, receipt.fee)
            for block in self.chain.blocks
            for tx, receipt in zip(block.transactions, block.receipts, strict=True)
            if base58_address(tx.owner) in senders
        ]

    def rows(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "family": self.family,
            "network_id": self.network_id,
            "nodes": Jsonb([{"url": url} for url in self.urls]),
            "gas_flag_below": 5 * TRX,
            "gas_execute_below": TRX,
            "gas_amount": 5 * TRX,
            "fee_reserve": TRX,
            "gas_max_per_topup": 50 * TRX,
            "gas_max_per_wallet_day": 500 * TRX,
            "gas_max_per_day": 5_000 * TRX,
            "block_time": timedelta(seconds=self.block_seconds),
            "clock_ahead": timedelta(days=1),
            "transaction_lifetime": LIFETIME,
        }

    def _parts(self, url: str) -> tuple[str, str]:
        place = next(known for known in self._nodes if url.startswith(known + "/"))
        return place, url.removeprefix(place + "/")

    def _said(self, body: Mapping[str, Any], code: Code) -> Any:
        txid = WireTransaction.decode(bytes.fromhex(body["transaction"])).id
        return {"result": code == Code.SUCCESS, "code": code, "message": "", "txid": txid}
