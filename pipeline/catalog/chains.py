"""Chains: found by name in the table ``chains``, and opened as providers. The only place for either."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from pipeline.catalog.access import Named, access
from pipeline.chains.families.providers import open_provider
from pipeline.chains.provider import Provider
from pipeline.chains.rpc.nodes import PATIENCE
from pipeline.chains.values import Asset
from pipeline.config import ConfigError
from pipeline.db.pool import Pool
from pipeline.db.rows import fetch, fetch_values
from pipeline.settings import Settings


class UnknownChain(ConfigError):
    """A name that no chain has; the message names those there are."""


@dataclass(frozen=True, slots=True)
class ChainRow:
    """What opening a chain and working on it takes, out of ``chains``. Work begins anew when any of it changes."""

    id: int
    name: str
    family: str
    network_id: str
    nodes: tuple[Named, ...]
    block_seconds: float = 3.0
    fees: Mapping[str, Any] = field(default_factory=dict)
    """EVM: how fees are chosen (``chains.evm.rpc.fees.FeePolicy``)."""
    replace_after_blocks: int = 6
    """EVM."""
    is_active: bool = True
    """Switched off: nothing new is paid, and payments that are out are followed to their end."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """From a row of ``catalog/chains``."""
        return cls(
            row["id"],
            row["name"],
            row["family"],
            row["network_id"],
            tuple(row["nodes"]),
            row["block_seconds"],
            row["fees"],
            row["replace_after_blocks"],
            row["is_active"],
        )


OpenChain = Callable[[ChainRow], Provider]


def open_chain(
    settings: Settings,
    chain: ChainRow,
    *,
    nodes: Sequence[Named] = (),
    assets: Sequence[Asset] = (),
    patience: float = PATIENCE,
) -> Provider:
    """The chain over ``nodes``, else those of the environment, else those of its row, with the environment's API keys.
    Nothing is asked of a node yet. ``patience``: over how many seconds a question is tried.

    Raises ValueError naming what is wrong with the configuration (keys whose nodes the environment does not name among
    it), InvalidAddress for an asset's contract.
    """
    to = access(settings, chain.name, chain.nodes, nodes)
    return open_provider(
        chain.family,
        chain.name,
        chain.network_id,
        to.nodes,
        to.api_keys,
        assets,
        fees=chain.fees,
        block_seconds=chain.block_seconds,
        patience=patience,
    )


def chain_opener(settings: Settings) -> OpenChain:
    """``open_chain`` with the nodes that are configured."""
    return lambda chain: open_chain(settings, chain)


async def find_chains(connection: AsyncConnection[Any], names: Sequence[str] | None = None) -> list[DictRow]:
    """The chains of these names, or all: rows of ``catalog/chains``, which ``ChainRow.of`` takes. Raises UnknownChain
    for a name that no chain has."""
    rows = await fetch(connection, "catalog/chains")
    if names is None:
        return rows
    known = {row["name"] for row in rows}
    unknown = [name for name in names if name not in known]
    if unknown:
        there = f"there are: {', '.join(sorted(known))}" if known else "there is none yet"
        raise UnknownChain(f"no chain is called {', '.join(map(repr, unknown))}; {there}")
    return [row for row in rows if row["name"] in names]


async def working_chains(pool: Pool, names: Sequence[str] | None, *, with_money_out: bool = False) -> list[ChainRow]:
    """The active chains, or those of ``names``; ``with_money_out`` adds those that are switched off while payments of
    theirs are under way. Raises UnknownChain."""
    async with pool.connection() as connection:
        chains = [ChainRow.of(row) for row in await find_chains(connection, names)]
        owing = set(await fetch_values(connection, "catalog/chains_with_money_out")) if with_money_out else set()
    return [chain for chain in chains if chain.is_active or chain.id in owing]
