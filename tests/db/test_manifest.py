"""sql/manifest.txt says what a fresh database has."""

from pipeline.admin.checks.schema import functions, manifest
from pipeline.db.pool import Connection
from tests.db.worker_kit import rows
from tests.manifest import objects


async def test_the_manifest_is_what_a_fresh_database_has(database: str) -> None:
    listed, there = set(manifest()), set(objects(database))
    assert there - listed == set(), "run: make manifest"
    assert listed - there == set(), "run: make manifest"


async def test_every_function_of_the_schema_is_known_with_its_text(connection: Connection) -> None:
    there = await rows(
        connection,
        "SELECT proname AS name, prosrc AS body, prosecdef AS definer FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND probin IS NULL AND prolang <> 13 ORDER BY 1",
    )
    known = [(one.name, one.body, one.definer) for overloads in functions().values() for one in overloads]
    assert sorted((row["name"], row["body"], row["definer"]) for row in there) == sorted(known)
