"""What NOTIFY costs those who raise flags one by one: commits a second of 8 sessions that each turn over the flag
of one wallet after the other, with the triggers of ``wallets`` and without.

A worker listens in both cases. The flags call for consolidation and it does top-ups, so that it wakes, looks and finds
nothing: what is counted is NOTIFY, not the work. As it comes, NOTIFY is suppressed in such a storm
(pipeline/db/notify_gate.py);
where every change rings, that is switched off, and where nobody listens, nobody asks for it. Without the triggers
nobody rings, nor keeps times.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import psycopg

from bench.bench import Bench
from bench.contestants import OURS, ours
from bench.pgbench import commits_per_second
from bench.result import Result
from bench.statements import parts, text

WRITERS = 8
SECONDS = 6.0
RINGING = f"{OURS}, every change rings"
ALONE = f"{OURS}, nobody listening"
WITHOUT = "without triggers"


@dataclass(frozen=True)
class Circumstances:
    triggers: bool
    worker: bool
    gate: bool = True


CASES = {
    OURS: Circumstances(triggers=True, worker=True),
    RINGING: Circumstances(triggers=True, worker=True, gate=False),
    ALONE: Circumstances(triggers=True, worker=False),
    WITHOUT: Circumstances(triggers=False, worker=True),
}


async def measure(bench: Bench) -> list[Result]:
    """Commits a second."""
    contestant = ours()
    dsn = await bench.database(contestant)
    found: dict[str, list[float]] = {name: [] for name in CASES}
    bench.expect(bench.rounds * len(CASES))
    for _ in range(bench.rounds):
        for name, case in CASES.items():
            bench.reset(contestant, dsn)
            async with AsyncExitStack() as stack:
                with psycopg.connect(dsn, autocommit=True) as connection:
                    connection.execute(text("writers/gate"), {"gate": case.gate})
                    if case.worker:
                        await stack.enter_async_context(bench.worker(contestant, dsn))
                    if not case.triggers:
                        connection.execute(text("writers/switch_off"))
                    try:
                        found[name].append(
                            await commits_per_second(
                                dsn, "writers/flip", WRITERS, bench.seconds(SECONDS, 1.0), {"wallets": bench.wallets}
                            )
                        )
                    finally:
                        connection.execute(text("writers/gate"), {"gate": True})
                        connection.execute(text("writers/switch_on"))
                        for part in parts("writers/lower"):
                            connection.execute(part)
            bench.advance(f"flips: {name}")
    return [Result("flips.rate", "commits/s", found, lower_is_better=False, settings={"writers": WRITERS})]
