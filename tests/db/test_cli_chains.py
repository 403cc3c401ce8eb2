"""`flagpost chains` and `assets`: a node was asked before anything is added, and what is wrong is refused in words."""

import asyncio
import contextlib
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.chains.values import Asset
from pipeline.devnet.client import DevnetClient
from pipeline.devnet.server import DevnetOptions, running
from tests.chains.evm.proxy import OddNode, without_tag
from tests.chains.provider.evm_network import CHAIN_ID, EvmNetwork, evm_network
from tests.db.cli_kit import Shell

CONTRACTS = Path(__file__).parents[1] / "chains" / "evm" / "contracts"
NOBODY = "0x000000000000000000000000000000000000dEaD"
OWN = "0x9858EfFD232B4033E47d90003D41EC34EcaEda94"
"""Our index 0 on EVM chains, by the vector."""


@dataclass
class Evm:
    """A real node in another thread, because commands have an event loop of their own."""

    url: str = ""
    odd_url: str = ""
    """The same node behind a proxy that can do without what nodes offer."""
    proxy: OddNode | None = None
    token: Asset = field(default_factory=lambda: Asset("", 0))
    plain: str = ""
    namesake: str = ""
    last_of_two: str = ""
    """The second transaction of the newest block that has any."""
    block_of_two: int = 0
    mine: Callable[[], None] = lambda: None


@pytest.fixture(scope="module")
def evm() -> Iterator[Evm]:
    found, ready, done, problems = Evm(), threading.Event(), threading.Event(), []

    async def live() -> None:
        async with evm_network() as network:
            found.url, found.odd, found.token = network.node.url, network.proxy, network.token
            found.odd_url, found.proxy = network.url, network.proxy
            found.plain = await _plain_token(network, 18)
            found.namesake = await _plain_token(network, 6)
            first, second = network.node.accounts[1:3]
            sent = [await network.node.send(one, NOBODY, value=1) for one in (first, second)]
            await network.mine()
            found.last_of_two, found.block_of_two = sent[-1], await network.node.height()
            await network.finalize()
            loop = asyncio.get_running_loop()
            found.mine = lambda: asyncio.run_coroutine_threadsafe(network.mine(), loop).result()
            ready.set()
            await asyncio.to_thread(done.wait)

    def run() -> None:
        try:
            asyncio.run(live())
        except BaseException as problem:
            problems.append(problem)
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    if problems:
        raise problems[0]
    yield found
    done.set()
    thread.join()


async def _plain_token(network: EvmNetwork, decimals: int) -> str:
    from pipeline.chains.evm.codec.address import from_word

    return from_word(await network.node.deploy(CONTRACTS / "PlainToken.json", decimals.to_bytes(32, "big").hex()))


@pytest.fixture
def sql(database):
    def run(query: str, *parameters) -> list[tuple]:
        with psycopg.connect(database, autocommit=True) as connection:
            cursor = connection.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def bsc(shell, evm) -> Shell:
    """With the chain ``bsc`` on the real node."""
    answer = shell("chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", evm.url, "--json")
    assert answer.code == 0, answer
    return shell


def test_a_chain_is_added_with_gas_amounts_by_its_own_price(shell, evm, sql):
    base = ["chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB"]
    added = shell(*base, "--node", evm.url, "--json").json
    assert added["is_active"] is True
    assert added["checked_at_block"] > 0
    assert added["gas_amount"].endswith(" BNB")
    listed = shell("chains", "list", "--json").json
    assert [(one["name"], one["coin"], one["tokens"], one["wallets"]) for one in listed] == [("bsc", "BNB", [], 0)]
    assert listed[0]["nodes"] == [evm.url]
    assert sql("SELECT family, network_id FROM chains") == [("evm", str(CHAIN_ID))]
    assert "there is a chain bsc already" in shell.fails(
        "chains", "add", "bsc", "--chain-id", "56", "--coin", "BNB", "--unchecked"
    )


