"""Which network a chain is: fixed once something was signed for it, or another network's blocks would say what became
of it; and written in one form, so that no network has two rows."""

import psycopg
import pytest

from pipeline.db.pool import Connection
from tests.db.money import new_attempt, new_transfer
from tests.db.sessions import value
from tests.seed import Chain, add_wallets

ANOTHER = """
INSERT INTO chains (name, family, network_id, gas_flag_below, gas_execute_below, gas_amount, fee_reserve,
                    gas_max_per_topup, gas_max_per_wallet_day, gas_max_per_day)
VALUES (%s, %s, %s, 5, 1, 5, 1, 50, 500, 5000)
"""


@pytest.mark.parametrize("change", ["network_id = repeat('ab', 32)", "family = 'evm', network_id = '56'"])
async def test_it_does_not_become_another_network_once_something_was_signed(
    connection: Connection, tron: Chain, change: str
) -> None:
    """The gas wallet has the same address on all EVM chains, and uses its nonces on each: what is out on one would be
    proved dead by the blocks of another, made again, and land after all."""
    (wallet,) = await add_wallets(connection, tron, 1)
    transfer = await new_transfer(connection, tron, wallet)
    await connection.execute("UPDATE chains SET network_id = repeat('cd', 32)")
    await new_attempt(connection, transfer)
    with pytest.raises(psycopg.DatabaseError, match="is another chain") as refused:
        await connection.execute(f"UPDATE chains SET {change}")  # type: ignore[call-overload]  # noqa: S608
    assert refused.value.sqlstate == "FP004"
    await connection.execute("UPDATE chains SET name = 'renamed', nodes = '[]', network_id = repeat('CD', 32)")
    assert await value(connection, "SELECT network_id FROM chains") == "cd" * 32


@pytest.mark.parametrize(("family", "one", "other"), [("tron", "ab" * 32, "AB" * 32), ("evm", "56", "056")])
async def test_a_network_has_one_row(connection: Connection, family: str, one: str, other: str) -> None:
    """Two would fill and empty the same addresses, each by its own rules."""
    await connection.execute("DELETE FROM asset_on_chain; DELETE FROM chains")
    await connection.execute(ANOTHER, ["one", family, one])
    with pytest.raises(psycopg.errors.UniqueViolation, match="chains_family_network_id_key"):
        await connection.execute(ANOTHER, ["other", family, other])
