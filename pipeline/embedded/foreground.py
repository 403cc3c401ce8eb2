"""The embedded server as a process of its own: a line of a Procfile."""

import asyncio
import signal
from pathlib import Path

import psycopg
from loguru import logger
from psycopg.rows import tuple_row

from pipeline.db.errors import EmbeddedServerError
from pipeline.db.session import open_session
from pipeline.db.statements import statement
from pipeline.embedded.cluster import embedded_dsn
from pipeline.embedded.server import EmbeddedServer

GRACE = 3.5
"""Seconds for our own processes to disconnect: together with the stop itself below the 5 s after which Honcho kills."""
POLL_SECONDS = 0.05
"""Between two checks of who is still connected."""


async def serve(home: Path) -> None:
    """Run the server of ``home`` until SIGTERM or SIGINT, or until it ends by itself.

    Honcho signals all its processes at once; workers still need the database then, to hand back what they hold.
    Raises EmbeddedServerError when it cannot start or ends by itself.
    """
    asked, asked_again = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (asked_again if asked.is_set() else asked).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    server = EmbeddedServer(home)
    server.start()
    try:
        logger.info("Postgres is ready: flagpost db psql opens it, flagpost db url prints its address")
        ended = asyncio.create_task(asyncio.to_thread(server.wait))
        await _first_of(ended, asyncio.create_task(asked.wait()))
        if ended.done():
            raise EmbeddedServerError(
                f"Postgres ended by itself (status {ended.result()}); {server.log_file} says:\n{server.log_tail()}"
            )
        logger.info("Stopping Postgres")
        await _first_of(
            ended, asyncio.create_task(asked_again.wait()), asyncio.create_task(_others_gone(home)), timeout=GRACE
        )
    finally:
        server.stop()
    logger.info("Postgres has stopped")


async def _first_of(*tasks: "asyncio.Task[object]", timeout: float | None = None) -> None:  # noqa: ASYNC109
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


async def _others_gone(home: Path) -> None:
    """Return once no process of ours is connected, or when that cannot be asked any more."""
    try:
        async with await open_session(embedded_dsn(home), "db start", tuple_row) as connection:
            while True:
                row = await (await connection.execute(statement("embedded/other_clients"))).fetchone()
                if row is None or row[0] == 0:
                    return
                await asyncio.sleep(POLL_SECONDS)
    except psycopg.OperationalError as error:
        logger.debug("Cannot ask who is still connected: {}", error)
