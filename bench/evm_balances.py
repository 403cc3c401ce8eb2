"""Balances a second against a local anvil, batched and one by one, in one run.

    python -m bench.evm_balances [--wallets 20000]

Batched: by Multicall3 and by a simulated creation. One by one: by our provider (a block and a call each), and
as web3's own HTTP provider does it (``get_balance``, ``balanceOf().call()``).
Prints one JSON object. Needs anvil: `npm ci` in tests/clients.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence

from web3 import AsyncHTTPProvider, AsyncWeb3

from pipeline.chains.evm.codec import address
from pipeline.chains.evm.provider import EvmProvider
from pipeline.chains.rpc.http import NodeConfig
from pipeline.chains.values import Asset, Balance, BalanceQuery, Finality
from tests.chains.evm import multicall3
from tests.chains.evm.anvil import Anvil, anvil
from tests.chains.evm.conftest import CONTRACTS

CHAIN_ID = 31337
ONE_BY_ONE = 300
"""Enough for a rate."""
COIN = Asset("ETH", 18)
ABI = json.loads((CONTRACTS / "PlainToken.json").read_text("utf-8"))["abi"]


async def main(wallets: int) -> dict[str, object]:
    async with anvil(chain_id=CHAIN_ID) as node:
        contract = await node.deploy(CONTRACTS / "PlainToken.json", f"{18:064x}")
        token = Asset("PLN", 18, address.validate(contract))
        owners = [address.from_bytes(number.to_bytes(20, "big")) for number in range(1, wallets + 1)]
        queries = [BalanceQuery(owner, asset) for owner in owners for asset in (COIN, token)]
        await node.finalize()
        creation = await rate(provider_of(node, token), queries)
        await multicall3.stand(node)
        multicall = await rate(provider_of(node, token), queries)
        single = await alone(provider_of(node, token), queries[:ONE_BY_ONE])
        plain = await by_web3(node, contract, owners[: ONE_BY_ONE // 2])
    return {
        "balances": len(queries),
        "creation_per_second": round(creation),
        "multicall3_per_second": round(multicall),
        "one_by_one_per_second": round(single),
        "web3_one_by_one_per_second": round(plain),
        "times_faster_than_one_by_one": round(creation / single),
        "times_faster_than_web3": round(creation / plain),
    }


async def rate(provider: EvmProvider, queries: Sequence[BalanceQuery]) -> float:
    async def work() -> list[Balance]:
        return await provider.balances(queries, Finality.FINAL)

    await provider.balances(queries[:1])
    return await measured(provider, len(queries), work)


async def alone(provider: EvmProvider, queries: Sequence[BalanceQuery]) -> float:
    async def work() -> list[Balance]:
        return [(await provider.balances([query]))[0] for query in queries]

    return await measured(provider, len(queries), work)


async def by_web3(node: Anvil, contract: str, owners: Sequence[str]) -> float:
    web3 = AsyncWeb3(AsyncHTTPProvider(node.url))
    token = web3.eth.contract(AsyncWeb3.to_checksum_address(contract), abi=ABI)
    started = time.perf_counter()
    for owner in owners:
        checked = AsyncWeb3.to_checksum_address(owner)
        await web3.eth.get_balance(checked, "finalized")
        await token.functions.balanceOf(checked).call(block_identifier="finalized")
    seconds = time.perf_counter() - started
    await web3.provider.disconnect()
    return 2 * len(owners) / seconds


async def measured(provider: EvmProvider, count: int, work: Callable[[], Awaitable[list[Balance]]]) -> float:
    started = time.perf_counter()
    balances = await work()
    seconds = time.perf_counter() - started
    await provider.close()
    unread = [balance.error for balance in balances if balance.raw is None]
    if unread or len(balances) != count:
        raise RuntimeError(f"{len(unread)} of {count} balances were not read: {unread[:1]}")
    return count / seconds


def provider_of(node: Anvil, token: Asset) -> EvmProvider:
    return EvmProvider("anvil", CHAIN_ID, [NodeConfig(node.url)], [COIN, token])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wallets", type=int, default=20_000)
    print(json.dumps(asyncio.run(main(parser.parse_args().wallets)), indent=1))
