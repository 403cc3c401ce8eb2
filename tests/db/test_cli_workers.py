"""`flagpost workers` as it is typed: wrong names, workers that ended, and where Prometheus finds those that live."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import AsyncConnection

from pipeline.db.pool import Connection
from tests.db.cli_kit import Shell
from tests.db.test_registry import heartbeat, register, worker

HERE = "worker-1"
SLOT = "all-gas-topup-001"


def seeded(database: str, seed: Callable[[Connection], Awaitable[Any]]) -> None:
    async def run() -> None:
        async with await AsyncConnection.connect(database, autocommit=True) as connection:
            await seed(connection)

    asyncio.run(run())


@pytest.fixture
def alive(database: str) -> None:
    """Two workers with metrics, here and elsewhere."""

    async def seed(connection: Connection) -> None:
        await register(connection, worker("gas-topup", host=HERE, port=9464))
        await register(connection, worker("sync", host="worker-2", port=9465))

    seeded(database, seed)


async def listening(connection: Connection, host: str, address: str) -> None:
    """The workers of that host say so."""
    await connection.execute(
        "UPDATE worker_registry SET config = jsonb_build_object('metrics_host', %s::text) WHERE host = %s",
        [address, host],
    )


@pytest.mark.parametrize("command", [["list"], ["pause"], ["resume"], ["stop"], ["start"], ["restart"]])
def test_a_type_or_a_host_that_there_is_not_is_no_success(shell: Shell, alive: None, command: list[str]) -> None:
    said = shell.fails("workers", *command, "--type", "gastopup")
    assert 'there is no type of worker "gastopup"' in said
    assert "the types: confirmations, consolidation, deposits, gas-topup, host, sweep, sync, web" in said
    said = shell.fails("workers", *command, "--host", "wroker-2")
    assert 'no worker of host "wroker-2" is known' in said
    assert "the hosts: worker-1, worker-2" in said


def test_a_known_type_without_a_worker_is_no_fault(shell: Shell, alive: None) -> None:
    answer = shell("workers", "list", "--type", "sweep")
    assert (answer.code, answer.out) == (0, "")
    assert "no such worker runs" in answer.err
    assert "no worker is concerned" in shell("workers", "pause", "--type", "sweep").err
    assert SLOT in shell("workers", "list", "--type", "gas-topup", "--host", HERE).out


@pytest.mark.parametrize("command", ["pause", "start"])
def test_the_nearest_slot_is_named(shell: Shell, alive: None, command: str) -> None:
    said = shell.fails("workers", command, "tron-gas-topup-001")
    assert "no such worker: tron-gas-topup-001" in said
    assert f"did you mean {SLOT}?" in said
    assert "flagpost workers list" in shell.fails("workers", command, "x"), "nothing is near"


def test_what_ended_is_not_shown_as_if_it_would_run(shell: Shell, database: str) -> None:
    async def seed(connection: Connection) -> None:
        of = await register(connection, worker("gas-topup", pid=4711))
        await heartbeat(connection, of, status="stopped", ended=True, stats='{"memory_bytes": 70000000, "held": 3}')

    seeded(database, seed)
    assert shell("workers", "list").out == ""
    (line,) = [line for line in shell("workers", "list", "--ended").out.splitlines() if SLOT in line]
    assert line.split()[:3] == [SLOT, "ended", "h"]
    for of_the_dead in ("→", "4711", "70 MB", "running"):
        assert of_the_dead not in line
    (found,) = shell("workers", "list", "--ended", "--json").json["workers"]
    assert found["has_ended"]
    assert shell("workers", "stop", SLOT).code == 0
    assert f"{SLOT}  stopped" in shell("workers", "list", "--ended").out, "told so, also for its next process"


class TestTargets:
    @pytest.fixture(autouse=True)
    def here(self, shell: Shell, alive: None) -> None:
        shell.env.setenv("FLAGPOST_HOST", HERE)

    @pytest.mark.parametrize(
        ("address", "own"),
        [
            ("127.0.0.1", "127.0.0.1:9464"),
            ("10.0.0.7", "10.0.0.7:9464"),
            ("fd00::7", "[fd00::7]:9464"),
            ("0.0.0.0", "worker-1:9464"),  # noqa: S104 - said by people, opened by nobody
            ("::", "worker-1:9464"),
        ],
    )
    def test_name_the_address_at_which_a_worker_listens(
        self, shell: Shell, database: str, address: str, own: str
    ) -> None:
        seeded(database, lambda connection: listening(connection, HERE, address))
        answer = shell("workers", "targets")
        assert answer.json == [{"targets": [own]}, {"targets": ["worker-2:9465"]}]
        assert answer.err == ""

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1", "localhost"])
    def test_that_only_another_host_reaches_are_said(self, shell: Shell, database: str, address: str) -> None:
        seeded(database, lambda connection: listening(connection, "worker-2", address))
        assert "workers on worker-2 listen where only their own host reaches them" in shell("workers", "targets").err

    def test_are_written_as_a_whole_for_another_user_to_read(self, shell: Shell, tmp_path: Path) -> None:
        file = tmp_path / "targets.json"
        file.write_text("[", encoding="utf-8")
        assert shell("workers", "targets", "--file", str(file)).out == ""
        assert json.loads(file.read_text(encoding="utf-8")) == shell("workers", "targets").json
        assert file.stat().st_mode & 0o777 == 0o644
        assert [path.name for path in tmp_path.glob("*targets*")] == ["targets.json"], "nothing is left beside it"
        missing = tmp_path / "missing" / "targets.json"
        assert "cannot be written: No such file or directory" in shell.fails(
            "workers", "targets", "--file", str(missing)
        )


def test_of_a_machine_without_another_name(shell: Shell, database: str) -> None:
    here = socket.gethostname()
    seeded(database, lambda connection: register(connection, worker("sync", host=here, port=9464)))
    seeded(database, lambda connection: listening(connection, here, "127.0.0.1"))
    answer = shell("workers", "targets")
    assert (answer.json, answer.err) == ([{"targets": ["127.0.0.1:9464"]}], "")
