"""What operators do to chains: add one, switch it on and off (sql/functions/admin_chains.sql). Its nodes are asked
first whether they belong to it, so that no wrong row ever works."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from pipeline.admin.errors import Conflict, NotFound
from pipeline.admin.gas_defaults import TRANSFER_GAS, GasDefaults, evm_defaults, tron_defaults
from pipeline.admin.nodes import check_nodes, checked_chain, compare_token
from pipeline.admin.refusals import act
from pipeline.catalog.chains import ChainRow, UnknownChain, find_chains
from pipeline.chains.provider import Provider
from pipeline.chains.values import Family, Finality
from pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class NewChain:
    """A chain as an operator describes it."""

    name: str
    family: Family
    network_id: str
    """The chain id of an EVM chain, the id of the genesis block on TRON."""
    coin: str
    decimals: int
    """Of the coin."""
    amounts: Mapping[str, int] = field(default_factory=dict)
    """Raw units by rule (``gas_defaults.AMOUNTS``); those that are missing are sized by what a token transfer costs."""
    gas_policy: str = "threshold"
    nodes: Sequence[Any] = ()
    """URLs, or objects as in ``chains.nodes``; none: those of FLAGPOST_NODES_<NAME>."""
    block_seconds: float = 3.0
    sync_seconds: float = 300.0
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class AddedChain:
    """A chain that is there from now on."""

    name: str
    amounts: Mapping[str, int]
    """All of them, raw units."""
    sized: str
    """How those that were not given were chosen."""
    head: int | None
    """The newest block of its nodes; None: they were not asked."""
    warnings: Sequence[str]
    """What its nodes lack and can do without."""


@dataclass(frozen=True, slots=True)
class SwitchedChain:
    """A chain that was switched on or off."""

    name: str
    is_active: bool
    was_active: bool
    checked: Sequence[str] = ()
    """Symbols of tokens that agree with their contracts."""
    warnings: Sequence[str] = ()


async def find(connection: AsyncConnection[Any], name: str) -> DictRow:
    """The chain's row (``catalog.chains.find_chains``). Raises NotFound, naming the chains there are."""
    try:
        (row,) = await find_chains(connection, [name])
    except UnknownChain as error:
        raise NotFound(str(error), "Add it: flagpost chains add --help") from None
    return row


async def add(
    connection: AsyncConnection[Any],
    settings: Settings,
    new: NewChain,
    *,
    ask_nodes: bool = True,
    admin: UUID | None = None,
) -> AddedChain:
    """Add a chain with its native coin; processes that run take it up at the commit.

    Raises Conflict where the name or the network is there already, NodeUnavailable for nodes that are not of it,
    InvalidValue for amounts that contradict each other.
    """
    await _refuse_known(connection, new)
    defaults, head, warnings = await _sized(settings, new) if ask_nodes else (_unasked(new.family), None, [])
    amounts = {**defaults.amounts, **new.amounts}
    await act(
        connection,
        "chains/add",
        name=new.name,
        family=new.family.value,
        network_id=new.network_id,
        coin=new.coin,
        decimals=new.decimals,
        **amounts,
        gas_policy=new.gas_policy,
        nodes=Jsonb(list(new.nodes)),
        block_time=new.block_seconds,
        sync_interval=new.sync_seconds,
        is_active=new.is_active,
        admin=admin,
    )
    return AddedChain(new.name, amounts, defaults.how, head, warnings)


async def enable(
    connection: AsyncConnection[Any],
    settings: Settings,
    name: str,
    *,
    nodes: Sequence[Any] = (),
    ask_nodes: bool = True,
    admin: UUID | None = None,
) -> SwitchedChain:
    """Switch a chain on; ``nodes`` replace those of its row. Its nodes are asked for their network, each active token
    for its symbol and decimals. Raises NotFound, NodeUnavailable, InvalidValue."""
    chain = await find(connection, name)
    tokens = [
        row
        for row in await act(connection, "assets/list", chain=name)
        if row["contract_address"] is not None and row["is_active"]
    ]
    warnings: list[str] = []
    if ask_nodes:
        async with checked_chain(settings, ChainRow.of(chain), nodes) as provider:
            warnings += await check_nodes(provider, name)
            for token in tokens:
                await compare_token(provider, name, token)
    was_active = await _set_active(connection, name, active=True, nodes=nodes, admin=admin)
    return SwitchedChain(name, True, was_active, [row["symbol"] for row in tokens], warnings)


async def disable(connection: AsyncConnection[Any], name: str, *, admin: UUID | None = None) -> SwitchedChain:
    """Switch a chain off: nothing new is read, decided or sent on it; payments that are out are followed to their end.
    Raises NotFound."""
    return SwitchedChain(name, False, await _set_active(connection, name, active=False, nodes=(), admin=admin))


async def _set_active(
    connection: AsyncConnection[Any], name: str, *, active: bool, nodes: Sequence[Any], admin: UUID | None
) -> bool:
    replaced = Jsonb(list(nodes)) if nodes else None
    (row,) = await act(connection, "chains/set_active", chain=name, active=active, nodes=replaced, admin=admin)
    return bool(row["was_active"])


async def _refuse_known(connection: AsyncConnection[Any], new: NewChain) -> None:
    """Raises Conflict naming the row that has this name, or is this network."""
    rows = await act(connection, "chains/known", name=new.name, family=new.family.value, network_id=new.network_id)
    if not rows:
        return
    name, network, is_active = rows[0]["name"], rows[0]["network_id"], rows[0]["is_active"]
    state = "on" if is_active else "off"
    todo = "see: flagpost chains list" if is_active else f"switch it on: flagpost chains enable {name}"
    if name == new.name:
        raise Conflict(f"there is a chain {name} already, network {network}, switched {state}", todo)
    raise Conflict(
        f"network {network} is there already as chain {name}, switched {state}: two rows of one network would fill and "
        "empty the same addresses",
        f"{todo}; give it other nodes: flagpost chains enable {name} --node URL",
    )


async def _sized(settings: Settings, new: NewChain) -> tuple[GasDefaults, int, list[str]]:
    """Gas amounts that fit, the newest block, and warnings. Raises NodeUnavailable, InvalidValue."""
    chain = ChainRow(0, new.name, new.family.value, new.network_id, tuple(new.nodes), new.block_seconds)
    async with checked_chain(settings, chain) as provider:
        warnings = await check_nodes(provider, new.name)
        head = await provider.block_ref(Finality.HEAD)
        defaults = await _gas_defaults(provider)
        return defaults, head.number, warnings


def _unasked(family: Family) -> GasDefaults:
    return tron_defaults() if family == Family.TRON else evm_defaults(None)


async def _gas_defaults(provider: Provider) -> GasDefaults:
    gas = provider.capabilities.gas
    return tron_defaults() if gas is None else evm_defaults(await gas.market(), await gas.l1_fee(TRANSFER_GAS))
