"""The chains a process works on, as the database and the environment describe them, kept in step while it runs.

    row of chains ──open──▶ a node answers and is of the right network ──▶ served ──row changed──▶ opened anew

One chain that does not answer keeps none of the others waiting. Adding one, or a token, needs no restart. A process
that finds nothing at its start but chains it must not or cannot work on ends with the reason.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from loguru import logger
from psycopg.rows import dict_row

from pipeline.chains.errors import ChainError, ChainUnavailable, LyingNode, WrongNetwork
from pipeline.chains.open import open_provider, options_of
from pipeline.chains.provider import Asset, NumberedProvider, Provider
from pipeline.config import ConfigError
from pipeline.db.statements import statement
from pipeline.keys.derivation import Family
from pipeline.workers.runtime import Runtime, reason

NODE_RETRY_SECONDS = 3.0
"""Between two attempts, and two lines, while no node of a chain answers."""
CONTRADICTION_RETRY_SECONDS = 30.0
"""After a node of another network: somebody has to look."""


@dataclass(frozen=True, slots=True)
class ServedChain:
    """A chain whose nodes have been seen to belong to the right network."""

    id: int
    name: str
    family: str
    block_seconds: float
    replace_after_blocks: int
    announces: bool
    """Whether a node of it has a socket that announces new blocks (``NumberedProvider.heads``)."""
    provider: Provider

    @property
    def numbered(self) -> NumberedProvider | None:
        """The provider, if transactions of this chain have nonces."""
        return cast(NumberedProvider, self.provider) if self.family == Family.EVM else None


class ServedChains:
    """``async with ServedChains(runtime, names, begin, end) as chains``: served are ``chains.now``.

    ``begin`` is told of each chain as it comes to be served; what it raises (ValueError, ChainError) is a fault of the
    configuration, and the chain waits until that changes. ``end`` is told of one that is served no longer, or not as
    it was. Both are called in the event loop and must not wait.
    """

    def __init__(
        self,
        runtime: Runtime,
        names: Sequence[str] | None,
        begin: Callable[[ServedChain], None],
        end: Callable[[ServedChain], None],
    ) -> None:
        """``names`` None: every active chain."""
        self.now: dict[int, ServedChain] = {}
        self._runtime = runtime
        self._names = None if names is None else list(names)
        self._begin = begin
        self._end = end
        self._rows: dict[int, Mapping[str, Any]] = {}
        self._opening: dict[int, asyncio.Task[None]] = {}
        self._retired: list[Provider] = []
        self._faults: dict[int, Exception] = {}
        """Why chains cannot be served as they are configured."""
        self._ever_served = False
        self._hopeless: Exception | None = None
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "ServedChains":
        """Begin with what is configured now; waits for no node. Raises ConfigError for a name that is no chain."""
        self._runtime.watch(self._changed.set)
        await self._reconcile()
        if not self._rows:
            logger.warning(
                "{}: there is no active chain; waiting for: flagpost chains enable", self._runtime.worker.type
            )
        self._following = asyncio.create_task(self._follow(), name="follow chains")
        self._following.add_done_callback(self._runtime.end_by_fault)
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._opening.values(), *([self._following] if self._following else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for provider in [*self._retired, *(chain.provider for chain in self.now.values())]:
            await provider.close()
        if self._hopeless is not None:
            raise self._hopeless

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                # The bell may be lost; a chain is configured rarely enough to wait for a heartbeat then.
                async with asyncio.timeout(self._runtime.config.heartbeat_seconds):
                    await self._changed.wait()
            self._changed.clear()
            await self._reconcile()

    async def _reconcile(self) -> None:
        rows = await self._runtime.persist("reading chains", self._read)
        unknown = set(self._names or ()) - {row["name"] for row in rows}
        if unknown and not self._rows:
            raise ConfigError(f"there is no chain {', '.join(sorted(unknown))}; see: flagpost chains list")
        wanted = {row["id"]: row for row in rows if row["served"]}
        for chain_id in [known for known, row in self._rows.items() if wanted.get(known) != row]:
            await self._drop(chain_id)
        for chain_id, row in wanted.items():
            if chain_id not in self._rows:
                self._rows[chain_id] = row
                opening = asyncio.create_task(self._open(row), name=f"open {row['name']}")
                opening.add_done_callback(self._runtime.end_by_fault)
                self._opening[chain_id] = opening

    async def _read(self) -> list[dict[str, Any]]:
        async with self._runtime.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(statement("workers/chains"), {"names": self._names})
            return await cursor.fetchall()

    async def _drop(self, chain_id: int) -> None:
        del self._rows[chain_id]
        self._faults.pop(chain_id, None)
        opening = self._opening.pop(chain_id)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        served = self.now.pop(chain_id, None)
        if served is not None:
            # Jobs under way still use it: it is closed at the end of the process.
            self._retired.append(served.provider)
            self._end(served)

    async def _open(self, row: Mapping[str, Any]) -> None:
        try:
            provider = self._provider(row)
        except (ValueError, ChainError) as error:
            self._refuse(row, error)
            return
        try:
            await self._until_it_answers(row, provider)
            chain = self._served(row, provider)
            self._begin(chain)
        except BaseException as error:
            await provider.close()
            if not isinstance(error, ValueError | ChainError):
                raise
            self._refuse(row, error)
            return
        self._ever_served = True
        self.now[row["id"]] = chain

    def _served(self, row: Mapping[str, Any], provider: Provider) -> ServedChain:
        return ServedChain(
            id=row["id"],
            name=row["name"],
            family=row["family"],
            block_seconds=row["block_seconds"],
            replace_after_blocks=row["replace_after_blocks"],
            announces=any(isinstance(node, dict) and node.get("ws_url") for node in self._nodes(row)),
            provider=provider,
        )

    def _nodes(self, row: Mapping[str, Any]) -> Sequence[Any]:
        chosen: Sequence[Any] = self._runtime.settings.nodes.get(row["name"]) or row["nodes"]
        return chosen

    def _provider(self, row: Mapping[str, Any]) -> Provider:
        settings, name, nodes = self._runtime.settings, row["name"], self._nodes(row)
        keys = [key.get_secret_value() for key in settings.api_keys.get(name, ())]
        assets = [Asset(**asset) for asset in row["assets"]]
        options = options_of(row["family"], row["fees"], row["block_seconds"])
        return open_provider(row["family"], name, row["network_id"], nodes, keys, assets, options)

    async def _until_it_answers(self, row: Mapping[str, Any], provider: Provider) -> None:
        worker, name = self._runtime.worker.type, row["name"]
        while True:
            try:
                await provider.check_network()
            except ChainUnavailable as silence:
                logger.warning("{}: no node of {} answers: {}; trying again", worker, name, reason(silence))
                await asyncio.sleep(NODE_RETRY_SECONDS)
            except (WrongNetwork, LyingNode) as contradiction:
                logger.error("{}: {}: {}; trying again", worker, name, reason(contradiction))
                self._complain(row, contradiction)
                await asyncio.sleep(CONTRADICTION_RETRY_SECONDS)
            else:
                self._faults.pop(row["id"], None)
                return

    def _refuse(self, row: Mapping[str, Any], error: Exception) -> None:
        worker, name = self._runtime.worker.type, row["name"]
        logger.error("{}: {} is not served until its configuration changes: {}", worker, name, reason(error))
        self._complain(row, error)

    def _complain(self, row: Mapping[str, Any], error: Exception) -> None:
        self._faults[row["id"]] = error
        self._runtime.last_error = f"{row['name']}: {reason(error)}"
        self._runtime.beat()
        if not self._ever_served and self._faults.keys() == self._rows.keys():
            self._hopeless = error
            self._runtime.stop()