def test_given_amounts_win_and_contradictions_are_named(shell, evm, sql):
    base = ["chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", evm.url]
    assert "gas_amount must be at least gas_execute_below" in shell.fails(
        *base, "--gas-amount", "0.001 BNB", "--gas-execute-below", "0.002 BNB", "--gas-flag-below", "0.002 BNB"
    )
    assert "is an amount of BNB, not of ETH" in shell.fails(*base, "--gas-amount", "0.001 ETH", code=2)
    assert "name the asset with it" in shell.fails(*base, "--gas-amount", "0.001", code=2)
    assert sql("SELECT count(*) FROM chains") == [(0,)]
    assert shell(*base, "--gas-amount", "0.001 BNB", "--gas-max-per-topup", "0.002 BNB").code == 0
    assert sql("SELECT gas_amount, gas_max_per_topup FROM chains") == [(10**15, 2 * 10**15)]


def test_a_node_of_another_chain_is_refused_with_both_ids(shell, evm, sql):
    said = shell.fails("chains", "add", "bsc", "--chain-id", "56", "--coin", "BNB", "--node", evm.url)
    assert str(CHAIN_ID) in said
    assert "56" in said
    assert "nothing was changed" in said
    assert sql("SELECT count(*) FROM chains") == [(0,)]


@pytest.fixture
def odd(evm) -> Iterator[OddNode]:
    """The node that can do without what others offer; whole again afterwards."""
    yield evm.proxy
    evm.proxy.missing_tag = None


@pytest.mark.parametrize("null", [True, False])
def test_a_node_without_finality_is_refused_with_what_it_lacks(shell, evm, odd, sql, null):
    """It used to be accepted, and then "no node gave a usable answer" was all that was said of it."""
    base = ["chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", evm.odd_url]
    without_tag(odd, "finalized", null=null)
    said = shell.fails(*base)
    assert "does not know the block tag finalized" in said
    assert "follows the network's finality" in said
    assert sql("SELECT count(*) FROM chains") == [(0,)]
    odd.missing_tag = None
    assert shell(*base, "--disabled").code == 0
    without_tag(odd, "finalized", null=null)
    assert "block tag finalized" in shell.fails("chains", "enable", "bsc")
    sql("UPDATE chains SET is_active = true")
    checks = shell("doctor", "--json").json["checks"]
    failed = [one["todo"] for one in checks if (one["check"], one["level"]) == ("bsc.node", "fail")]
    assert failed
    assert all("finality" in todo for todo in failed)


def test_a_node_without_its_pool_is_taken_with_a_word(shell, evm, odd, sql):
    a_block_now(evm.url)
    without_tag(odd, "pending")
    added = shell("chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", evm.odd_url)
    assert added.code == 0
    assert "does not know the block tag pending" in added.err
    checks = [one for one in shell("doctor", "--json").json["checks"] if one["check"] == "bsc.node"]
    assert [one["level"] for one in checks if one["level"] != "note"] == ["warn", "ok"]


