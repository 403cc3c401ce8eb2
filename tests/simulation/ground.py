"""A database for runs, and the workers' code joined to the simulation for as long as it is there."""

import contextlib
import logging
from collections.abc import Iterator
from unittest import mock

from tests.simulation import seams
from tests.simulation.database import Database
from tests.simulation.run import MNEMONIC


@contextlib.contextmanager
def ground(dsn: str) -> Iterator[Database]:
    """``dsn`` is a superuser's of a freshly migrated database that serves nothing else."""
    psycopg_log = logging.getLogger("psycopg")
    level = psycopg_log.level
    # It warns of every connection that was in a transaction when its process was killed.
    psycopg_log.setLevel(logging.CRITICAL)
    Database.prepare(dsn)
    database = Database(dsn)
    try:
        with mock.patch.dict("os.environ", FLAGPOST_MNEMONIC=MNEMONIC), seams.joined():
            yield database
    finally:
        database.close()
        psycopg_log.setLevel(level)
