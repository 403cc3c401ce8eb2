"""From a row of ``chains`` and this process's environment to a provider."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from pipeline.chains.open import open_provider, options_of
from pipeline.chains.provider import Provider
from pipeline.config import ConfigError
from pipeline.db.pool import Pool
from pipeline.db.statements import statement
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class ChainRow:
    """What opening a chain takes, out of ``chains``."""

    id: int
    name: str
    family: str
    network_id: str
    nodes: tuple[str | Mapping[str, Any], ...]
    fees: Mapping[str, Any]
    block_seconds: float


OpenChain = Callable[[ChainRow], Provider]


def chain_opener(settings: Settings) -> OpenChain:
    """Opens chains with the nodes and keys of the environment, else with those of the row."""

    def open_chain(chain: ChainRow) -> Provider:
        keys = [key.get_secret_value() for key in settings.api_keys.get(chain.name, ())]
        nodes = settings.nodes.get(chain.name) or chain.nodes
        options = options_of(chain.family, chain.fees, chain.block_seconds)
        return open_provider(chain.family, chain.name, chain.network_id, nodes, keys, options=options)

    return open_chain


async def active_chains(pool: Pool, names: Sequence[str] | None) -> list[ChainRow]:
    """The active chains, or those of ``names``. Raises ConfigError for a name that is no chain."""
    wanted = None if names is None else list(names)
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(statement("sync/chains"), {"names": wanted})
        rows = await cursor.fetchall()
    unknown = set(wanted or ()) - {row["name"] for row in rows}
    if unknown:
        raise ConfigError(
            f"there is no chain {', '.join(sorted(unknown))} in the table chains; see: flagpost config show"
        )
    return [
        ChainRow(
            row["id"],
            row["name"],
            row["family"],
            row["network_id"],
            tuple(row["nodes"]),
            row["fees"],
            row["block_seconds"],
        )
        for row in rows
        if row["is_active"]
    ]
