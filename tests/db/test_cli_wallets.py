"""`flagpost wallets`: what is ours is recognised, what is not is called foreign, and bad input names itself."""

import asyncio
import json

import psycopg
import pytest
from psycopg import AsyncConnection

from tests.db.cli_kit import MNEMONIC, Shell
from tests.seed import seed_tron

OWN_GAS = "TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH"
OWN_TREASURY = "TSeJkUh4Qv67VNFwY8LaAxERygNdy6NQZK"
SOMEBODY = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"


@pytest.fixture
def shell(shell, database) -> Shell:
    asyncio.run(_seed(database))
    return shell


async def _seed(dsn: str) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
        await seed_tron(connection)


@pytest.fixture
def derived(shell) -> list[str]:
    """Addresses of our indices 10 to 12, not in the database."""
    with psycopg.connect(shell_dsn(shell), autocommit=True) as connection:
        addresses = [wallet["address"] for wallet in shell("wallets", "derive", "--count", "3", "--json").json]
        connection.execute("DELETE FROM wallets")
    return addresses


def shell_dsn(shell) -> str:
    return shell("db", "url").out.strip()


def rows(shell, sql: str) -> list[tuple]:
    with psycopg.connect(shell_dsn(shell)) as connection:
        return connection.execute(sql).fetchall()


def test_derived_wallets_go_on_after_the_last_index_and_repeat_harmlessly(shell):
    first = shell("wallets", "derive", "--count", "3", "--json").json
    assert [wallet["index"] for wallet in first] == [10, 11, 12]
    again = shell("wallets", "derive", "--count", "3", "--start", "12", "--json").json
    assert [(wallet["index"], wallet["added"]) for wallet in again] == [(12, False), (13, True), (14, True)]
    assert again[0]["address"] == first[2]["address"]
    listed = shell("wallets", "list", "--json").json
    assert [wallet["derivation_index"] for wallet in listed] == [10, 11, 12, 13, 14]
    assert {balance["symbol"] for balance in listed[0]["balances"]} == {"TRX", "USDT"}


def test_what_new_wallets_cost_by_the_policy_is_said_at_once(shell):
    told = shell("wallets", "derive", "--count", "100").err
    assert "up to 500 TRX will be sent to them (5 TRX each" in told
    assert "flagpost config set tron.gas_policy on_demand" in told
    assert "will be sent" not in shell("wallets", "add", SOMEBODY).err  # foreign: never receives gas
    shell("config", "set", "tron.gas_policy", "on_demand")
    assert "will be sent" not in shell("wallets", "derive").err


def test_our_own_indices_are_reserved(shell):
    assert "are reserved" in shell.fails("wallets", "derive", "--start", "1", code=2)
    assert "the gas wallet" in shell.fails("wallets", "add", OWN_GAS)
    assert "the treasury" in shell.fails("wallets", "add", OWN_TREASURY)


def test_an_address_is_recognised_as_ours_without_its_index(shell, derived):
    answer = shell("wallets", "add", derived[1])
    assert "ours, index 11" in answer.out
    assert rows(shell, "SELECT address, derivation_index FROM wallets") == [(derived[1], 11)]


def test_a_foreign_address_is_watched_and_said_to_receive_no_gas(shell):
    answer = shell("wallets", "add", SOMEBODY)
    assert "foreign: never receives gas" in answer.out
    assert rows(shell, "SELECT address, derivation_index FROM wallets") == [(SOMEBODY, None)]
    assert "watched on tron already" in shell.fails("wallets", "add", SOMEBODY)
    assert [wallet["address"] for wallet in shell("wallets", "list", "--foreign", "--json").json] == [SOMEBODY]
    assert shell("wallets", "list", "--ours", "--json").json == []


def test_a_wrong_index_names_the_address_it_stands_for(shell, derived):
    message = shell.fails("wallets", "add", derived[0], "--index", "11")
    assert f"is not ours at index 11: that one is {derived[1]}" in message
    assert rows(shell, "SELECT count(*) FROM wallets") == [(0,)]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdh", "wrong checksum"),
        ("0x9858EfFD232B4033E47d90003D41EC34EcaEda94", "EVM address"),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "Bitcoin address"),
        ("invalid", "not base58"),
    ],
)
def test_a_bad_address_says_what_is_wrong_with_it(shell, address, message):
    assert message in shell.fails("wallets", "add", address)


