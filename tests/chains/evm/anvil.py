"""A real EVM node: anvil, from the npm package pinned in tests/clients. It mines on demand only."""

import asyncio
import itertools
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

_CLIENTS = Path(__file__).parents[2] / "clients"
_LISTENING = re.compile(r"Listening on (127\.0\.0\.1:\d+)")
FINALITY_DEPTH = 2
"""With one slot in an epoch: two blocks on top of one make it final."""
BASE_FEE = 7
"""Wei. At this height empty blocks do not lower it any more."""


class AnvilError(Exception):
    """A JSON-RPC error of a call that a test made by itself."""


def found() -> Path | None:
    """The pinned anvil; None where it cannot be had."""
    path = _CLIENTS / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    return path if path.exists() else None


def binary() -> Path:
    """The same. Skips the test, with the reason, where it cannot be had."""
    path = found()
    if path is not None:
        return path
    pytest.skip("anvil is not installed: run `npm ci` in tests/clients (it exists for Linux on x86-64 only)")


class Anvil:
    """The node, asked directly: past every provider and proxy."""

    def __init__(self, url: str, session: aiohttp.ClientSession, pid: int) -> None:
        self.url = url
        self.pid = pid
        self._session = session
        self._ids = itertools.count(1)
        self.accounts: list[str] = []
        """Its own, with 10,000 coins each; it signs for them."""

    @property
    def ws_url(self) -> str:
        return self.url.replace("http://", "ws://")

    async def call(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": list(params)}
        async with self._session.post(self.url, json=body) as response:
            answer = await response.json()
        if "error" in answer:
            raise AnvilError(f"{method}: {answer['error']}")
        return answer["result"]

    async def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            await self.call("evm_mine")

    async def finalize(self) -> None:
        """What is pending now is final afterwards."""
        await self.mine(1 + FINALITY_DEPTH)

    async def height(self) -> int:
        return int(await self.call("eth_blockNumber"), 16)

    async def send(self, sender: str, to: str | None, *, value: int = 0, data: str = "0x") -> str:
        """A transaction of one of its own accounts, into the pool."""
        plain = data == "0x" and to is not None
        gas = 21_000 if plain else 3_000_000
        body: dict[str, Any] = {"from": sender, "value": hex(value), "gas": hex(gas), "gasPrice": hex(10**9)}
        body |= {} if plain else {"data": data}
        body |= {} if to is None else {"to": to}
        return str(await self.call("eth_sendTransaction", body))

    async def deploy(self, built: Path, arguments: str = "") -> str:
        """Address of a contract out of its committed byte code; mines a block."""
        code = _bytecode(built)
        txid = await self.send(self.accounts[0], None, data="0x" + code + arguments)
        await self.mine()
        receipt = await self.call("eth_getTransactionReceipt", txid)
        assert receipt["status"] == "0x1", f"deployment of {built.stem} failed"
        return str(receipt["contractAddress"])

    async def balance(self, address: str, contract: str | None, tag: str) -> int:
        if contract is None:
            return int(await self.call("eth_getBalance", address, tag), 16)
        data = "0x70a08231" + address[2:].rjust(64, "0")
        return int(await self.call("eth_call", {"to": contract, "data": data}, tag), 16)


@asynccontextmanager
async def anvil(
    *, chain_id: int = 31337, base_fee: int = BASE_FEE, options: Sequence[str] = ()
) -> AsyncIterator[Anvil]:
    """A fresh chain on a free port, gone with the block."""
    process = await asyncio.create_subprocess_exec(
        binary(),
        *("--host", "127.0.0.1", "--port", "0", "--chain-id", str(chain_id), "--slots-in-an-epoch", "1"),
        *("--no-mining", "--order", "fifo", "--base-fee", str(base_fee), "--disable-min-priority-fee", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    drain: asyncio.Task[bytes] | None = None
    try:
        said = ""
        while (found := _LISTENING.search(said)) is None:
            line = await process.stdout.readline()
            assert line, f"anvil ended: {said}"
            said += line.decode()
        drain = asyncio.create_task(process.stdout.read())
        async with aiohttp.ClientSession() as session:
            node = Anvil(f"http://{found[1]}", session, process.pid)
            node.accounts = await node.call("eth_accounts")
            # Without it blocks of one second share their time.
            await node.call("anvil_setBlockTimestampInterval", 1)
            yield node
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if drain is not None:
            await drain


def _bytecode(built: Path) -> str:
    return str(json.loads(built.read_text("utf-8"))["bytecode"])