def test_a_network_that_is_there_is_named_with_its_row(bsc, sql):
    """It used to show the database's constraint."""
    said = bsc.fails("chains", "add", "smartchain", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--unchecked")
    assert f"network {CHAIN_ID} is there already as chain bsc, switched on" in said
    assert "flagpost chains enable bsc --node" in said
    sql("UPDATE chains SET is_active = false")
    again = bsc.fails("chains", "add", "bsc", "--chain-id", "56", "--coin", "BNB", "--unchecked")
    assert "there is a chain bsc already" in again
    assert "switched off" in again
    assert sql("SELECT name FROM chains") == [("bsc",)]


def test_a_tolerance_of_tokens_kept_as_shares(bsc, evm, sql):
    base = ["assets", "add", "bsc", evm.token.contract, "--flag-above", "200 USDT", "--tolerance"]
    assert bsc(*base, "11").code == 2
    assert bsc(*base, "2", "--json").json["transfer_tolerance"] == 2
    assert bsc("assets", "thresholds", "bsc", "USDT", "--tolerance", "1", "--json").json["transfer_tolerance"] == 1
    assert "may arrive 1 raw units short" in bsc("assets", "thresholds", "bsc", "USDT").out
    assert "a millionth of consolidate_execute_min" in bsc.fails(
        "assets", "thresholds", "bsc", "USDT", "--execute-min", "0.9 USDT", "--flag-above", "1 USDT"
    )
    assert "10 raw units at the most" in bsc.fails("config", "set", "bsc.USDT.transfer_tolerance", "11")
    assert sql("SELECT transfer_tolerance FROM asset_on_chain WHERE symbol = 'USDT'") == [(1,)]


def test_the_oracle_of_a_rollup_is_a_setting(bsc, sql):
    oracle = "0x5300000000000000000000000000000000000002"
    assert bsc("config", "set", "bsc.fees.l1_oracle", oracle).code == 0
    assert bsc("config", "set", "bsc.fees.l1_oracle", "none").code == 0
    assert sql("SELECT fees FROM chains") == [({"l1_oracle": "none"},)]
    assert "takes a contract's address" in bsc.fails("config", "set", "bsc.fees.l1_oracle", "yes")


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["bsc", "--coin", "BNB"], "--chain-id (EVM) or --genesis (TRON)", 2),
        (["bsc", "--chain-id", "56"], "--coin", 2),
        (["bsc", "--chain-id", "56", "--coin", "BNB"], "FLAGPOST_NODES_BSC", 1),
        (["bsc", "--chain-id", "56", "--coin", "BNB", "--node", "http://127.0.0.1:1"], "no node of bsc answers", 1),
        (["bsc", "--chain-id", "56", "--coin", "BNB", "--node", "bsc-node"], "field url is 'bsc-node'", 2),
        (["bsc", "--chain-id", "56", "--coin", "BNB", "--node", "ftp://u:secret@host/0123"], "'ftp://host'", 2),
        (["BSC", "--chain-id", "56", "--coin", "BNB", "--unchecked"], "lower case letters", 1),
        (["x", "--genesis", "12", "--unchecked", "--gas-policy", "never"], "'threshold', 'on_demand'", 2),
    ],
)
def test_what_cannot_be_a_chain_is_refused(shell, sql, arguments, words, code):
    said = shell.fails("chains", "add", *arguments, code=code)
    assert words in said
    assert "secret" not in said
    assert sql("SELECT count(*) FROM chains") == [(0,)]


def test_a_node_without_receipts_is_refused_and_doctor_fails(shell, evm, sql):
    """What is paid there would never be settled."""
    base = ["chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", evm.odd.url]
    evm.odd.has_receipts = False
    said = shell.fails(*base)
    assert "has no receipts of block" in said
    assert "nothing was changed: name a node that keeps receipts" in said
    assert sql("SELECT count(*) FROM chains") == [(0,)]
    evm.odd.has_receipts = True
    assert shell(*base).code == 0
    evm.odd.has_receipts = False
    answer = shell("doctor", "--json")
    found = {one["check"]: one for one in answer.json["checks"]}["bsc.receipts"]
    assert (answer.code, found["level"]) == (1, "fail")
    assert "would never be settled" in found["message"]
    evm.odd.has_receipts = True


def test_a_node_that_lacks_a_receipt_is_told(shell, evm):
    evm.odd.lost_receipts = {evm.last_of_two}
    answer = shell("chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", evm.odd.url)
    doctor = shell("doctor", "--json").json
    evm.odd.lost_receipts = set()
    assert answer.code == 0
    assert f"lacks 1 of the 2 receipts of block {evm.block_of_two}" in " ".join(answer.err.split())
    assert {one["check"]: one for one in doctor["checks"]}["bsc.receipts"]["level"] == "warn"


