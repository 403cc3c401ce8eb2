"""The chains a process works on, each with its provider, as the database and the environment describe them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from loguru import logger
from psycopg.rows import dict_row

from pipeline.chains.errors import ChainUnavailable, LyingNode
from pipeline.chains.open import open_provider
from pipeline.chains.provider import Asset, NumberedProvider, Provider
from pipeline.db.statements import statement
from pipeline.keys.derivation import Family
from pipeline.workers.runtime import Runtime, reason

_NODE_RETRY_SECONDS = 3.0
"""Between two attempts, and two lines, while no node of a chain answers at the start."""


@dataclass(frozen=True, slots=True)
class ServedChain:
    """A chain and the way to its nodes."""

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


async def open_chains(runtime: Runtime, names: Sequence[str] | None = None) -> list[ServedChain]:
    """The chains named, or all active ones. Waits until a node of one of them answers: the work of the others waits
    for theirs, whose network is compared before they are used.

    Raises WrongNetwork, ValueError for a configuration that no provider can be made of, Stopped."""
    parameters = {"names": None if names is None else list(names)}
    async with runtime.pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement("transfers/chains"), parameters)
        rows = await cursor.fetchall()
    unknown = set(names or ()) - {row["name"] for row in rows}
    if unknown:
        raise ValueError(f"there is no chain {', '.join(sorted(unknown))}: the chains are in the table chains")
    if not rows:
        raise ValueError("there is no active chain: insert one into the table chains, or set is_active on one")
    opened = []
    for row in rows:
        name = row["name"]
        nodes = runtime.settings.nodes.get(name) or row["nodes"]
        keys = [key.get_secret_value() for key in runtime.settings.api_keys.get(name, ())]
        assets = [Asset(**asset) for asset in row["assets"]]
        options = {"fees": row["fees"], "block_seconds": row["block_seconds"]} if row["family"] == Family.EVM else {}
        provider = open_provider(row["family"], name, row["network_id"], nodes, keys, assets, options)
        announces = any(isinstance(node, dict) and node.get("ws_url") for node in nodes)
        opened.append(
            ServedChain(
                row["id"], name, row["family"], row["block_seconds"], row["replace_after_blocks"], announces, provider
            )
        )
    await _until_a_node_answers(runtime, opened)
    return opened


async def close_chains(chains: Sequence[ServedChain]) -> None:
    """Close their connections."""
    for chain in chains:
        await chain.provider.close()


async def _until_a_node_answers(runtime: Runtime, chains: Sequence[ServedChain]) -> None:
    while not any(await asyncio.gather(*(_answers(runtime, chain) for chain in chains))):
        await runtime.sleep(_NODE_RETRY_SECONDS)


async def _answers(runtime: Runtime, chain: ServedChain) -> bool:
    """Raises WrongNetwork."""
    try:
        await chain.provider.check_network()
    except (ChainUnavailable, LyingNode) as trouble:
        why = reason(trouble)
        logger.warning("{}: no node of {} can be used: {}; trying again", runtime.worker.type, chain.name, why)
        return False
    return True
