"""What a database holds right after its first migrate: known networks, and nothing that could move by itself."""

from psycopg import AsyncConnection

from pipeline.chains.evm.codec.address import validate
from pipeline.chains.evm.rpc.fees import FeePolicy
from pipeline.db.migrate import migrate
from pipeline.signing.networks import Network
from pipeline.signing.policy import load_policy


async def test_a_wallet_can_be_inserted_right_after_the_first_migrate(empty_database: str) -> None:
    await migrate(empty_database)
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        await connection.execute("INSERT INTO user_wallets (address) VALUES ('TUEZSdKsoDHQMeZwihtdoBiN46zxhGWYdH')")
        found = await connection.execute(
            """
            SELECT c.name, c.network_id, a.symbol, a.contract_address, a.consolidate_flag_above, b.on_chain_balance_raw
            FROM wallet_balances b
            JOIN wallets w ON w.id = b.wallet_id
            JOIN asset_on_chain a ON a.id = b.asset_on_chain_id
            JOIN chains c ON c.id = a.chain_id
            ORDER BY a.id
            """
        )
        genesis = "00000000000000001ebf88508a03865c71d452e25f4d51194196a1d22b6653dc"
        assert await found.fetchall() == [
            ("tron", genesis, "TRX", None, None, "0"),
            ("tron", genesis, "USDT", "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t", 200_000_000, "0"),
        ]


async def test_the_shipped_rules_are_the_ones_of_the_contract(empty_database: str) -> None:
    await migrate(empty_database)
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        found = await connection.execute(
            """
            SELECT gas_policy, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
                   extract(epoch FROM gas_cooldown), extract(epoch FROM sync_interval), nodes
            FROM chains WHERE name = 'tron'
            """
        )
        assert await found.fetchall() == [("threshold", 5_000_000, 1_000_000, 5_000_000, 1_000_000, 600, 300, [])]


async def test_evm_chains_are_shipped_switched_off_with_what_their_contracts_say(empty_database: str) -> None:
    await migrate(empty_database)
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        found = await connection.execute(
            """
            SELECT c.name, c.family, c.is_active, c.network_id, c.nodes, c.fees, a.symbol, a.contract_address,
                   a.decimals
            FROM chains c JOIN asset_on_chain a ON a.chain_id = c.id
            WHERE c.family = 'evm'
            ORDER BY a.id
            """
        )
        rows = await found.fetchall()
    assert {(name, active, network, len(nodes)) for name, _, active, network, nodes, *_ in rows} == {
        ("bsc", False, "56", 0),
        ("ethereum", False, "1", 0),
        ("bsc-testnet", False, "97", 0),
        ("sepolia", False, "11155111", 0),
    }
    assert [(row[0], row[6], row[8]) for row in rows] == [
        ("bsc", "BNB", 18),
        ("bsc", "USDT", 18),
        ("ethereum", "ETH", 18),
        ("ethereum", "USDT", 6),
        ("ethereum", "USDC", 6),
        ("bsc-testnet", "tBNB", 18),
        ("sepolia", "ETH", 18),
    ]
    for *_, fees, _, contract, _ in rows:
        FeePolicy.parse(fees)
        assert contract is None or validate(contract) == contract


async def test_the_signing_policy_knows_the_shipped_networks_and_their_tokens(empty_database: str) -> None:
    await migrate(empty_database)
    async with await AsyncConnection.connect(empty_database, autocommit=True) as connection:
        found = await connection.execute(
            """
            SELECT c.name, c.family, c.network_id, array_agg(a.contract_address ORDER BY a.contract_address)
                   FILTER (WHERE a.contract_address IS NOT NULL), count(*) FILTER (WHERE a.contract_address IS NULL)
            FROM chains c JOIN asset_on_chain a ON a.chain_id = c.id
            GROUP BY c.name, c.family, c.network_id
            """
        )
        rows = await found.fetchall()
    shipped = load_policy(None, {}).networks
    assert {
        (name, Network.of(family, network_id), frozenset(tokens or ())) for name, family, network_id, tokens, _ in rows
    } == {(one.name, network, frozenset(one.contracts)) for network, one in shipped.items()}
    assert [coins for *_, coins in rows] == [1] * 6