def test_keys_are_sent_only_to_nodes_of_the_environment(shell, evm, sql):
    shell.env.setenv("FLAGPOST_API_KEYS_BSC", "0123456789abcdef")
    base = ["chains", "add", "bsc", "--chain-id", str(CHAIN_ID), "--coin", "BNB", "--node", evm.odd.url]
    said = shell.fails(*base)
    assert f"{evm.odd.url}: keys are sent only to nodes of the environment" in said
    assert "set FLAGPOST_NODES_BSC" in said
    assert "0123456789abcdef" not in said
    assert sql("SELECT count(*) FROM chains") == [(0,)]
    assert shell(*base, "--unchecked").code == 0
    found = {one["check"]: one for one in shell("doctor", "--json").json["checks"]}["bsc.node"]
    assert found["level"] == "fail"
    assert "set FLAGPOST_NODES_BSC" in found["message"]
    shell.env.setenv("FLAGPOST_NODES_BSC", evm.odd.url + "/some/secret/path")
    evm.mine()
    found = {one["check"]: one for one in shell("doctor", "--json").json["checks"]}["bsc.node"]
    assert found["level"] == "ok"
    assert found["message"].startswith(f"{evm.odd.url}: right network")
    assert "secret" not in str(shell("doctor").out)


def test_a_token_is_what_its_contract_says(bsc, evm, sql):
    added = bsc("assets", "add", "bsc", evm.token.contract, "--flag-above", "200 USDT", "--json").json
    assert (added["symbol"], added["decimals"], added["flag_above"]) == ("USDT", 6, "200 USDT")
    assert added["execute_min"] == "100 USDT"
    assert bsc("assets", "add", "bsc", evm.plain.lower(), "--flag-above", "2 PLN", "--decimals", "18").code == 0
    assert sql("SELECT contract_address, decimals FROM asset_on_chain WHERE symbol = 'PLN'") == [(evm.plain, 18)]
    listed = bsc("assets", "list", "bsc", "--json").json
    assert [(one["symbol"], one["native"]) for one in listed] == [("BNB", True), ("USDT", False), ("PLN", False)]
    assert "is on bsc already as USDT" in bsc.fails(
        "assets", "add", "bsc", evm.token.contract, "--flag-above", "200 USDT"
    )
    assert "false one" in bsc.fails("assets", "add", "bsc", evm.namesake, "--flag-above", "200 PLN")


def test_a_token_that_is_not_what_it_is_taken_for_is_refused(bsc, evm, sql):
    add = ["assets", "add", "bsc"]
    assert "decimals of" in bsc.fails(*add, evm.token.contract, "--flag-above", "1 USDT", "--decimals", "18")
    assert "is 'USDT' by its contract, not 'USDC'" in bsc.fails(
        *add, evm.token.contract, "--flag-above", "1 USDC", "--symbol", "USDC"
    )
    assert "has no code on this chain" in bsc.fails(*add, NOBODY, "--flag-above", "1 USDT")
    mistyped = evm.plain[:-1] + ("0" if evm.plain[-1] != "0" else "1")
    assert "wrong checksum" in bsc.fails(*add, mistyped, "--flag-above", "1 PLN")
    assert "--flag-above" in bsc.fails(*add, evm.plain, code=2)
    assert "an amount of PLN, not of USDT" in bsc.fails(*add, evm.plain, "--flag-above", "1 USDT", code=2)
    assert "must be above 0 and not above" in bsc.fails(
        *add, evm.plain, "--flag-above", "1 PLN", "--execute-min", "2 PLN"
    )
    assert "no chain is called 'bcs'" in bsc.fails("assets", "add", "bcs", evm.plain, "--flag-above", "1 PLN")
    assert sql("SELECT symbol FROM asset_on_chain") == [("BNB",)]


