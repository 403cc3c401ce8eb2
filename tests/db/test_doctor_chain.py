"""What doctor finds about a chain with its nodes: simulated TRON nodes, asked by the command as a person types it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions, running
from tests.db.cli_kit import Shell
from tests.patience import PATIENCE

Question = Callable[[DevnetClient], Coroutine[Any, Any, Any]]


@dataclass
class Network:
    """A simulated network in another thread, because commands have an event loop of their own."""

    url: str
    genesis: str
    client: DevnetClient
    loop: asyncio.AbstractEventLoop

    def ask(self, question: Question) -> Any:
        return asyncio.run_coroutine_threadsafe(question(self.client), self.loop).result(PATIENCE)


@pytest.fixture
def network() -> Iterator[Network]:
    """Blocks on demand; the newest is of this moment."""
    started: list[Network] = []
    ready, done = threading.Event(), threading.Event()

    async def live() -> None:
        async with running(DevnetOptions(block_time=0)) as served, DevnetClient(served.main.url) as client:
            await client.solidify()
            genesis = (await client.status()).genesis_id
            started.append(Network(served.main.url, genesis, client, asyncio.get_running_loop()))
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert ready.wait(PATIENCE)
    yield started[0]
    done.set()
    thread.join()


@pytest.fixture
def nile(shell: Shell, network: Network) -> Shell:
    """With the chain ``nile`` on the network."""
    assert shell("chains", "add", "nile", "--genesis", network.genesis, "--node", network.url).code == 0
    return shell


def said(shell: Shell, check: str) -> list[tuple[str, str]]:
    """Level and message of each finding of a check."""
    answer = shell("doctor", "--json")
    assert answer.out, answer.err
    report = answer.json
    return [(one["level"], one["message"]) for one in report["checks"] if one["check"] == check]


@pytest.fixture
def sql(database: str) -> Iterator[Callable[..., Any]]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection.execute


def test_one_node_is_told_and_two_that_agree_are_well(nile: Shell, network: Network) -> None:
    (one, note) = sorted(said(nile, "nile.node"))
    assert note[0] == "ok"
    assert one == ("note", "nile has one node: while it does not answer, nothing is read and nothing is paid")
    second = network.ask(lambda client: client.start_node("second"))
    nile.env.setenv("FLAGPOST_NODES_NILE", f"{network.url},{second.url}")
    assert [level for level, _ in said(nile, "nile.node")] == ["ok", "ok"]


def test_nodes_that_disagree(nile: Shell, network: Network) -> None:
    second = network.ask(lambda client: client.start_node("second", lag=3))
    network.ask(lambda client: client.advance(90))
    network.ask(lambda client: client.mine(2))
    nile.env.setenv("FLAGPOST_NODES_NILE", f"{network.url},{second.url}")
    disagreeing = [message for level, message in said(nile, "nile.node") if "disagree" in message]
    assert len(disagreeing) == 1
    assert "the nodes of nile disagree" in disagreeing[0]


def test_blocks_from_the_future(nile: Shell, network: Network) -> None:
    network.ask(lambda client: client.advance(930))
    network.ask(lambda client: client.mine(1))
    (level, message) = said(nile, "nile.node")[-1]
    assert level == "fail"
    assert "the newest block of nile is 15 min ahead of the clock of this machine" in message


def test_every_node_is_behind(nile: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from pipeline.admin.checks import nodes as check_nodes

    monkeypatch.setattr(check_nodes, "STALE", timedelta(seconds=-3600))
    (level, message) = said(nile, "nile.node")[-1]
    assert level == "fail"
    assert message == "every node of nile is behind, or the chain has stopped: nothing becomes final"


def test_a_cursor_beyond_the_chain(nile: Shell, sql: Callable[..., Any]) -> None:
    """Everything looked well before: nothing newer was settled, for ever."""
    sql(
        "INSERT INTO chain_cursors (chain_id, purpose, block_number, block_id, block_time)"
        " SELECT id, 'confirmations', 3, 'x', now() FROM chains"
    )
    assert said(nile, "nile.cursor") == [("ok", "final blocks read up to 3")]
    sql("UPDATE chain_cursors SET block_number = 999999999")
    ((level, message),) = said(nile, "nile.cursor")
    assert level == "fail"
    assert message.startswith("final blocks of nile are recorded as read up to 999999999, and the nodes have ")


def test_a_gas_wallet_that_cannot_pay_one_more(nile: Shell, network: Network, sql: Callable[..., Any]) -> None:
    gas = next(one["message"] for one in nile("doctor", "--json").json["checks"] if one["check"] == "nile.gas")
    address = gas.split(" ")[2]
    network.ask(lambda client: client.faucet(address, 1_000_000))
    network.ask(lambda client: client.solidify())
    assert said(nile, "nile.gas") == [("ok", f"gas wallet {address} holds 1 TRX")]
    sql("INSERT INTO wallets (chain_id, address, derivation_index, needs_gas) SELECT id, 'T-one', 10, true FROM chains")
    ((level, message),) = said(nile, "nile.gas")
    assert (level, message) == (
        "fail",
        f"gas wallet {address} holds 1 TRX, a top-up is 5 TRX, and 1 wallets want one",
    )


def test_balances_that_cannot_be_read_are_named(nile: Shell, sql: Callable[..., Any]) -> None:
    sql("INSERT INTO wallets (chain_id, address, derivation_index) SELECT id, 'T-odd', 10 FROM chains")
    sql("UPDATE wallet_balances SET last_error = 'T-odd is not an address'")
    ((level, message),) = said(nile, "nile.wallets")
    assert level == "warn"
    assert message.endswith("1 could not be read, as T-odd: T-odd is not an address")


def test_every_finding_is_a_check_that_is_known(nile: Shell) -> None:
    from pipeline.admin.checks.examine import known_checks

    known = {check.id for check in known_checks()}
    found = {one["check"].replace("nile.", "CHAIN.") for one in nile("doctor", "--json").json["checks"]}
    assert found - known == set()
