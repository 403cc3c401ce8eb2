"""The chains a process works on, each with its provider, as the database and the environment describe them."""

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
    """A chain whose nodes have been seen to belong to the right network."""

    id: int
    name: str
    family: str
    block_seconds: float
    replace_after_blocks: int
    provider: Provider

    @property
    def numbered(self) -> NumberedProvider | None:
        """The provider, if transactions of this chain have nonces."""
        return cast(NumberedProvider, self.provider) if self.family == Family.EVM else None


async def open_chains(runtime: Runtime, names: Sequence[str] | None = None) -> list[ServedChain]:
    """The chains named, or all active ones. Waits until a node of each answers.

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
        await _until_a_node_answers(runtime, name, provider)
        opened.append(
            ServedChain(row["id"], name, row["family"], row["block_seconds"], row["replace_after_blocks"], provider)
        )
    return opened


async def close_chains(chains: Sequence[ServedChain]) -> None:
    """Close their connections."""
    for chain in chains:
        await chain.provider.close()


async def _until_a_node_answers(runtime: Runtime, name: str, provider: Provider) -> None:
    while True:
        try:
            await provider.check_network()
        except (ChainUnavailable, LyingNode) as trouble:
            logger.warning(
                "{}: no node of {} can be used: {}; trying again", runtime.worker.type, name, reason(trouble)
            )
            await runtime.sleep(_NODE_RETRY_SECONDS)
        else:
            return
