"""BSC on this machine: anvil, a real EVM node, asked and paid directly, past every provider."""

import asyncio
import itertools
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
from eth_abi.abi import encode

from pipeline.chains.evm.codec import address as evm_address
from pipeline.chains.values import Asset, Family
from pipeline.local.audit import Movement
from pipeline.local.network import GasRules

CHAIN_ID = 31337
"""Not BSC's 56: what is signed here must be worth nothing there."""
GWEI = 10**9
BNB = 10**18
FAUCET_COINS = 1_000_000_000
"""BNB of each of anvil's own accounts."""
SUPPLY = 10**30
"""Raw units of USDT at the faucet."""
BASE_FEE = GWEI
TIP = GWEI // 10
"""What customers pay the block's producer. The pipeline chooses its own by it."""
STATES_KEPT = 64
"""Of the newest blocks, in memory: final ones are asked about, and those are a few blocks old."""
TRANSFER_TOPIC = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
RECEIPT_SECONDS = 30.0
BLOCKS_A_CALL = 100

_CLIENTS = Path(__file__).resolve().parents[2] / "tests" / "clients" / "node_modules" / "@foundry-rs"


class AnvilError(Exception):
    """Anvil refused a call."""


def find_anvil() -> Path | None:
    """The pinned anvil of tests/clients, else one on the PATH, else None."""
    pinned = _CLIENTS / "anvil-linux-amd64" / "bin" / "anvil"
    if pinned.exists():
        return pinned
    found = shutil.which("anvil")
    return None if found is None else Path(found)