def test_thresholds_are_shown_and_changed_together(bsc, evm, sql):
    bsc("assets", "add", "bsc", evm.token.contract, "--flag-above", "200 USDT")
    assert bsc("assets", "thresholds", "bsc", "usdt", "--json").json["execute_min"] == "100 USDT"
    changed = bsc(
        "assets", "thresholds", "bsc", "USDT", "--flag-above", "50 USDT", "--execute-min", "7.5 USDT", "--json"
    )
    assert (changed.json["flag_above"], changed.json["execute_min"]) == ("50 USDT", "7.5 USDT")
    assert sql("SELECT consolidate_flag_above, consolidate_execute_min FROM asset_on_chain WHERE symbol = 'USDT'") == [
        (50_000_000, 7_500_000)
    ]
    assert "not above consolidate_flag_above" in bsc.fails(
        "assets", "thresholds", "bsc", "USDT", "--execute-min", "51 USDT"
    )
    assert "there are: USDT" in bsc.fails("assets", "thresholds", "bsc", "DAI")


def test_switching_on_asks_again_what_a_row_claims(bsc, evm, sql):
    bsc("assets", "add", "bsc", evm.token.contract, "--flag-above", "200 USDT")
    assert bsc("chains", "disable", "bsc", "--json").json == {
        "chain": "bsc",
        "is_active": False,
        "was_active": True,
        "checked": [],
    }
    sql("UPDATE asset_on_chain SET decimals = 18 WHERE symbol = 'USDT'")
    assert "decimals of" in bsc.fails("chains", "enable", "bsc")
    assert "decimals of" in bsc.fails("assets", "enable", "bsc", "USDT")
    assert sql("SELECT is_active FROM chains") == [(False,)]
    sql("UPDATE asset_on_chain SET decimals = 6 WHERE symbol = 'USDT'")
    assert bsc("chains", "enable", "bsc", "--json").json["checked"] == ["USDT"]
    assert sql("SELECT is_active FROM chains") == [(True,)]


def test_wallets_of_an_evm_chain_are_derived_in_checksummed_form(bsc, sql):
    made = bsc("wallets", "derive", "--chain", "bsc", "--count", "2", "--json").json
    assert [one["index"] for one in made] == [10, 11]
    known = bsc("wallets", "add", made[0]["address"].lower(), "--chain", "bsc")
    assert "is watched on bsc already" in known.err
    assert "the gas wallet" in bsc.fails("wallets", "add", OWN, "--chain", "bsc")
    assert "wrong checksum" in bsc.fails("wallets", "add", OWN.replace("9858E", "9858e"), "--chain", "bsc")
    foreign = bsc("wallets", "add", NOBODY.lower(), "--chain", "bsc", "--json").json
    assert (foreign["address"], foreign["foreign"]) == (NOBODY, True)


def test_a_fee_is_shown_in_the_chains_own_coin(bsc, evm, sql):
    assert bsc("assets", "add", "bsc", evm.plain, "--flag-above", "200 PLN").code == 0
    assert bsc("wallets", "derive", "--chain", "bsc").code == 0
    sql("INSERT INTO job_logs (job_id, job_type, wallet_address) SELECT 'paid', 'consolidation', address FROM wallets")
    sql(
        "INSERT INTO transfers (kind, job_id, chain_id, wallet_id, asset_on_chain_id, from_address, to_address, amount,"
        " idempotency_key, fee_paid) SELECT 'consolidation', j.id, w.chain_id, w.id, a.id, w.address, %s, 5, 'x',"
        " 22467410868000 FROM job_logs j, wallets w, asset_on_chain a WHERE a.symbol = 'PLN'",
        OWN,
    )
    assert "fee         0.000022467410868 BNB" in bsc("jobs", "show", "paid").out


