"""`flagpost workers scaling`, and the settings that switch auto-scaling on."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from psycopg import AsyncConnection

from tests.db.cli_kit import Shell
from tests.db.test_registry import register, worker


@pytest.fixture
def registered(database: str) -> None:
    async def seed() -> None:
        async with await AsyncConnection.connect(database, autocommit=True) as connection:
            await register(connection, worker("gas-topup"))

    asyncio.run(seed())


def test_says_that_there_is_nothing_to_scale(shell: Shell) -> None:
    assert shell("workers", "scaling", "--json").json == []
    answer = shell("workers", "scaling")
    assert (answer.code, answer.out) == (0, "")
    assert "no worker of a type that scales (gas-topup, consolidation)" in answer.err


def test_shows_what_it_would_do_also_while_it_is_off(shell: Shell, registered: None) -> None:
    answer = shell("workers", "scaling")
    assert "gas-topup" in answer.out
    assert "0 jobs are due, and 1 workers are the fewest" in " ".join(answer.out.split())
    assert "auto-scaling is off" in answer.err
    assert shell("config", "set", "scaling.engine", "agent").code == 0
    assert shell("config", "set", "scaling.min_workers", "2").code == 0
    answer = shell("workers", "scaling")
    assert "off" not in answer.err
    assert shell("workers", "scaling", "--json").json == [
        {
            "type": "gas-topup",
            "blockchain": "",
            "depth": 0,
            "workers": 1,
            "wanted": 2,
            "reason": "fewer than scaling.min_workers (2)",
            "engine": "agent",
        }
    ]


def test_shows_a_type_that_was_told_not_to_work(shell: Shell, registered: None, database: str) -> None:
    def decision() -> Mapping[str, Any]:
        (one,) = shell("workers", "scaling", "--json").json
        return dict(one)

    told = ["--no-wait", "--json"]
    assert shell("workers", "pause", "all-gas-topup-001", *told).code == 0
    said = "all of them (1) were told to pause: flagpost workers resume --type gas-topup"
    assert (decision()["workers"], decision()["wanted"], decision()["reason"]) == (0, 0, said)
    assert shell("workers", "resume", "all-gas-topup-001", *told).code == 0
    assert decision()["reason"] == "0 jobs are due, and 1 workers are the fewest"
    assert shell("workers", "stop", "all-gas-topup-001", *told).code == 0
    said = "all of them (1) were told to stop: flagpost workers start --type gas-topup"
    assert (decision()["wanted"], decision()["reason"]) == (0, said)
    assert said in shell("workers", "scaling").out
    assert shell("workers", "scale", "gas-topup", "1").code == 0
    assert (decision()["workers"], decision()["wanted"], decision()["reason"]) == (1, 1, said)
    assert shell("workers", "scale", "gas-topup", "2").code == 0
    assert "changed" in decision()["reason"], "another one is to be started"


@pytest.mark.parametrize(("key", "value"), [("engine", "nomad"), ("max_workers", "201"), ("cooldown_seconds", "0")])
def test_takes_no_setting_that_cannot_be(shell: Shell, key: str, value: str) -> None:
    assert f"scaling.{key}" in shell.fails("config", "set", f"scaling.{key}", value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("min_workers", "20", "scaling.min_workers cannot be 20: that is above scaling.max_workers (10)"),
        ("max_workers", "2", "scaling.max_workers cannot be 2: that is below scaling.min_workers (3)"),
        ("down_below", "51", "scaling.down_below cannot be 51: that is above scaling.up_above (50)"),
        ("up_above", "4", "scaling.up_above cannot be 4: that is below scaling.down_below (5)"),
    ],
)
def test_takes_no_setting_that_contradicts_another(shell: Shell, key: str, value: str, said: str) -> None:
    assert shell("config", "set", "scaling.min_workers", "3").code == 0
    assert said in shell.fails("config", "set", f"scaling.{key}", value)
    assert shell("config", "set", "scaling.max_workers", "20").code == 0
    assert shell("config", "set", "scaling.min_workers", "20").code == 0
