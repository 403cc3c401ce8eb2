"""Databases that tests can throw away."""

import contextlib
import itertools
import os
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

_numbers = itertools.count(1)


@contextlib.contextmanager
def fresh_database(server_dsn: str, template: str = "template0", label: str = "") -> Iterator[str]:
    """The DSN of a copy of ``template``, dropped at the end. ``label`` ends its name, for people who look."""
    name = f"flagpost_test_{os.getpid()}_{next(_numbers)} {label}".rstrip()[:63]
    with psycopg.connect(server_dsn, autocommit=True) as admin:
        # Copying files costs half of copying through the WAL where the disk is memory, and no more elsewhere.
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} ENCODING 'UTF8' STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    try:
        yield make_conninfo(server_dsn, dbname=name)
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
