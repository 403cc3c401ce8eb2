"""PgBouncer in transaction mode (Debian: pgbouncer) in front of a Postgres socket."""

import asyncio
import os
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pipeline.embedded.binaries import server_user

READY_WITHIN = 10.0
SESSIONS = 8
"""Server sessions for each login. Fewer than the processes ask for together, so that they share."""


def unavailable() -> str | None:
    """Why there can be no pooler here; None where there can."""
    return None if _binary() else "pgbouncer is not installed (Debian: apt-get install pgbouncer)"


class Pooler:
    """``async with Pooler(dsn, logins, directory) as pooler``; connect to ``pooler.dsn(login)``."""

    def __init__(self, dsn: str, logins: Iterable[str], directory: Path) -> None:
        self._target = conninfo_to_dict(dsn)
        self._logins = tuple(logins)
        self._directory = directory
        self._process: asyncio.subprocess.Process | None = None
        self._restarting = asyncio.Lock()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])

    async def __aenter__(self) -> Self:
        self._directory.mkdir(mode=0o755, exist_ok=True)
        users = self._directory / "users.txt"
        users.write_text("".join(f'"{login}" ""\n' for login in self._logins), encoding="utf-8")
        self._configuration.write_text(
            f"""
[databases]
* = host={self._target["host"]} port={self._target.get("port") or 5432}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self._port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {SESSIONS}
max_client_conn = 500
ignore_startup_parameters = extra_float_digits, options
server_login_retry = 1
""",
            encoding="utf-8",
        )
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.kill()

    def dsn(self, login: str) -> str:
        parts = {name: value for name, value in self._target.items() if name not in ("host", "port", "user")}
        return make_conninfo("", **parts, host="127.0.0.1", port=self._port, user=login)

    async def start(self) -> None:
        """Raises TimeoutError, and AssertionError with its words when it ends at once."""
        binary, account = _binary(), server_user(self._directory / "nothing")
        assert binary is not None, unavailable()
        log = self._directory / "pgbouncer.log"
        with log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(binary, "-q", str(self._configuration)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
                env={"PATH": os.defpath},
            )
        async with asyncio.timeout(READY_WITHIN):
            while not await self._answers():
                assert self._process.returncode is None, f"pgbouncer ended: {log.read_text()}"
                await asyncio.sleep(0.02)

    async def restart(self, seconds: float) -> bool:
        """SIGKILL, ``seconds`` of nothing, start. False while that is under way already."""
        if self._restarting.locked():
            return False
        async with self._restarting:
            await self.kill()
            await asyncio.sleep(seconds)
            await self.start()
        return True

    async def kill(self) -> None:
        """Every client loses its connection."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    @property
    def _configuration(self) -> Path:
        return self._directory / "pgbouncer.ini"

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        writer.close()
        return True


def _binary() -> str | None:
    """Debian puts it where only root looks."""
    return shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
