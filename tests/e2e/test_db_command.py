"""`flagpost db` as people meet it: while the database is just being started, and with a password in its URL."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.e2e.running import Running, flagpost, until, wait_until_gone


@pytest.fixture
def env(home: Path) -> Iterator[dict[str, str]]:
    """Of somebody with a home of his own and no server."""
    kept = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    yield {**kept, "FLAGPOST_HOME": str(home)}
    wait_until_gone(home)


def test_what_url_says_can_be_used_at_once(env: dict[str, str]) -> None:
    """Right after a fresh start: the server answers before its database is made."""
    with Running(["db", "start"], env) as server:
        answered = until(lambda: (said := flagpost(["db", "url"], env)).returncode == 0 and said, "an answer of db url")
        migrated = flagpost(["migrate"], env)
        assert migrated.returncode == 0, migrated.stderr
        with psycopg.connect(answered.stdout.strip()) as connection:
            assert connection.execute("SELECT count(*) > 0 FROM schema_migrations").fetchone() == (True,)
        assert server.stop() == 0


def test_nobody_is_waited_for_where_no_server_is_started(env: dict[str, str]) -> None:
    for command in (["db", "url"], ["jobs", "list"]):
        said = flagpost(command, env, patience=20)
        assert said.returncode == 1
        assert "is not running" in said.stderr
        assert said.stdout == ""


def test_no_list_of_processes_shows_the_password(database: str, env: dict[str, str]) -> None:
    parts = conninfo_to_dict(database)
    url = f"postgresql://{parts['user']}:hunt%40r22@/{parts['dbname']}?host={parts['host']}"
    if parts.get("port"):
        url += f"&port={parts['port']}"
    with Running(["db", "psql", "-c", "SELECT pg_sleep(60)"], {**env, "DATABASE_URL": url}) as psql:
        process = Path(f"/proc/{psql.process.pid}")
        until(lambda: (process / "comm").read_text().strip() == "psql", "psql itself")
        command = (process / "cmdline").read_bytes()
        assert b"hunt" not in command
        assert b"pg_sleep" in command
        assert b"PGPASSWORD=hunt@r22" in (process / "environ").read_bytes(), "which its owner alone can read"


def test_psql_looks_for_names_where_ours_are(database: str, env: dict[str, str]) -> None:
    command = ["db", "psql", "-Atc", "SELECT current_schemas(true)::text || current_setting('search_path')"]
    said = flagpost(command, {**env, "DATABASE_URL": database})
    assert said.stdout == "{pg_catalog,public}public,pg_temp\n", said.stderr


def test_a_secret_that_psql_takes_on_its_command_line_alone_is_refused(env: dict[str, str]) -> None:
    url = "postgresql://u@localhost/d?sslpassword=hunter22"
    said = flagpost(["db", "psql"], {**env, "DATABASE_URL": url})
    assert said.returncode == 1
    assert "sslpassword" in said.stderr
    assert "hunter22" not in said.stderr + said.stdout
