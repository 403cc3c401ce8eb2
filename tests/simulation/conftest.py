"""A database of the session's server for simulated runs."""

from collections.abc import Iterator

import pytest

from tests.databases import fresh_database
from tests.simulation.database import Database
from tests.simulation.ground import ground


@pytest.fixture(scope="module")
def simulated(server_dsn: str, template: str) -> Iterator[Database]:
    """Shared by all runs, each of which empties it first; after them the workers' code is itself again."""
    with fresh_database(server_dsn, template, "simulation") as dsn, ground(dsn) as database:
        yield database