def test_listing_wallets_of_an_unknown_chain_names_those_there_are(shell):
    for more in ((), ("--json",)):
        assert "no chain is called 'tronn'; there are: " in shell.fails("wallets", "list", "--chain", "tronn", *more)


def test_an_unknown_chain_names_those_there_are(shell):
    assert "no chain is called 'tronn'; there are: tron" in shell.fails("wallets", "add", SOMEBODY, "--chain", "tronn")


@pytest.mark.parametrize(
    ("words", "message"), [(MNEMONIC.replace("about", "abandon"), "checksum is wrong"), ("one two", "has 2 words")]
)
def test_a_bad_mnemonic_is_described_and_never_shown(shell, words, message):
    shell.env.setenv("FLAGPOST_MNEMONIC", words)
    said = shell.fails("wallets", "derive")
    assert message in said
    assert "FLAGPOST_MNEMONIC" in said
    assert "abandon" not in said


def test_without_a_mnemonic_deriving_says_where_to_put_one(shell):
    shell.env.delenv("FLAGPOST_MNEMONIC")
    assert "set FLAGPOST_MNEMONIC" in shell.fails("wallets", "derive")
    assert "foreign" in shell("wallets", "add", SOMEBODY).out


def test_an_import_takes_all_or_nothing_and_names_every_bad_line(shell, derived, tmp_path):
    file = tmp_path / "wallets.csv"
    file.write_text(
        f"address,index,user_id\n{derived[0]},10,\n{derived[1]},12,\n0xabc,,\n{SOMEBODY},,\n{SOMEBODY},,\n"
        f"{derived[2]},,9a5bd09e-2f3f-4a3e-8a1c-0e3f6d2b1a77\n"
    )
    answer = shell("wallets", "import", str(file), "--json")
    assert answer.code == 1
    report = answer.json
    assert [problem["place"] for problem in report["problems"]] == ["line 3", "line 4", "line 6", "line 7"]
    assert report["added"] == 0
    assert rows(shell, "SELECT count(*) FROM wallets") == [(0,)]

    answer = shell("wallets", "import", str(file), "--skip-bad", "--json")
    assert (answer.code, answer.json["added"], answer.json["foreign"]) == (1, 2, 1)
    assert rows(shell, "SELECT address FROM wallets ORDER BY id") == [(derived[0],), (SOMEBODY,)]


def test_a_json_import_with_users(shell, derived, tmp_path):
    with psycopg.connect(shell_dsn(shell), autocommit=True) as connection:
        (user,) = connection.execute("INSERT INTO auth.users (email) VALUES ('a@b.c') RETURNING id").fetchone()
    file = tmp_path / "wallets.json"
    file.write_text(json.dumps([{"address": derived[0], "user_id": str(user)}, derived[1]]))
    answer = shell("wallets", "import", str(file))
    assert answer.code == 0
    assert "2 added on tron (0 foreign)" in answer.out
    assert rows(shell, "SELECT user_id, derivation_index FROM wallets ORDER BY id") == [(user, 10), (None, 11)]
    assert "0 added" in shell("wallets", "import", str(file)).out


def test_an_index_that_another_row_has_is_named(shell, derived):
    with psycopg.connect(shell_dsn(shell), autocommit=True) as connection:
        connection.execute(
            "INSERT INTO wallets (chain_id, address, derivation_index) SELECT id, 'spoilt', 10 FROM chains"
        )
    assert "index 10 already belongs to wallet" in shell.fails("wallets", "add", derived[0])


def test_commands_without_a_database_or_schema_say_what_to_do(shell, empty_database):
    shell.env.setenv("DATABASE_URL", empty_database)
    for command in (("wallets", "list"), ("jobs", "list"), ("config", "show")):
        assert "run: flagpost migrate" in shell.fails(*command)
    shell.env.setenv("DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/x")
    said = shell.fails("wallets", "list")
    assert "does not answer" in said
    assert "secret" not in said
    shell.env.delenv("DATABASE_URL")
    assert "flagpost up" in shell.fails("jobs", "list")
