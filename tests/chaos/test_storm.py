"""A short fixed set of the runs that ``make chaos`` makes at random: real processes, and Postgres in three ways.

Invariants only, read from the chains and from the database. What was random once stays as it was drawn then; a
schedule that failed is replayed with ``make chaos SCHEDULE=…``.
"""

from pathlib import Path

import pytest

from tests.chaos.blows import WALLETS
from tests.chaos.run import available
from tests.chaos.schedule import Layout, draw
from tests.chaos.storm import run

SECONDS = 4.0
BLOWS_PER_SECOND = 10.0
SEEDS = {Layout.PROXIED: 3, Layout.POOLED: 2, Layout.HOSTS: 4}
"""Those on PgBouncer and on three hosts have BSC beside TRON; the proxied one commits lazily."""


@pytest.mark.parametrize("layout", SEEDS)
async def test_everything_settles_once(layout: Layout, tmp_path: Path) -> None:
    """Whatever hits: every unit is in the treasury, paid once, in the database as on the chain, and no job is lost."""
    schedule = draw(SEEDS[layout], [layout], evm=True, seconds=SECONDS, rate=BLOWS_PER_SECOND)
    layouts, evm, reasons = available()
    if layout not in layouts or (schedule.evm and not evm):
        pytest.skip("; ".join(reasons))
    outcome = await run(schedule, tmp_path / "processes.log")
    assert outcome.problems == []
    assert outcome.struck.total() > 0
    assert outcome.count("payments") >= WALLETS
