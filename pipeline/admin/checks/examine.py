"""All checks of doctor, in their order."""

import asyncio
from collections.abc import Callable, Collection, Iterator

import psycopg

from pipeline.admin.checks import chain as check_chain
from pipeline.admin.checks import database as check_database
from pipeline.admin.checks import history as check_history
from pipeline.admin.checks import locks as check_locks
from pipeline.admin.checks import money as check_money
from pipeline.admin.checks import nodes as check_nodes
from pipeline.admin.checks import policy as check_policy
from pipeline.admin.checks import processes as check_processes
from pipeline.admin.checks import queue as check_queue
from pipeline.admin.checks import schema as check_schema
from pipeline.admin.checks import senders as check_senders
from pipeline.admin.checks import server as check_server
from pipeline.admin.checks import sessions as check_sessions
from pipeline.admin.checks import wallets as check_wallets
from pipeline.admin.checks.check import Check, Examination, Examiner, Topic, answered
from pipeline.admin.checks.findings import Findings
from pipeline.admin.errors import ActionError
from pipeline.admin.session import Connection, Row, async_database, database
from pipeline.config import RuntimeConfig
from pipeline.db.migrate import Schema, installed_version
from pipeline.settings import Settings

TOPICS = (
    Topic("schema", check_schema.CHECKS),
    Topic("server", check_server.CHECKS),
    Topic("processes", check_processes.CHECKS),
    Topic("queue", check_queue.CHECKS),
    Topic("history", check_history.CHECKS),
    Topic("wallets", check_wallets.CHECKS),
    Topic("money", check_money.CHECKS),
    Topic("senders", check_senders.CHECKS),
)
"""What the database is asked, in this order (``check.py`` says how one is added)."""


def known_checks() -> Iterator[Check]:
    """Every check there is. Those of chains have ids that begin with ``CHAIN``, for the name of one."""
    for module in (check_database, check_sessions, check_locks, check_policy):
        yield from module.CHECKS
    for topic in TOPICS:
        yield from topic.checks
    yield from check_nodes.CHECKS
    yield from check_chain.CHECKS


def examine(found: Findings, settings: Settings, processes: Collection[str], *, full: bool = False) -> None:
    """Every check, until one says that nothing more can be asked. ``processes``: those that are to run. ``full``:
    compare every wallet."""
    try:
        with database(settings, "doctor") as connection:
            connection.autocommit = True  # no transaction is open while a node is asked
            _examine(found, connection, settings, processes, full=full)
    except ActionError as error:
        found.fail("database", error.message, error.hint)
    except psycopg.Error as error:
        found.fail("database", f"the connection was lost: {str(error).splitlines()[0]}", "run doctor again")


def _examine(
    found: Findings, connection: Connection, settings: Settings, processes: Collection[str], *, full: bool
) -> None:
    if not check_database.check_server(found, connection):
        return
    if not check_sessions.check_writes(found, connection):
        return
    known = {check.id: check for check in known_checks()}

    def ask(check: str, question: Callable[[], None]) -> None:
        with answered(found, connection, known[check]):
            question()

    ask("sessions", lambda: check_sessions.check_sessions(found, connection, settings))
    if not _check_schema(found, asyncio.run(_installed(settings))):
        return
    ask("shadows", lambda: check_sessions.check_shadows(found, connection))
    ask("database.rights", lambda: check_locks.check_rights(found, connection))
    ask("database.connect", lambda: check_locks.check_connect(found, connection))
    ask("locks.foreign", lambda: check_locks.check_foreign_locks(found, connection))
    ask("locks.blocked", lambda: check_locks.check_blocked(found, connection))
    ask("database.notifications", lambda: check_locks.check_notification_queue(found, connection))
    ask("notify", lambda: check_database.check_notify(found, connection, settings))
    config = RuntimeConfig()
    with answered(found, connection, known["config"]):
        config = _check_config(found, settings)
    ask("processes", lambda: check_database.check_processes(found, connection, processes, system_paused=config.paused))
    ask("leaders", lambda: check_locks.check_leaders(found, connection))
    ask("policy", lambda: check_policy.check_policy(found, connection, settings))
    examination = Examination(connection, settings, config, full)
    examiner = Examiner(examination, found)
    for topic in TOPICS:
        examiner.ask(topic)
    chains: list[Row] = []
    with answered(found, connection, known["chains"]):
        chains += _active_chains(found, examination)
    for chain in chains:
        found.about(chain["name"])
        with answered(found, connection, known["CHAIN.node"], chain["name"]):
            asyncio.run(check_chain.check_chain(found, examination, chain))


def _check_config(found: Findings, settings: Settings) -> RuntimeConfig:
    config = asyncio.run(_config(settings))
    for problem in config.problems:
        found.warn("config", problem, "correct it: flagpost config set KEY VALUE")
    if not config.problems:
        found.ok("config", "configuration is valid")
    if config.paused:
        found.warn(
            "paused", "the whole system is paused: nothing new is taken", "go on: flagpost config set paused false"
        )
    return config


def _active_chains(found: Findings, examination: Examination) -> list[Row]:
    chains = examination.active_chains()
    if not chains:
        found.warn(
            "chains", "there is no active chain", "see: flagpost chains list; switch one on: flagpost chains enable"
        )
    return chains


def _check_schema(found: Findings, installed: int) -> bool:
    """Whether the database is of this version: of another one nothing else can be asked."""
    wanted = Schema.of_this_version().version
    if installed < wanted:
        todo = "run: flagpost migrate"
        if installed == 0:
            todo += "; if it has tables user_wallets and job_logs of your own: flagpost adopt (a dry run)"
        found.fail("schema", f"the schema is at version {installed}, this is {wanted}", todo)
    elif installed > wanted:
        found.fail("schema", f"the schema is at version {installed}, newer than this {wanted}", "upgrade Flagpost")
    else:
        found.ok("schema", f"schema at version {installed}")
    return installed == wanted


async def _installed(settings: Settings) -> int:
    async with async_database(settings, "doctor") as connection:
        return await installed_version(connection)


async def _config(settings: Settings) -> RuntimeConfig:
    async with async_database(settings, "doctor") as connection:
        return await RuntimeConfig.load(connection)
