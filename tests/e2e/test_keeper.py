"""Anvil's state between two starts: whole at every moment, and no larger for running long."""

import asyncio
import contextlib
import json
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from pipeline.local.anvil import AnvilNetwork, anvil_command, find_anvil
from pipeline.local.home import LocalHome
from pipeline.local.keeper import AnvilEnded, Keeper, pruned
from pipeline.local.networks import NO_ANVIL

RECEIVER = "0x" + "0" * 37 + "abc"
PATIENCE = 30.0
SLOTS = 2


@asynccontextmanager
async def keeping(home: Path, **options: float) -> AsyncIterator[tuple[Keeper, AnvilNetwork]]:
    """A keeper at work on a chain with fast blocks."""
    binary = find_anvil()
    if binary is None:
        pytest.skip(NO_ANVIL)
    port = LocalHome(home).node_port("anvil")
    command = shlex.split(anvil_command(binary, port, 0.02, SLOTS, None))
    network = AnvilNetwork(f"http://127.0.0.1:{port}")
    keeper = Keeper(command, network.url, home / "state.json", SLOTS, state_seconds=0.1, **options)  # type: ignore[arg-type]
    running = asyncio.create_task(keeper.run())
    try:
        async with asyncio.timeout(PATIENCE):
            while not running.done():
                with contextlib.suppress(aiohttp.ClientError):
                    await network.height()
                    break
                await asyncio.sleep(0.02)
        yield keeper, network
    finally:
        await network.close()
        keeper.stop()
        await running


async def until_height(network: AnvilNetwork, height: int) -> int:
    """The height, once it is that; the node may be away in between."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                if (found := await network.height()) >= height:
                    return found
            await asyncio.sleep(0.02)


async def test_it_goes_on_from_its_file(home: Path) -> None:
    async with keeping(home) as (_, network):
        await network.faucet(RECEIVER, 77)
        await until_height(network, 50)
    async with keeping(home) as (_, network):
        assert await network.height() >= 50
        assert await network.balance(RECEIVER) == 77
        assert await network.balance(RECEIVER, final=True) == 77, "of a final block, right after the start"


async def test_neither_file_nor_node_grows_for_ever(home: Path) -> None:
    async with keeping(home, kept_blocks=40, most_blocks=120) as (keeper, network):
        await network.faucet(RECEIVER, 77)
        seen = [await until_height(network, height) for height in range(50, 501, 50)]
        assert keeper.starts >= 4, "anew every 120 blocks, of which it brings 40 along"
        assert await network.balance(RECEIVER) == 77
    assert seen == sorted(seen), "heights never go back"
    state = json.loads((home / "state.json").read_text("utf-8"))
    assert len(state["blocks"]) == 40
    assert state["transactions"] == []


async def test_a_node_that_ends_by_itself_is_said(home: Path) -> None:
    keeper = Keeper(["false"], "http://127.0.0.1:1", home / "state.json", SLOTS)
    with pytest.raises(AnvilEnded, match="ended by itself"):
        await keeper.run()


def test_the_newest_blocks_are_kept_with_their_transactions() -> None:
    state = {
        "accounts": {"0x1": {}},
        "blocks": [{"header": {"number": hex(number)}} for number in (3, 1, 0, 2)],
        "transactions": [{"block_number": number} for number in range(4)],
    }
    assert pruned(state, 2) == {
        "accounts": {"0x1": {}},
        "blocks": [{"header": {"number": "0x2"}}, {"header": {"number": "0x3"}}],
        "transactions": [{"block_number": 2}, {"block_number": 3}],
    }
    assert pruned({**state, "blocks": []}, 2)["blocks"] == []
