"""A rollup of the OP Stack: anvil in that mode charges for L1 and for the operator by the numbers in the contract
L1Block, as the network does. What it lacks is put in front of it: the oracle's contract, and those fees in receipts."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from pipeline.chains.evm.rpc.l1_fee import ORACLE
from tests.chains.evm.anvil import Anvil
from tests.chains.evm.proxy import OddNode
from tests.chains.provider.evm_network import EvmNetwork, evm_network

CONTRACTS = Path(__file__).parent / "contracts"
L1_BLOCK = "0x4200000000000000000000000000000000000015"
L1_VAULT = "0x420000000000000000000000000000000000001A"
"""Gets what is paid for L1."""
BLOB_FEE = 10**9
_SMALLEST = 100
"""Bytes that Fjord reckons for a transaction that compresses to less; ours all do."""


class RollupNode(OddNode):
    """Its receipts say what each transaction paid for L1, as op-geth's do: one transaction a block."""

    scalar = 0
    constant = 0

    def __init__(self, upstream: str, session: aiohttp.ClientSession) -> None:
        super().__init__(upstream, session)
        self.names_fees = True

    async def answer(self, call: dict[str, Any]) -> Any:
        answer = await super().answer(_without_fee(call))
        if self.names_fees and call["method"] in ("eth_getTransactionReceipt", "eth_getBlockReceipts"):
            found = answer.get("result") or []
            for receipt in found if isinstance(found, list) else [found]:
                receipt.update(await self._paid(int(receipt["blockNumber"], 16)))
        return answer

    async def _paid(self, number: int) -> dict[str, str]:
        before, after = [await self._ask("eth_getBalance", L1_VAULT, hex(block)) for block in (number - 1, number)]
        operator = {"operatorFeeScalar": hex(self.scalar), "operatorFeeConstant": hex(self.constant)}
        return {"l1Fee": hex(after - before), **(operator if self.scalar or self.constant else {})}

    async def _ask(self, method: str, *params: Any) -> int:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return int((await super().answer(body))["result"], 16)


def _without_fee(call: dict[str, Any]) -> dict[str, Any]:
    """Anvil has a call that is only tried out pay for L1; op-geth and op-reth do not."""
    if call["method"] not in ("eth_call", "eth_estimateGas") or "value" in call["params"][0]:
        return call
    tried, *more = call["params"]
    block = more[0] if more else "latest"
    overrides = more[1] if len(more) > 1 else {}
    sender = tried.get("from", "0x" + "0" * 40)
    rich = {**overrides, sender: {**overrides.get(sender, {}), "balance": hex(10**24)}}
    return {**call, "params": [tried, block, rich]}


@dataclass
class Rollup:
    """The network, and what it charges."""

    network: EvmNetwork
    node: Anvil
    proxy: RollupNode

    async def charge(self, l1_fee: int, *, scalar: int = 0, constant: int = 0, told: int | None = None) -> None:
        """From the next block on each transaction pays ``l1_fee`` wei for L1, and to the operator ``scalar`` millionths
        of a wei for a unit of gas and ``constant`` wei. ``told``: what the oracle says of L1 instead."""
        blob_scalar = l1_fee // (_SMALLEST * BLOB_FEE // 10**6)
        assert blob_scalar * _SMALLEST * BLOB_FEE // 10**6 == l1_fee, "not an amount that it can charge"
        await self.store(L1_BLOCK, 3, blob_scalar.to_bytes(4, "big") + bytes(8))
        await self.store(L1_BLOCK, 7, BLOB_FEE.to_bytes(32, "big"))
        await self.store(L1_BLOCK, 8, scalar.to_bytes(4, "big") + constant.to_bytes(8, "big"))
        for slot, value in enumerate((l1_fee if told is None else told, 0, scalar, constant)):
            await self.store(ORACLE, slot, value.to_bytes(32, "big"))
        self.proxy.scalar, self.proxy.constant = scalar, constant

    async def store(self, contract: str, slot: int, value: bytes) -> None:
        await self.node.call("anvil_setStorageAt", contract, hex(slot), "0x" + value.rjust(32, b"\0").hex())


@asynccontextmanager
async def rollup(oracle: str | None = "L1FeeOracle") -> AsyncIterator[Rollup]:
    """Free of charge until told. ``oracle``: which contract stands at the place of the oracle."""
    async with evm_network(options=("--network", "optimism")) as network:
        node = network.node
        proxy = await network.stack.enter_async_context(RollupNode.before(node.url))
        network.proxy = proxy
        if oracle is not None:
            built = json.loads((CONTRACTS / f"{oracle}.json").read_text("utf-8"))
            await node.call("anvil_setCode", ORACLE, "0x" + built["runtime"])
        yield Rollup(network, node, proxy)
