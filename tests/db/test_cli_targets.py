"""`flagpost workers scale`: how many workers there shall be, said, listed and taken back."""

import asyncio
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.db.cli_kit import Shell
from tests.db.money import new_attempt, new_transfer
from tests.db.sessions import rows
from tests.db.test_registry import register, worker
from tests.seed import add_wallets, seed_tron


@pytest.fixture
def payment_out(database: str) -> None:
    async def seed() -> None:
        async with await AsyncConnection.connect(database, autocommit=True) as connection:
            chain = await seed_tron(connection)
            (wallet,) = await add_wallets(connection, chain, 1)
            await new_attempt(connection, await new_transfer(connection, chain, wallet))

    asyncio.run(seed())


def audited(database: str) -> list[tuple[Any, ...]]:
    async def read() -> list[tuple[Any, ...]]:
        async with await AsyncConnection.connect(database, autocommit=True) as connection:
            query = "SELECT target_id, details ->> 'host' FROM admin_actions WHERE action_type = 'workers.scale'"
            return await rows(connection, f"{query} ORDER BY created_at")

    return asyncio.run(read())


def test_a_number_is_said_listed_and_taken_back(shell: Shell, database: str) -> None:
    answer = shell("workers", "scale")
    assert (answer.code, answer.out) == (0, "")
    assert "each host has one" in answer.err
    answer = shell("workers", "scale", "sync", "3")
    assert "sync: 3, over all hosts" in answer.out
    assert "no agent runs such a worker now" in answer.err
    assert shell("workers", "scale", "sync", "2", "--host", "worker-2").code == 0
    listed = shell("workers", "scale", "--json").json["targets"]
    assert [(one["type"], one["host"], one["workers"], one["set_by"], one["alive"]) for one in listed] == [
        ("sync", "", 3, "operator", 0),
        ("sync", "worker-2", 2, "operator", 0),
    ]
    assert shell("workers", "list", "--json").json["targets"] == listed
    assert "worker-2" in shell("workers", "scale").out
    done = shell("workers", "scale", "sync", "--reset", "--host", "worker-2", "--json").json
    assert done == {"type": "sync", "blockchain": "", "host": "worker-2", "workers": None, "agents": [],
                    "before": 2, "host_is_known": False}  # fmt: skip
    assert len(shell("workers", "scale", "--json").json["targets"]) == 1
    assert audited(database) == [("all-sync", ""), ("all-sync", "worker-2"), ("all-sync", "worker-2")]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["sync"], 2, "how many?"),
        (["sync", "2", "--reset"], 2, "how many?"),
        (["sync", "201"], 1, "201 workers cannot be had"),
        (["host", "2"], 1, 'workers of type "host" are not scaled'),
        (["sync", "2", "--chain", "nowhere"], 1, 'there is no chain "nowhere"'),
    ],
)
def test_what_cannot_be_is_refused(shell: Shell, arguments: list[str], code: int, said: str) -> None:
    assert said in shell.fails("workers", "scale", *arguments, code=code)


def test_no_worker_that_follows_payments_has_to_be_said_twice(shell: Shell, payment_out: None) -> None:
    said = shell.fails("workers", "scale", "confirmations", "0")
    assert "payments are out" in said
    assert "--anyway" in said
    assert shell("workers", "scale", "confirmations", "0", "--anyway").code == 0


def test_also_while_no_payment_is_out(shell: Shell, database: str) -> None:
    said = shell.fails("workers", "scale", "confirmations", "0", "--host", "worker-2")
    assert "no worker would follow payments on worker-2" in said
    assert "--anyway" in said
    assert shell("workers", "scale", "--json").json["targets"] == []
    assert audited(database) == []
    assert shell("workers", "scale", "confirmations", "0", "--host", "worker-2", "--anyway").code == 0
    assert audited(database) == [("all-confirmations", "worker-2")]
    assert shell("workers", "scale", "gas-topup", "0").code == 0


def test_a_reset_of_what_was_not_set_is_said_to_change_nothing(shell: Shell, database: str) -> None:
    answer = shell("workers", "scale", "gas-topup", "--reset")
    assert answer.code == 0
    assert "gas-topup: there was no number over all hosts, and nothing was changed" in answer.out
    assert audited(database) == []
    assert shell("workers", "scale", "gas-topup", "2").code == 0
    assert "gas-topup: no number any more" in shell("workers", "scale", "gas-topup", "--reset").out


def test_a_host_that_nobody_knows_is_named(shell: Shell, database: str) -> None:
    assert "no worker of host wroker-2 is known" in shell("workers", "scale", "sync", "2", "--host", "wroker-2").err
    assert "is known" in shell("workers", "scale", "sync", "3", "--host", "wroker-2").err, "a number is no worker"

    async def seed() -> None:
        async with await AsyncConnection.connect(database, autocommit=True) as connection:
            await register(connection, worker("sync", host="worker-2"))

    asyncio.run(seed())
    assert "is known" not in shell("workers", "scale", "sync", "2", "--host", "worker-2").err
