"""`flagpost doctor` names each sender that stands still, with its reason and its way out; the exit code is 1."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.db.cli_kit import Shell
from tests.db.money import GAS_STATION


@pytest.fixture
def sender(database: str) -> Any:
    """Writes one."""

    def write(**columns: Any) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            chain = connection.execute("SELECT id FROM chains").fetchone()
            assert chain is not None
            named = {"chain_id": chain[0], "sender": GAS_STATION, "first_nonce": 0, **columns}
            now = connection.execute("SELECT now()").fetchone()
            assert now is not None
            values = [now[0] - value if isinstance(value, timedelta) else value for value in named.values()]
            connection.execute(
                psycopg.sql.SQL("INSERT INTO senders ({}) VALUES ({})").format(
                    psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, named)),
                    psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() * len(named)),
                ),
                values,
            )

    return write


def found(shell: Shell) -> dict[str, dict[str, str]]:
    answer = shell("doctor", "--json")
    assert answer.code == 1
    return {one["check"]: one for one in answer.json["checks"] if one["check"].startswith("senders")}


@pytest.mark.parametrize(
    ("columns", "check", "said", "todo"),
    [
        ({}, "senders", "every sender may pay", ""),
        (
            {"held": "its key is out", "held_since": timedelta(hours=2)},
            "senders.held",
            "its key is out",
            "release_sender(",
        ),
        (
            {"stuck": "no block takes it", "stuck_since": timedelta(hours=2)},
            "senders.stuck",
            "no block takes it",
            "do what",
        ),
        (
            {
                "stuck": "who knows",
                "stuck_since": timedelta(hours=2),
                "unexplained": psycopg.types.range.Int8Range(1, 3),
            },
            "senders.stuck",
            "who knows",
            "release_sender(",
        ),
        ({"unknown_below": 3, "unknown_since": timedelta(hours=2)}, "senders.unknown", "2 h", "confirmations runs"),
        ({"unknown_below": 3, "unknown_since": timedelta(minutes=5)}, "senders", "every sender may pay", ""),
    ],
)
def test_a_sender_that_stands_still_fails(
    shell: Shell, sender: Any, columns: dict[str, Any], check: str, said: str, todo: str
) -> None:
    assert shell("chains", "add", "bsc", "--chain-id", "56", "--coin", "BNB", "--unchecked").code == 0
    sender(**columns)
    ((name, one),) = found(shell).items()
    assert name == check
    assert one["level"] == ("ok" if check == "senders" else "fail")
    assert said in one["message"]
    assert todo in one["todo"]
