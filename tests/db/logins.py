"""Logins that tests make on the server and drop again."""

import contextlib
import os
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo


def login_name(label: str) -> str:
    return f"flagpost_test_{label}_{os.getpid()}"


@contextlib.contextmanager
def login(dsn: str, label: str, options: str = "") -> Iterator[str]:
    """The DSN of a new login on the database of ``dsn`` (a superuser's). ``options`` are those of CREATE ROLE; what it
    owns and what it was given there is dropped with it."""
    name = sql.Identifier(login_name(label))
    may_log_in = "" if "NOLOGIN" in options else "LOGIN"
    create = f"CREATE ROLE {{}} PASSWORD 'secret' {may_log_in} {options}"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(sql.SQL(create).format(name))  # type: ignore[arg-type]
    try:
        yield make_conninfo(dsn, user=login_name(label), password="secret")
    finally:
        with psycopg.connect(dsn, autocommit=True) as admin:
            sessions = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s"
            admin.execute(sessions, [login_name(label)])
            admin.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            admin.execute(sql.SQL("DROP ROLE {}").format(name))
