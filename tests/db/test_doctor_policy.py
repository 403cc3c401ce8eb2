"""What doctor finds about this host's signing policy: what is not signed, and how much room is left."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from pipeline.chains.values import Family
from pipeline.signing.ledger import SpendingLedger
from pipeline.signing.rules import GAS_WALLET, ceiling_of
from tests.db.cli_kit import Shell
from tests.policy import policy, write_policy

BSC = "56"
TOKEN = "0x55d398326f99059fF775485246999027B3197955"
TREASURY = "0x" + "11" * 20
ANOTHER = "0x" + "22" * 20


@pytest.fixture
def bsc(shell: Shell, database: str) -> Shell:
    """The chain with a token, and a policy that has it."""
    assert shell("chains", "add", "bsc", "--chain-id", BSC, "--coin", "BNB", "--unchecked").code == 0
    sql(
        database,
        "INSERT INTO asset_on_chain (chain_id, symbol, contract_address, decimals, consolidate_flag_above,"
        " consolidate_execute_min)"
        " SELECT id, 'USDT', %s, 18, 2000000000000000000, 1000000000000000000 FROM chains WHERE name = 'bsc'",
        TOKEN,
    )
    return shell


def sql(database: str, statement: Any, *values: Any) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statement, values)


def said(shell: Shell, check: str) -> list[tuple[str, str, str]]:
    """Level, message and cure of each finding of a check."""
    report = shell("doctor", "--json").json
    return [(one["level"], one["message"], one["todo"]) for one in report["checks"] if one["check"] == check]


def test_a_policy_that_has_what_the_database_asks_for(bsc: Shell, home: Path) -> None:
    write_policy(home, policy(Family.EVM, BSC, TOKEN))
    assert said(bsc, "policy") == []
    assert said(bsc, "bsc.policy") == []
    assert [level for level, _, _ in said(bsc, "policy.ledger")] == ["ok"]


def test_a_policy_file_that_cannot_be_read(bsc: Shell, home: Path) -> None:
    (home / "policy.toml").write_text("fee_max = oops\n")
    ((level, message, todo),) = said(bsc, "policy")
    assert level == "fail"
    assert "policy.toml" in message
    assert "gas-topup and consolidation do not start" in todo
    assert bsc("doctor").code == 1


def test_a_contract_that_the_policy_does_not_have(bsc: Shell, database: str, home: Path) -> None:
    """Somebody who can write rows names a contract of his own as USDT."""
    write_policy(home, policy(Family.EVM, BSC, TOKEN))
    sql(database, "UPDATE asset_on_chain SET contract_address = %s WHERE symbol = 'USDT'", ANOTHER)
    ((level, message, todo),) = said(bsc, "bsc.policy")
    assert level == "fail"
    assert ANOTHER in message
    assert "nothing of it is signed, and its flags stay up" in message
    assert "flagpost policy draft bsc" in todo
    assert "find out who wrote the row" in todo


def test_a_network_that_the_policy_does_not_have(bsc: Shell, database: str, home: Path) -> None:
    write_policy(home, policy(Family.EVM, BSC, TOKEN))
    sql(database, "UPDATE chains SET network_id = '4242' WHERE name = 'bsc'")
    assert [level for level, _, _ in said(bsc, "bsc.policy")] == ["fail"]


def test_a_network_without_a_treasury_beside_one_that_has_it_pinned(bsc: Shell, home: Path) -> None:
    write_policy(home, policy(Family.EVM, BSC, TOKEN), policy(Family.EVM, "1", treasury=TREASURY))
    ((level, message, todo),) = said(bsc, "bsc.policy")
    assert level == "fail"
    assert message == "bsc has no pinned treasury, and other networks have: nothing of it is signed"
    assert "FLAGPOST_TREASURY_BSC" in todo


def test_a_ledger_that_cannot_be_written(bsc: Shell, home: Path) -> None:
    write_policy(home, policy(Family.EVM, BSC, TOKEN))
    (home / "signed.jsonl").mkdir()
    ((level, message, todo),) = said(bsc, "policy.ledger")
    assert level == "fail"
    assert "signed.jsonl" in message
    assert "FLAGPOST_SIGNING_LEDGER" in todo


@pytest.mark.parametrize(
    ("spent", "level"), [(0, "ok"), (79, "ok"), (85, "warn"), (95, "fail")], ids=["nothing", "some", "most", "all"]
)
def test_how_much_of_a_day_is_left(bsc: Shell, home: Path, spent: int, level: str) -> None:
    coin = 10**18
    known = policy(Family.EVM, BSC, TOKEN, fee_max=10 * coin, day_max=100 * coin)
    write_policy(home, known)
    if spent:
        ledger = SpendingLedger(home / "signed.jsonl")
        asyncio.run(_reserve(ledger, known, spent * coin))
    by_wallet = {
        message.split(" by the ")[1].split(" in ")[0]: level for level, message, _ in said(bsc, "bsc.ceilings")
    }
    assert by_wallet == {"gas wallet": level, "wallets": "ok"}


async def _reserve(ledger: SpendingLedger, known: Any, amount: int) -> None:
    await ledger.reserve(str(uuid4()), "what is signed", ceiling_of(known, GAS_WALLET), amount)


def test_where_no_mnemonic_is_nothing_is_signed_and_nothing_checked(bsc: Shell, home: Path) -> None:
    (home / "policy.toml").write_text("fee_max = oops\n")
    bsc.env.delenv("FLAGPOST_MNEMONIC")
    ((level, _, _),) = said(bsc, "policy")
    assert level == "note"
