"""What gas has cost: one sum for the metric, doctor, the alerts and the page of people."""

import pytest

from pipeline.db.pool import Connection
from pipeline.db.statements import statement
from tests.db.sessions import rows
from tests.seed import Chain


@pytest.fixture
async def spent(connection: Connection, tron: Chain) -> None:
    """10 and a fee of 1 in each of: 25 hours ago, 24 hours ago, now; and 100 by a clock that was two hours ahead. In
    thousands of the coin."""
    await connection.execute(
        "INSERT INTO gas_spending (chain_id, hour, topups, amount, fees)"
        " SELECT %s, date_trunc('hour', now() + s.at, 'UTC'), 1, s.amount * 1e9, 1e9"
        " FROM (VALUES (interval '-25 h', 10), (interval '-24 h', 10), (interval '0', 10),"
        " (interval '2 h', 100)) AS s (at, amount)",
        [tron.id],
    )


async def test_a_day_is_24_whole_hours_and_the_one_that_runs(connection: Connection, spent: None, tron: Chain) -> None:
    assert await rows(connection, "SELECT day, total FROM gas_spent(%s)", tron.id) == [(22e9, 134e9)]
    assert await rows(connection, "SELECT day, total FROM gas_spent(-1)") == [(0, 0)]


async def test_all_who_show_budgets_show_that(connection: Connection, spent: None, tron: Chain) -> None:
    await connection.execute("UPDATE chains SET gas_max_per_day = 25e9, gas_max_total = 150e9 WHERE id = %s", [tron.id])
    ratios = await rows(connection, statement("metrics/budgets"))
    assert {budget: round(float(ratio), 4) for _, budget, ratio in ratios} == {
        "gas_max_per_day": round(22 / 25, 4),
        "gas_max_total": round(134 / 150, 4),
    }
    async with connection.cursor() as cursor:
        await cursor.execute(statement("doctor/money_budgets"), {"budget_percent": 80})
        found = await cursor.fetchall()
    assert [(row[1], float(row[2])) for row in found] == [("gas_max_per_day", 88.0), ("gas_max_total", 89.3)]
