"""Doctor's questions about the server: what slows it down, fills its disk, or loses what it has committed."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pipeline.admin.checks.check import Check, Examination, Trouble
from pipeline.admin.checks.findings import Level
from pipeline.log import span

CLOCKS_APART = timedelta(seconds=5)
CLOCKS_WRONG = timedelta(minutes=1)
"""Signed payments expire within minutes by one clock and are proved dead by the other."""
LEAST_DISK = 200 * 1024**2
LITTLE_DISK = 2 * 1024**3
"""Bytes free where the embedded database is."""
LONG = timedelta(hours=1)


def _transactions(examination: Examination) -> Iterator[Trouble]:
    for row in examination.rows("server_transactions"):
        who = f"{row['user']} ({row['application'] or 'no application name'}, pid {row['pid']})"
        yield Trouble(
            f"a transaction of {who} has been open for {span(row['since'])}, {row['state']}: it slows down the queue",
            cure=f"if it is not needed: SELECT pg_terminate_backend({row['pid']})",
            ids=row["ids"],
        )


def _clock(examination: Examination) -> Iterator[Trouble]:
    """The server's clock against this machine's, as far as the round trip allows."""
    before = datetime.now(UTC)
    (row,) = examination.rows("server")
    after = datetime.now(UTC)
    apart = max(before - row["clock"], row["clock"] - after)
    if apart > CLOCKS_APART:
        which = "behind" if row["clock"] < before else "ahead of"
        yield Trouble(
            f"the clock of the database is {span(apart)} {which} that of this machine",
            Level.FAIL if apart > CLOCKS_WRONG else Level.WARN,
        )


def _disk(examination: Examination) -> Iterator[Trouble]:
    """Only of the embedded database, which is on this machine."""
    if examination.settings.database_url is not None or not examination.settings.home.exists():
        return
    free = shutil.disk_usage(examination.settings.home).free
    if free < LITTLE_DISK:
        yield Trouble(
            f"{free / 1024**2:,.0f} MB are free under {examination.settings.home}",
            Level.FAIL if free < LEAST_DISK else Level.WARN,
        )


CHECKS = (
    Check(
        "database.transactions",
        right="no transaction stays open",
        ask=_transactions,
        cure="end it: SELECT pg_terminate_backend(PID)",
        level=Level.WARN,
    ),
    Check(
        "database.prepared",
        right="no prepared transaction was left",
        statement="server_prepared",
        says="prepared transaction {gid} of {owner} has been left for {since}: it holds locks and holds vacuum back",
        cure="COMMIT PREPARED '{gid}' or ROLLBACK PREPARED '{gid}'",
    ),
    Check(
        "database.slots",
        right="every replication slot has a reader",
        statement="server_slots",
        says="replication slot {slot} {what}",
        cure="start its reader, or: SELECT pg_drop_replication_slot('{slot}')",
        level=Level.WARN,
    ),
    Check(
        "database.vacuum",
        right="autovacuum is on, and transaction ids are left",
        statement="server_vacuum",
        says="{what}",
        cure="{cure}",
        level=Level.WARN,
    ),
    Check(
        "database.dead_rows",
        right="vacuum gets through",
        statement="server_dead_rows",
        says="{table} has {dead} dead rows and {live} live ones",
        cure="find what holds vacuum back (old transactions, slots), then: VACUUM {table}",
        level=Level.WARN,
    ),
    Check(
        "database.connections",
        right="connections are left",
        statement="server_connections",
        says="{used} of {most} connections are in use ({limit})",
        cure="raise the limit, or put PgBouncer in front; each process holds up to 6",
    ),
    Check(
        "database.durability",
        right="what was committed survives a crash",
        statement="server_durability",
        says="{setting} is {value}: {why}",
        cure="SET {setting} = on in postgresql.conf, and reload",
    ),
    Check(
        "database.clock",
        right="the clocks of the database and of this machine agree",
        ask=_clock,
        cure="set the clocks (NTP); see that no times lie ahead: wallets.schedule, queue.times",
    ),
    Check("database.disk", right="the disk has room", ask=_disk, cure="make room; without any the database stops"),
)
