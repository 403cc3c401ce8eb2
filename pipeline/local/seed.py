"""The first start of a local set-up: keys, a token on each network, rules, customers' wallets.

Every step reads before it writes, so that a start that was killed half way is simply done again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeline.chains.values import Family
from pipeline.db.session import open_session
from pipeline.db.statements import statement
from pipeline.keys.derivation import FIRST_USER_INDEX
from pipeline.local.home import LocalHome
from pipeline.local.network import LocalNetwork
from pipeline.signing.networks import Network
from pipeline.signing.policy import GAS_MAX, ContractPolicy, NetworkPolicy


class AnotherNetwork(Exception):
    """A chain of the database is not this local network; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Seed:
    """What the first start writes. Later starts leave the rules as an operator may have changed them."""

    wallets: int
    """On each chain."""
    gas_policy: str
    sync_interval: timedelta
    block_time: timedelta
    gas_cooldown: timedelta
    gas_funds: Mapping[str, int]
    """Raw units of its coin that the gas wallet of a chain is brought up to, by name of the chain."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Rows of system_config."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """A chain of a local set-up that is ready for its workers."""

    network: LocalNetwork
    chain_id: int
    """In the table ``chains``."""
    token: str
    """Contract address of USDT on the network."""
    gas: str
    treasury: str
    customers: tuple[str, ...]
    """Deposit wallets in order of derivation."""
    first_time: bool
    gas_policy: str
    """In force; an operator may have changed it since the first start."""


async def seed(dsn: str, networks: Sequence[LocalNetwork], home: LocalHome, terms: Seed) -> list[Seeded]:
    """Bring a migrated database and running networks to the state that the workers need.

    Raises AnotherNetwork.
    """
    home.ensure_mnemonic()
    async with await open_session(dsn, "setup", dict_row) as connection:
        for key, value in terms.config.items():
            await connection.execute(
                statement("local/config"), {"key": key, "value": Jsonb(value), "description": "set by local mode"}
            )
        seeded = [await _seed_chain(connection, network, home, terms) for network in networks]
    home.write_policy([await _policy(one) for one in seeded])
    return seeded


async def _seed_chain(
    connection: AsyncConnection[dict[str, Any]], network: LocalNetwork, home: LocalHome, terms: Seed
) -> Seeded:
    await network.ready()
    gas, treasury = home.gas_and_treasury(network.family)
    where = {"chain": network.chain, "network_id": await network.network_id()}
    await connection.execute(statement("local/replace_shipped_chain"), where)
    known = await (await connection.execute(statement("local/known_token"), where)).fetchone()
    token = known["contract_address"] if known else await network.deploy_token()
    async with connection.transaction():
        chain = await _chain(connection, network, terms, where | {"gas": gas, "treasury": treasury})
        coin = {"chain_id": chain["id"], "symbol": network.coin.symbol, "decimals": network.coin.decimals}
        await connection.execute(statement("local/coin"), coin)
        usdt = {"chain_id": chain["id"], "contract": token, "decimals": network.token_decimals}
        await connection.execute(statement("local/token"), usdt)
        customers = await _customers(connection, network, home, chain["id"], terms.wallets)
    funds = terms.gas_funds.get(network.chain, 0)
    missing = funds - await network.balance(gas)
    if missing > funds // 2:
        await network.faucet(gas, missing)
    return Seeded(network, chain["id"], token, gas, treasury, customers, known is None, chain["gas_policy"])


async def _policy(seeded: Seeded) -> NetworkPolicy:
    """For money that is worth nothing: ceilings that no demo reaches."""
    network = seeded.network
    token = ContractPolicy(seeded.token, "USDT", None if network.family is Family.TRON else GAS_MAX)
    return NetworkPolicy(
        Network.of(network.family, await network.network_id()),
        network.chain,
        fee_max=network.rules.max_per_topup,
        day_max=10 * network.rules.max_per_day,
        contracts={token.address: token},
    )


async def _chain(
    connection: AsyncConnection[dict[str, Any]], network: LocalNetwork, terms: Seed, known: dict[str, Any]
) -> dict[str, Any]:
    rules, policy = network.rules, terms.gas_policy
    row = await (
        await connection.execute(
            statement("local/chain"),
            {
                **known,
                "family": network.family.value,
                "nodes": Jsonb([{"url": network.node_url}]),
                "gas_policy": policy,
                "gas_flag_below": rules.flag_below[policy],
                "gas_execute_below": rules.execute_below[policy],
                "gas_amount": rules.amount,
                "fee_reserve": rules.fee_reserve,
                "gas_max_per_topup": rules.max_per_topup,
                "gas_max_per_wallet_day": rules.max_per_wallet_day,
                "gas_max_per_day": rules.max_per_day,
                "fees": Jsonb(rules.fees),
                "gas_cooldown": terms.gas_cooldown,
                "sync_interval": terms.sync_interval,
                "block_time": terms.block_time,
            },
        )
    ).fetchone()
    if row is None:
        raise AnotherNetwork(
            f"the chain `{network.chain}` of this database is another network than the local one under this home: "
            "use a fresh database, or the FLAGPOST_HOME that belongs to it"
        )
    return row


async def _customers(
    connection: AsyncConnection[dict[str, Any]], network: LocalNetwork, home: LocalHome, chain_id: int, count: int
) -> tuple[str, ...]:
    branch = home.branch(network.family)
    indices = list(range(FIRST_USER_INDEX, FIRST_USER_INDEX + count))
    await connection.execute(
        statement("wallets/add"),
        {
            "chain": network.chain,
            "addresses": list(branch.addresses(indices)),
            "indices": indices,
            "user_ids": [None] * count,
            "admin": None,
        },
    )
    rows = await connection.execute(statement("local/customers"), {"chain_id": chain_id, "first": FIRST_USER_INDEX})
    return tuple([row["address"] async for row in rows])