def test_the_settings_of_an_evm_chain_are_shown_and_checked(bsc, sql):
    shown = {one["key"]: one for one in bsc("config", "show", "bsc", "--json").json}
    assert shown["bsc.fees.cap"]["value"] == "500 gwei"
    assert shown["bsc.replace_after_blocks"]["value"] == 6
    assert bsc("config", "set", "bsc.fees.cap", "5 gwei", "--json").json["value"] == "5 gwei"
    assert bsc("config", "set", "bsc.fees.legacy", "true").code == 0
    assert sql("SELECT fees FROM chains") == [({"cap": 5_000_000_000, "legacy": True},)]
    assert "fees.cap must be above fees.floor" in bsc.fails("config", "set", "bsc.fees.floor", "6 gwei")
    assert "replacement_cap must not be below" in bsc.fails("config", "set", "bsc.fees.replacement_cap", "1 gwei")
    assert "from 0 to 100" in bsc.fails("config", "set", "bsc.fees.tip_percentile", "101")
    assert "true or false" in bsc.fails("config", "set", "bsc.fees.legacy", "yes")


def a_block_now(url: str) -> None:
    """The node's newest block is not a minute old, however long the tests before took."""

    def ask(method: str, *parameters: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        asked = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(asked) as answer:  # noqa: S310
            return json.load(answer)["result"]

    newest = int(ask("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
    ask("evm_setNextBlockTimestamp", max(int(time.time()), newest + 1))
    ask("evm_mine")


def test_doctor_looks_at_an_evm_chain(bsc, evm, sql):
    a_block_now(evm.url)
    bsc("assets", "add", "bsc", evm.token.contract, "--flag-above", "200 USDT")
    evm.mine()  # or its newest block is old by now
    report = bsc("doctor", "--json")
    checks = {one["check"]: one for one in report.json["checks"]}
    assert checks["bsc.node"]["level"] == "ok"
    assert checks["bsc.assets"]["message"].endswith("agree with their contracts: USDT")
    assert checks["bsc.gas"]["message"] == f"gas wallet {OWN} is empty"
    assert "base fee" in checks["bsc.fees"]["message"]
    assert report.code == 1
    sql("UPDATE chains SET fees = '{\"cap\": 6}'")
    checks = {one["check"]: one for one in bsc("doctor", "--json").json["checks"]}
    assert checks["bsc.fees"]["level"] == "warn"
    assert "payments wait" in checks["bsc.fees"]["message"]
    sql("UPDATE chains SET network_id = '56'")
    assert "56" in {one["check"]: one for one in bsc("doctor", "--json").json["checks"]}["bsc.node"]["message"]


@contextlib.contextmanager
def tron_node(home: Path) -> Iterator[tuple[str, str, str]]:
    """URL, genesis id and the contract of a token, from a simulated network in another thread."""
    told: list[tuple[str, str, str]] = []
    ready, done = threading.Event(), threading.Event()

    async def live() -> None:
        async with running(DevnetOptions(home=home / "devnet", block_time=0)) as network:
            async with DevnetClient(network.main.url) as client:
                contract, _ = await client.deploy_token()
                await client.solidify()
                told.append((network.main.url, (await client.status()).genesis_id, contract))
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    try:
        assert ready.wait(30)
        yield told[0]
    finally:
        done.set()
        thread.join()


def test_a_tron_network_and_its_token_are_asked_likewise(shell, home, sql):
    with tron_node(home) as (url, genesis, contract):
        assert "belongs to another network" in shell.fails(
            "chains", "add", "nile", "--genesis", "ab" * 32, "--node", url
        )
        assert shell("chains", "add", "nile", "--genesis", genesis, "--node", url).code == 0
        assert "decimals of" in shell.fails(
            "assets", "add", "nile", contract, "--flag-above", "200 USDT", "--decimals", "18"
        )
        nobody = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
        assert "is not a contract on this chain" in shell.fails(
            "assets", "add", "nile", nobody, "--flag-above", "1 USDT"
        )
        added = shell("assets", "add", "nile", contract, "--flag-above", "200 USDT", "--json").json
        assert (added["symbol"], added["decimals"]) == ("USDT", 6)
    assert sql("SELECT gas_amount FROM chains") == [(5_000_000,)]
