"""What the triggers of ``wallet_balances`` cost the sync's own statements (bench/trigger_cost.py)."""

import os
import sys
from typing import Any

from bench import children
from bench.bench import Bench
from bench.contestants import OURS, ROOT
from bench.result import Result

ROWS = 100_000
WITHOUT = "without triggers"
BY_HAND = "the same flags by hand"
WITHIN = 900.0


async def measure(bench: Bench) -> list[Result]:
    """Seconds to claim and store as many balances, and of storing alone."""
    rows = bench.size(ROWS, 2_000)
    argv = [sys.executable, "-m", "bench.trigger_cost", "--json", "--rows", rows - rows % 2, "--rounds", bench.rounds]
    bench.expect(1)
    mixes: dict[str, Any] = await children.run(
        [str(part) for part in argv], "trigger cost", "mixes", WITHIN, cwd=ROOT, env=dict(os.environ)
    )
    bench.advance("triggers")
    return [
        Result(
            f"triggers.{mix}{name}",
            "s",
            {
                OURS: mixes[mix][step]["triggers"]["rounds"],
                WITHOUT: mixes[mix][step]["plain"]["rounds"],
                BY_HAND: mixes[mix][step]["by hand"]["rounds"],
            },
            settings={"balances": rows - rows % 2},
        )
        for mix in ("unchanged", "changed", "flipping")
        for step, name in (("claim and store", ""), ("store", ".store"))
    ]
