"""The first start of a local set-up: keys, a token on the simulated network, rules, customers' wallets.

Every step looks before it writes, so that a start that was killed half way is simply done again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pipeline.db.statements import statement
from pipeline.devnet.client import DevnetClient
from pipeline.keys.derivation import FIRST_USER_INDEX
from pipeline.local.home import LocalHome

TRX = 1_000_000
"""Sun."""

THRESHOLD_FLAG_BELOW = 5 * TRX
ON_DEMAND_FLAG_BELOW = 1 * TRX
"""What a transfer needs is found out by simulating it, and sent exactly. A higher mark would raise the flag again right
after such a top-up, for a job that only finds enough gas."""


class AnotherNetwork(Exception):
    """The database's chain ``tron`` is not this simulated network; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the first start writes. Later starts leave the rules as an operator may have changed them."""

    wallets: int
    gas_policy: str
    gas_flag_below: int
    """Sun."""
    sync_interval: timedelta
    block_time: timedelta
    gas_cooldown: timedelta
    gas_funds: int
    """Sun that the gas wallet is brought up to."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Rows of system_config."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """A local set-up that is ready for its workers."""

    token: str
    """Contract address of USDT on the simulated network."""
    gas: str
    treasury: str
    customers: tuple[str, ...]
    """Deposit wallets in order of derivation."""
    first_time: bool
    gas_policy: str
    """In force; an operator may have changed it since the first start."""


async def seed(dsn: str, client: DevnetClient, home: LocalHome, terms: Terms) -> Seeded:
    """Bring a migrated database and a running network to the state that the workers need.

    Raises AnotherNetwork.
    """
    home.ensure_mnemonic()
    gas, treasury = home.house()
    async with await AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row) as connection:
        network = {"network_id": (await client.status()).genesis_id}
        await connection.execute(statement("local/replace_shipped_chain"), network)
        known = await (await connection.execute(statement("local/known_token"), network)).fetchone()
        token = known["contract_address"] if known else await _deploy(client)
        async with connection.transaction():
            chain = await _chain(connection, client, terms, gas, treasury)
            await connection.execute(statement("local/coin"), {"chain_id": chain["id"]})
            await connection.execute(statement("local/token"), {"chain_id": chain["id"], "contract": token})
            for key, value in terms.config.items():
                await connection.execute(
                    statement("local/config"), {"key": key, "value": Jsonb(value), "description": "set by local mode"}
                )
            customers = await _customers(connection, home, chain["id"], terms.wallets)
    missing = terms.gas_funds - await client.balance(gas)
    if missing > terms.gas_funds // 2:
        await client.faucet(gas, missing)
        await client.solidify()
    return Seeded(token, gas, treasury, customers, known is None, chain["gas_policy"])


async def _deploy(client: DevnetClient) -> str:
    contract, _ = await client.deploy_token()
    await client.solidify()  # nobody has to wait for the clock before there is anything to see
    return contract


async def _chain(
    connection: AsyncConnection[dict[str, Any]], client: DevnetClient, terms: Terms, gas: str, treasury: str
) -> dict[str, Any]:
    row = await (
        await connection.execute(
            statement("local/chain"),
            {
                "network_id": (await client.status()).genesis_id,
                "nodes": Jsonb([{"url": client.url}]),
                "treasury": treasury,
                "gas": gas,
                "gas_policy": terms.gas_policy,
                "gas_flag_below": terms.gas_flag_below,
                "gas_cooldown": terms.gas_cooldown,
                "sync_interval": terms.sync_interval,
                "block_time": terms.block_time,
            },
        )
    ).fetchone()
    if row is None:
        raise AnotherNetwork(
            "the chain `tron` of this database is another network than the simulated one under this home: "
            "use a fresh database, or the FLAGPOST_HOME that belongs to it"
        )
    return row


async def _customers(
    connection: AsyncConnection[dict[str, Any]], home: LocalHome, chain_id: int, count: int
) -> tuple[str, ...]:
    branch = home.branch()
    indices = list(range(FIRST_USER_INDEX, FIRST_USER_INDEX + count))
    await connection.execute(
        statement("wallets/insert"),
        {
            "chain_id": chain_id,
            "addresses": list(branch.addresses(indices)),
            "indices": indices,
            "user_ids": [None] * count,
        },
    )
    rows = await connection.execute(statement("local/customers"), {"first": FIRST_USER_INDEX})
    return tuple([row["address"] async for row in rows])
