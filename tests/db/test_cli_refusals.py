"""What the database would refuse, in words: whatever is typed, no constraint and no SQL error reaches a person."""

import json
import re
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from pipeline.admin.refusals import in_words
from tests.db.cli_kit import Shell

RAW = re.compile(r"violates|constraint|duplicate key|relation|portal|Traceback|syntax|unnamed", re.IGNORECASE)
OURS = "TZFYo9FdnVdqFzBUZ3Wu4vwPqN9HVvF8jC"
"""Index 10 on TRON."""
NEW = "TQfMRceBF33wfPM6rnFQBYWsPYC5vcfcds"
OTHER = "0xdAC17F958D2ee523a2206206994597C13D831ec7"


@pytest.fixture
def ready(shell: Shell) -> Shell:
    """With a chain of each family, a token and a wallet."""
    for typed in (
        ("chains", "add", "tron", "--genesis", "ab" * 32, "--unchecked"),
        ("chains", "add", "bsc", "--chain-id", "56", "--coin", "BNB", "--unchecked"),
        (
            "assets",
            "add",
            "bsc",
            "0x55d398326f99059fF775485246999027B3197955",
            "--flag-above",
            "200 USDT",
            "--symbol",
            "USDT",
            "--decimals",
            "18",
            "--unchecked",
        ),
        ("wallets", "derive"),
    ):
        assert shell(*typed).code == 0
    return shell


CHAIN = ("chains", "add", "y", "--chain-id", "57", "--coin", "BB", "--unchecked")
TOKEN = ("assets", "add", "bsc", OTHER, "--symbol", "X", "--decimals", "6", "--unchecked", "--flag-above")
TYPED = [
    (("chains", "add", "x", "--genesis", "12", "--unchecked"), "64 hex digits"),
    (("chains", "add", "x", "--genesis", "ab" * 32, "--unchecked"), "already as chain tron"),
    (("chains", "add", "x", "--chain-id", "1" + "0" * 40, "--coin", "B", "--unchecked"), "--chain-id"),
    (("chains", "add", "x", "--chain-id", "57", "--coin", "A" * 40, "--unchecked"), "32 printable characters"),
    (("chains", "add", "x", "--chain-id", "57", "--coin", "B\x01", "--unchecked"), "printable"),
    (("chains", "add", "X", "--chain-id", "57", "--coin", "B", "--unchecked"), "lower case letters"),
    ((*CHAIN, "--block-time", "1e12"), "--block-time"),
    ((*CHAIN, "--sync-interval", "inf"), "--sync-interval"),
    ((*CHAIN, "--gas-amount", "0 BB"), "gas_amount must be"),
    ((*CHAIN, "--gas-amount", "1" + "0" * 70 + " BB"), "78 is the most"),
    (("config", "set", "bsc.replace_after_blocks", "0"), "at least 1"),
    (("config", "set", "bsc.gas_amount", "0"), "gas_amount must be"),
    (("config", "set", "bsc.fee_max", "0"), "above 0"),
    (("config", "set", "bsc.sync_interval", "0"), "above 0"),
    (("config", "set", "bsc.sync_interval", "99999999999999999999d"), "3650 days"),
    (("config", "set", "tron.transaction_lifetime", "0"), "above 0"),
    (("config", "set", "bsc.USDT.consolidate_execute_min", "0"), "must be above 0"),
    (("config", "set", "bsc.USDT.transfer_tolerance", "11"), "10 raw units"),
    ((*TOKEN, "0 X"), "must be above 0"),
    (("wallets", "add", NEW, "--user", str(uuid4())), "no such user"),
    (("wallets", "add", OURS), "is watched on tron already"),
    (("wallets", "list", "--limit", "9" * 30), "--limit"),
    (("jobs", "list", "--limit", "9" * 30), "--limit"),
]


def test_what_cannot_be_kept_is_refused_in_words(ready: Shell) -> None:
    for typed, words in TYPED:
        answer = ready(*typed)
        assert answer.code in (1, 2), typed
        assert words in answer.err, typed
        assert not RAW.search(answer.err), answer.err


def test_an_index_beyond_all_is_a_bad_line(ready: Shell, tmp_path: Path) -> None:
    """It was a traceback."""
    file = tmp_path / "wallets.json"
    file.write_text(json.dumps([{"address": NEW, "index": index} for index in (2**31, 10**30)]))
    said = ready("wallets", "import", str(file))
    assert said.code == 1
    assert said.err.count("beyond the last one, 2147483647") == 2
    assert not RAW.search(said.err)


def test_each_kind_of_refusal(ready: Shell, database: str) -> None:
    user = "00000000-0000-0000-0000-000000000001"
    wallet = f"INSERT INTO user_wallets (address, network, user_id) VALUES ('{NEW}', 'tron', '{user}')"  # noqa: S608
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO auth.users (id) VALUES (%s)", [uuid4()])
        for statement, words in (
            ("INSERT INTO auth.users (id) SELECT id FROM auth.users", "users has a row with id = "),
            (wallet, "that wallets could name"),
            ("DELETE FROM asset_on_chain", "is still in use"),
            ("UPDATE chains SET name = NULL", "chains.name needs a value"),
            ("UPDATE chains SET block_time = interval '1 year' * 1e12", "out of its range"),
            ("UPDATE chains SET gas_amount = -1", "not negative"),
            ("UPDATE chains SET family = 'x'", "a value of chains is out of its bounds (chains family check)"),
        ):
            with pytest.raises(psycopg.Error) as refused:
                connection.execute(statement)
            said = in_words(refused.value)
            assert said is not None, statement
            assert words in said.message
            assert not RAW.search(said.message)


def test_a_lost_connection_is_another_thing() -> None:
    assert in_words(psycopg.OperationalError("server closed the connection")) is None
