"""``make manifest``: sql/manifest.txt, what a fresh database of this version has. Doctor compares others with it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg

from pipeline.db.migrate import migrate
from pipeline.db.statements import statement
from pipeline.embedded.server import EmbeddedServer
from tests.conftest import TEST_SERVER, temporary_home

PATH = Path(__file__).parents[1] / "sql" / "manifest.txt"
HEAD = """\
# What a fresh database of this version has: tables, constraints, indexes, triggers, policies. Written by
# `make manifest`, compared by `flagpost doctor`. A trigger's number is pg_trigger.tgtype.
"""


def objects(dsn: str) -> Iterator[str]:
    """The lines of the database at ``dsn``."""
    with psycopg.connect(dsn) as connection:
        for line, state in connection.execute(statement("doctor/schema_objects"), {}):
            assert not state, f"{line}: {state}"
            yield line


def main() -> None:
    """Migrate an empty database and write down what it has then."""
    with temporary_home() as home, EmbeddedServer(home, settings=TEST_SERVER) as server:
        asyncio.run(migrate(server.dsn))
        PATH.write_text(HEAD + "\n".join(sorted(objects(server.dsn))) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
