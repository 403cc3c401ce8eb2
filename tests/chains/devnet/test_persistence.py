"""A devnet that is killed goes on where it stopped, with every block anybody was told of."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.journal import Journal, JournalUnusable
from pipeline.devnet.server import DevnetOptions, running
from tests.chains.devnet.hand import Api, Hand, fresh_address
from tests.patience import PATIENCE


async def start(home: Path, *arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pipeline.devnet", "--home", str(home), "--block-time", "0", "--solid-lag", "2"),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    async with asyncio.timeout(PATIENCE):
        url = (await process.stdout.readline()).decode().strip()
    assert url.startswith("http://127.0.0.1:")
    return process, url


async def test_goes_on_after_sigkill(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    process, url = await start(tmp_path)
    async with DevnetClient(url) as devnet:
        usdt, _ = await devnet.deploy_token()
        hand = Hand(Api(session, url))
        await devnet.faucet(hand.address, 50_000_000)
        await devnet.mine()
        await devnet.send_token(usdt, hand.address, 77)
        await devnet.mine()
        await devnet.set_params(energy_fee=7)
        sent = await hand.api.send(await hand.send_token(usdt, fresh_address(), 5))
        await devnet.mine(2)
        await devnet.fork(1, drop=True)
        before, paid = await devnet.status(), await devnet.audit()
        coins = await devnet.balance(hand.address)
    process.kill()
    assert await process.wait() == -signal.SIGKILL

    process, url = await start(tmp_path)
    async with DevnetClient(url) as devnet:
        after = await devnet.status()
        assert (after.head, after.solid, after.genesis_id) == (before.head, before.solid, before.genesis_id)
        assert after.params["energy_fee"] == 7
        assert await devnet.audit() == paid
        assert sent["txid"] in [payment.txid for payment in paid]
        assert await devnet.balance(hand.address, usdt) == 72
        assert await devnet.balance(hand.address) == coins
        await devnet.send_token(usdt, hand.address, 1)
        await devnet.solidify()
        assert await devnet.balance(hand.address, usdt, solid=True) == 73
    process.terminate()
    assert await process.wait() == 0


async def test_a_torn_last_line_is_dropped_and_a_damaged_one_is_not(tmp_path: Path) -> None:
    options = DevnetOptions(block_time=0, home=tmp_path)
    async with running(options) as network:
        network.chain.produce()
        head = network.chain.head.id
    path = tmp_path / "chain.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"block": {"num')
    async with running(options) as network:
        assert network.chain.head.id == head
    assert path.read_bytes() == whole
    path.write_bytes(whole.replace(b'{"block"', b'{"bl', 1))
    with pytest.raises(JournalUnusable, match="line 2"):
        async with running(options):
            pass


async def test_a_directory_belongs_to_one_network(tmp_path: Path) -> None:
    async with running(DevnetOptions(block_time=0, home=tmp_path)):
        pass
    with pytest.raises(ValueError, match="holds network 'flagpost', not 'other'"):
        async with running(DevnetOptions(block_time=0, home=tmp_path, network="other")):
            pass


async def test_a_journal_whose_blocks_replay_otherwise_is_refused(tmp_path: Path) -> None:
    options = DevnetOptions(block_time=0, home=tmp_path)
    async with running(options) as network:
        network.faucet.deploy_token("T", "T", 6, 5)
        network.chain.produce()
    path = tmp_path / "chain.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[-1]["block"]["timestamp"] += 1
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(ValueError, match="replays to another id"):
        async with running(options):
            pass


async def test_a_block_is_on_disk_before_it_is_seen(tmp_path: Path) -> None:
    async with running(DevnetOptions(block_time=0, home=tmp_path)) as network:
        network.chain.on_block.append(
            lambda block: seen.append(json.loads((tmp_path / "chain.jsonl").read_text().splitlines()[-1]))
        )
        seen: list[dict[str, dict[str, object]]] = []
        block = network.chain.produce()
        assert seen[0]["block"]["id"] == block.id.hex()


def test_a_second_process_cannot_write_the_same_journal(tmp_path: Path) -> None:
    first = Journal(tmp_path / "chain.jsonl")
    with pytest.raises(JournalUnusable, match="in use"):
        Journal(tmp_path / "chain.jsonl")
    first.close()
    Journal(tmp_path / "chain.jsonl").close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux")
async def test_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-m', 'pipeline.devnet', '--block-time', '0', '--die-with-parent'],"
        " stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.readline(), end='', flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout
    url = (await parent.stdout.readline()).decode().strip()
    async with DevnetClient(url) as devnet:
        await devnet.status()
        parent.kill()
        await parent.wait()
        async with asyncio.timeout(PATIENCE):
            while await answers(devnet):
                pass


async def answers(devnet: DevnetClient) -> bool:
    try:
        await devnet.status()
    except aiohttp.ClientError:
        return False
    return True


async def test_goes_on_from_a_journal_that_knows_fewer_parameters(tmp_path: Path) -> None:
    """As an older version wrote it."""
    options = DevnetOptions(block_time=0, home=tmp_path)
    async with running(options) as network:
        network.chain.produce()
        head = network.chain.head.id
    path = tmp_path / "chain.jsonl"
    first, *others = path.read_text().splitlines()
    genesis = json.loads(first)
    for name in ("dynamic_energy_threshold", "maintenance_interval", "permission_fee"):
        del genesis["genesis"]["params"][name]
    path.write_text("\n".join([json.dumps(genesis), *others]) + "\n")
    async with running(options) as network:
        assert network.chain.head.id == head
        network.chain.produce()
