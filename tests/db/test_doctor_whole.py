"""Doctor comes to its end: what it cannot ask is a finding, and the rest is asked."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipeline.admin.checks import chain as check_chain
from pipeline.admin.checks import locks as check_locks
from pipeline.admin.checks.chain import check_chain as check_one
from pipeline.admin.checks.findings import Findings
from pipeline.chains.errors import ChainUnavailable, InconsistentNode, NotAToken, SimulationFailed, WrongNetwork
from pipeline.chains.provider import Capabilities
from tests.db.cli_kit import Shell
from tests.db.doctor_kit import ASKED
from tests.db.logins import login

LATER = {
    "database.rights",
    "locks.foreign",
    "notify",
    "config",
    "policy.ledger",
    "queue.due",
    "wallets.unread",
    "money.out",
}
"""Checks of every kind: most are asked after the first that may be refused."""


def by_check(shell: Shell) -> dict[str, list[dict[str, Any]]]:
    """The findings of one run, which has to come to its end."""
    answer = shell("doctor", "--json")
    assert "Traceback" not in answer.err, answer.err
    found: dict[str, list[dict[str, Any]]] = {}
    for one in answer.json["checks"]:
        found.setdefault(one["check"], []).append(one)
    return found


@pytest.fixture
def chains(shell: Shell, database: str) -> Shell:
    """Two more chains."""
    for name, number in (("one", "901"), ("two", "902")):
        assert shell("chains", "add", name, "--chain-id", number, "--coin", "ETH", "--unchecked").code == 0
    return shell


@pytest.mark.parametrize("role", ["pipeline_readonly", "pipeline_sync", "pipeline_executor", "pipeline_web"])
def test_a_login_of_any_role_is_told_what_it_may_not_ask(shell: Shell, database: str, role: str) -> None:
    with login(database, "looks", f"IN ROLE {role}") as dsn:
        shell.env.setenv("DATABASE_URL", dsn)
        found = by_check(shell)
    assert "permission denied" not in str(found.get("database")), "it did not stop there"
    assert LATER - found.keys() == set()
    asked = {check for check in ASKED if check in found}
    assert asked == ASKED.keys(), "every topic"
    refused = [one for many in found.values() for one in many if "permission denied" in one["message"]]
    for one in refused:
        assert one["message"].startswith("not known whether "), one
        assert one["todo"] == "run doctor with the DATABASE_URL that migrates"


@pytest.mark.parametrize(
    ("error", "check", "said"),
    [
        (WrongNetwork("one address, two networks"), "node", "one: one address, two networks"),
        (InconsistentNode("another block"), "node", "one: another block"),
        (ChainUnavailable("no node"), "node", "one: no node"),
        (SimulationFailed("it would fail"), "assets", "one: it would fail"),
        (NotAToken("no token"), "assets", "one: no token"),
        (
            ZeroDivisionError("of a\nnode"),
            "assets",
            "one: not known whether every token is what its row says: ZeroDivisionError: of a node",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_a_chain_answers_is_a_finding(
    chains: Shell, database: str, monkeypatch: pytest.MonkeyPatch, error: Exception, check: str, said: str
) -> None:
    class Node:
        capabilities = Capabilities()
        closed = False

        async def close(self) -> None:
            Node.closed = True

    async def one_node(*_: object) -> Node:
        return Node()

    async def fails(*_: object) -> None:
        raise error

    for name in ("_check_tokens", "_check_treasury", "_check_gas_wallet", "check_fees"):
        monkeypatch.setattr(check_chain, name, fails if name == "_check_tokens" else nothing)
    monkeypatch.setattr(check_chain, "check_nodes", one_node)
    found = by_check(chains)
    for chain in ("one", "two"):
        messages = [one["message"] for one in found[f"{chain}.{check}"] if one["level"] == "fail"]
        assert messages == [said.replace("one: ", f"{chain}: ", 1)]
        assert found[f"{chain}.wallets"], "what the database knows of it is said all the same"
    assert Node.closed


async def nothing(*_: object) -> None:
    """A question that finds nothing."""


def test_an_error_outside_of_all_questions_ends_one_chain_only(chains: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(found: Findings, examination: Any, chain: Any) -> None:
        if chain["name"] == "one":
            raise KeyError("gone")
        await check_one(found, examination, chain)

    monkeypatch.setattr(check_chain, "check_chain", broken)
    found = by_check(chains)
    ((level, message),) = [(one["level"], one["message"]) for one in found["one.node"]]
    assert (level, message) == (
        "fail",
        "one: not known whether every node is of the right network and answers: KeyError: 'gone'",
    )
    assert found["two.wallets"]


@pytest.mark.parametrize("name", ["check_rights", "check_leaders", "check_blocked"])
def test_a_fault_of_doctors_own_is_a_finding(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def broken(*_: object) -> None:
        raise AttributeError("mnemonic: abandon abandon abandon abandon")

    monkeypatch.setattr(check_locks, name, broken)
    found = by_check(shell)
    check = {"check_rights": "database.rights", "check_leaders": "leaders", "check_blocked": "locks.blocked"}[name]
    (one,) = found[check]
    assert one["level"] == "fail"
    assert ": AttributeError: " in one["message"]
    assert "abandon abandon abandon" not in one["message"]
    assert LATER - found.keys() - {check} == set()


def test_a_connection_that_is_lost_half_way_ends_the_run_in_words(
    shell: Shell, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., None] = check_locks.check_connect

    def cut(found: Findings, connection: psycopg.Connection[Any]) -> None:
        with psycopg.connect(database, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        real(found, connection)

    monkeypatch.setattr(check_locks, "check_connect", cut)
    found = by_check(shell)
    assert found["database"][-1]["message"].startswith("the connection was lost: ")


class TestFilesOfAnotherUser:
    """Python 3.11 asks ``stat`` and lets PermissionError through: nobody is refused in these tests, who may be root."""

    @pytest.fixture
    def refused(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        theirs = home / "theirs"
        real = os.stat

        def stat(path: Any, **more: Any) -> os.stat_result:
            if isinstance(path, str | os.PathLike) and str(path).startswith(f"{theirs}/"):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, **more)

        monkeypatch.setattr(os, "stat", stat)
        return theirs

    def test_a_ledger(self, shell: Shell, home: Path, refused: Path) -> None:
        shell.env.setenv("FLAGPOST_SIGNING_LEDGER", str(refused / "signed.jsonl"))
        found = by_check(shell)
        ((level, message, todo),) = [(one["level"], one["message"], one["todo"]) for one in found["policy.ledger"]]
        assert level == "fail"
        assert message.endswith("signed.jsonl cannot be accessed, and this user signs nothing: Permission denied")
        assert "run doctor as that one" in todo
        assert LATER - found.keys() == set()
        assert "cannot be" in shell.fails("policy", "show") or "Permission denied" in shell.fails("policy", "show")

    def test_a_policy_file(self, shell: Shell, refused: Path) -> None:
        shell.env.setenv("FLAGPOST_HOME", str(refused))
        found = by_check(shell)
        ((level, message),) = [(one["level"], one["message"]) for one in found["policy"]]
        assert level == "fail"
        assert message == f"The policy file {refused}/policy.toml cannot be looked for: Permission denied"
        assert found["queue.due"]
        assert "cannot be looked for" in shell.fails("policy", "show")

    def test_a_file_of_variables(self, shell: Shell, refused: Path) -> None:
        """Another database than the one it names must not be asked in its place."""
        shell.env.setenv("FLAGPOST_ENV_FILE", str(refused / ".env"))
        assert "/.env cannot be read: " in shell.fails("doctor")