def anvil_command(binary: Path, port: int, block_time: float, slots: int, state: Path | None) -> str:
    """The command line of a node that makes blocks on a clock; a block is final ``2 × slots`` blocks later. With
    ``state`` it goes on from that file (see ``local.keeper``)."""
    words = [str(binary), "--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID), "--order", "fifo"]
    words += ["--block-time", f"{block_time:g}", "--slots-in-an-epoch", str(slots), "--base-fee", str(BASE_FEE)]
    words += ["--balance", str(FAUCET_COINS), "--accounts", "2", "--quiet", "--prune-history", str(STATES_KEPT)]
    if state is not None:
        keeper = [sys.executable, "-m", "pipeline.local.keeper", "--state", str(state), "--port", str(port)]
        words = [*keeper, "--slots", str(slots), "--", *words]
    return shlex.join(words)


class AnvilNetwork:
    """Implements :class:`pipeline.local.network.LocalNetwork`."""

    chain = "bsc"
    family = Family.EVM
    coin = Asset("BNB", 18)
    token_decimals = 18
    rules = GasRules(
        flag_below={"threshold": BNB // 2_000, "on_demand": BNB // 50_000},
        execute_below={"threshold": BNB // 5_000, "on_demand": BNB // 50_000},
        amount=BNB // 2_000,
        fee_reserve=BNB // 50_000,
        max_per_topup=BNB // 200,
        max_per_wallet_day=BNB,
        max_per_day=1_000 * BNB,
        fees={"floor": GWEI // 10, "cap": 20 * GWEI},
    )

    def __init__(self, url: str) -> None:
        self.url = self.node_url = url
        self._session: aiohttp.ClientSession | None = None
        self._ids = itertools.count(1)
        self._paying = asyncio.Lock()
        """Anvil numbers the transactions of its own accounts itself, but not two at a time."""

    async def network_id(self) -> str:
        return str(int(await self._call("eth_chainId"), 16))

    async def ready(self) -> None:
        # After a start it has the blocks of the last one, but the state of none before the newest; the keeper makes up
        # for it, a moment later.
        while True:
            try:
                await self._call("eth_getBalance", "0x" + "00" * 20, "finalized")
            except AnvilError:
                await self._call("evm_mine")
            else:
                return

    async def deploy_token(self) -> str:
        arguments = encode(
            ["string", "string", "uint8", "uint256"], ["Tether USD", "USDT", self.token_decimals, SUPPLY]
        )
        receipt = await self._settled({"data": f"0x{_bytecode()}{arguments.hex()}", "gas": hex(5_000_000)})
        return evm_address.from_word(receipt["contractAddress"])

    async def faucet(self, address: str, raw: int) -> None:
        await self._settled({"to": address, "value": hex(raw), "gas": hex(21_000)})

    async def deposit(self, token: str, address: str, raw: int) -> None:
        data = "0xa9059cbb" + address[2:].lower().rjust(64, "0") + raw.to_bytes(32, "big").hex()
        await self._send({"to": token, "data": data, "gas": hex(200_000)})

    async def balance(self, address: str, token: str | None = None, *, final: bool = False) -> int:
        if final:
            await self.ready()
        tag = "finalized" if final else "latest"
        if token is None:
            return int(await self._call("eth_getBalance", address, tag), 16)
        data = "0x70a08231" + address[2:].lower().rjust(64, "0")
        return int(await self._call("eth_call", {"to": token, "data": data}, tag), 16)

    async def height(self) -> int:
        return int(await self._call("eth_blockNumber"), 16)

    async def movements(self) -> Sequence[Movement]:
        head = await self.height()
        moved: list[Movement] = []
        for first in range(0, head + 1, BLOCKS_A_CALL):
            last = min(head, first + BLOCKS_A_CALL - 1)
            moved += await self._coins_moved(range(first, last + 1))
            logs = {"fromBlock": hex(first), "toBlock": hex(last), "topics": [TRANSFER_TOPIC]}
            moved += [_token_move(log) for log in await self._call("eth_getLogs", logs)]
        return moved

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _coins_moved(self, numbers: range) -> list[Movement]:
        blocks = await self._batch([("eth_getBlockByNumber", [hex(number), True]) for number in numbers])
        paying = [one for block in blocks for one in block["transactions"] if int(one["value"], 16) and one["to"]]
        receipts = await self._batch([("eth_getTransactionReceipt", [one["hash"]]) for one in paying])
        return [
            Movement(
                one["hash"],
                None,
                evm_address.from_word(one["from"]),
                evm_address.from_word(one["to"]),
                int(one["value"], 16),
            )
            for one, receipt in zip(paying, receipts, strict=True)
            if receipt["status"] == "0x1"
        ]

    async def _send(self, transaction: dict[str, str]) -> str:
        async with self._paying:
            (payer, *_) = await self._call("eth_accounts")
            fees = {"maxFeePerGas": hex(100 * GWEI), "maxPriorityFeePerGas": hex(TIP)}
            return str(await self._call("eth_sendTransaction", {"from": payer, **fees, **transaction}))

    async def _settled(self, transaction: dict[str, str]) -> dict[str, Any]:
        """Send it and make blocks until it is final: nobody has to wait for the clock to see something."""
        txid = await self._send(transaction)
        async with asyncio.timeout(RECEIPT_SECONDS):
            while True:
                await self._call("evm_mine")
                receipt: dict[str, Any] | None = await self._call("eth_getTransactionReceipt", txid)
                final = await self._call("eth_getBlockByNumber", "finalized", False)
                if receipt is not None and int(receipt["blockNumber"], 16) <= int(final["number"], 16):
                    break
        if receipt["status"] != "0x1":
            raise AnvilError(f"transaction {txid} of the local set-up failed")
        return receipt

    async def _call(self, method: str, *parameters: Any) -> Any:
        (result,) = await self._batch([(method, list(parameters))])
        return result

    async def _batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        if not calls:
            return []
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        body = [{"jsonrpc": "2.0", "id": next(self._ids), "method": name, "params": given} for name, given in calls]
        async with self._session.post(self.url, json=body) as reply:
            answers = {answer["id"]: answer for answer in await reply.json()}
        for one in body:
            if "error" in answers[one["id"]]:
                raise AnvilError(f"{one['method']}: {answers[one['id']]['error'].get('message')}")
        return [answers[one["id"]]["result"] for one in body]


def _token_move(log: dict[str, Any]) -> Movement:
    sender, receiver = (evm_address.from_word(topic) for topic in log["topics"][1:3])
    contract = evm_address.from_word(log["address"])
    return Movement(log["transactionHash"], contract, sender, receiver, int(log["data"], 16))


@lru_cache(maxsize=1)
def _bytecode() -> str:
    built = resources.files("pipeline.devnet").joinpath("contracts", "Token.json").read_text("utf-8")
    return str(json.loads(built)["bytecode"]).removeprefix("0x")
